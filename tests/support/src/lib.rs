//! What the tests on a cluster share: the cluster, runner pods in it, hooks in those, and waiting.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test must fail at what goes wrong, and print what it sees"
)]

pub mod chart;
pub mod cluster;
pub mod faults;
pub mod hook;
pub mod images;
pub mod job;
pub mod manifests;
pub mod outcome;
pub mod processes;
pub mod python;
pub mod runner;
mod timer;
pub mod values;
pub mod volume;
pub mod wait;
mod work;

pub use fake_runner::Program;
pub use hook::{Call, Hook};
pub use job::{IMAGE, JobRun, container, job_container};
pub use outcome::Outcome;
pub use runner::{Placement, RunnerPod, Setup};
pub use values::Values;
pub use work::{RUNNER_ID, WORK, WORKSPACE};
