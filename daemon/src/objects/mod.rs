//! Kubernetes objects and process arguments from hook input: pure, without I/O.

pub mod agent;
pub mod bounds;
pub mod build_job;
pub mod container;
pub mod docker;
pub mod ephemeral;
pub mod error;
pub mod init;
pub mod job_pod;
pub mod metadata;
pub mod mounts;
pub mod pull_secret;
pub mod registry_endpoint;
pub mod script;
pub mod services;
pub mod shared_pull_secret;
pub mod step_job;
pub mod template;
