//! What the tests share: the cluster, runner pods in it, hooks in those, and waiting.

pub(crate) mod cluster;
pub(crate) mod faults;
pub(crate) mod hook;
pub(crate) mod images;
pub(crate) mod job;
pub(crate) mod manifests;
pub(crate) mod outcome;
pub(crate) mod processes;
pub(crate) mod python;
pub(crate) mod runner;
pub(crate) mod volume;
pub(crate) mod wait;
mod work;

pub(crate) use hook::{Call, Hook};
pub(crate) use job::{IMAGE, JobRun, Program, container, job_container};
pub(crate) use outcome::Outcome;
pub(crate) use runner::{RunnerPod, Setup};
pub(crate) use work::{RUNNER_ID, WORK, WORKSPACE};
