//! Kubernetes objects and process arguments from hook input: pure, without I/O.

pub mod args;
pub mod build_job;
pub mod container;
pub mod mounts;
pub mod names;
pub mod step_job;
