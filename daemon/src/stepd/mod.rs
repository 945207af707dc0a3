//! The client of stepd, the agent in pods of ours.

pub mod calls;
pub mod error;
pub mod job_end;
pub mod pid_1;
pub mod pods;
pub mod program;
pub mod socket;
