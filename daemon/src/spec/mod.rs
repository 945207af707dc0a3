//! Kubernetes objects and process arguments from hook input: pure, without I/O.

pub mod args;
pub mod build_job;
pub mod container;
pub mod create_options;
pub mod init;
pub mod job_pod;
pub mod mounts;
pub mod names;
pub mod ports;
pub mod pull_secret;
pub mod quantity;
pub mod registry_endpoint;
pub mod script;
pub mod services;
pub mod step_job;
pub mod template;
pub mod tools;
pub mod volumes;
