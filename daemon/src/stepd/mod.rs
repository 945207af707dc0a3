//! The client of stepd, the agent in pods of ours.

pub mod calls;
pub mod error;
pub mod identity;
pub mod job_end;
pub mod pid_1;
pub mod pods;
pub mod program;
pub mod socket;

use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use tonic::transport::Channel;

/// The API of an agent.
pub type Agent = StepServiceClient<Channel>;
