//! A pod that does not start, or that ends before its time.

use std::time::Duration;

use crate::error::{Explain, Failure, Reason};

/// The end of a remedy for what took too long.
const WAIT_LONGER: &str = "to wait longer, raise ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS";

/// Why a pod of ours is of no use.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// No node took the pod in time.
    #[error("The pod of {owner} did not start within {} s: {why}", .timeout.as_secs())]
    NoNode {
        /// "Job x", or "the job".
        owner: String,
        /// How long hookd waited.
        timeout: Duration,
        /// What the scheduler says.
        why: String,
    },

    /// The pod's container did not start in time.
    #[error("The pod of {owner} did not start within {} s: {why}", .timeout.as_secs())]
    NotStarted {
        /// "Job x", or "the job".
        owner: String,
        /// How long hookd waited.
        timeout: Duration,
        /// What the pod waited for.
        why: String,
    },

    /// No pod could be created for the step's Job in time.
    #[error("{owner} had no pod after {} s: {refusal}", .timeout.as_secs())]
    NoPod {
        /// "Job x".
        owner: String,
        /// How long hookd waited.
        timeout: Duration,
        /// Why none could be created.
        #[source]
        refusal: Failure,
    },

    /// The Job reached its time limit.
    #[error("Job {job} ran longer than its time limit, and was ended")]
    JobLate {
        /// Name of the Job.
        job: String,
    },

    /// A container of the job ended while the others started.
    #[error(
        "Container {container} of the job ended with exit code {exit_code} before the job was ready"
    )]
    EndedEarly {
        /// Name of the container.
        container: String,
        /// Its exit code.
        exit_code: i32,
    },

    /// A container of the job did not become healthy in time.
    #[error("Container {container} of the job was not healthy within {} s", .timeout.as_secs())]
    Unhealthy {
        /// Name of the container.
        container: String,
        /// How long hookd waited.
        timeout: Duration,
    },

    /// The API server ended a log although its container runs.
    #[error("The log of pod {pod} ended before its container")]
    LogEnded {
        /// Name of the pod.
        pod: String,
    },
}

impl Explain for WorkloadError {
    fn reason(&self) -> Reason {
        match self {
            Self::NoNode { .. } => Reason::PodUnschedulable,
            Self::NotStarted { .. } | Self::JobLate { .. } | Self::Unhealthy { .. } => {
                Reason::DeadlineExceeded
            }
            Self::NoPod { refusal, .. } => refusal.reason,
            Self::EndedEarly { .. } => Reason::StartFailed,
            Self::LogEnded { .. } => Reason::Internal,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::NoNode { .. } => {
                return format!("Add a node with room, or ask for less; {WAIT_LONGER}");
            }
            Self::NotStarted { .. } => {
                return format!("Resolve what the message names; {WAIT_LONGER}");
            }
            Self::NoPod { refusal, .. } => {
                return format!("{}; {WAIT_LONGER}", refusal.remedy);
            }
            Self::JobLate { .. } => {
                "Raise HOOKD_STEP_TIMEOUT_SECONDS or HOOKD_BUILD_TIMEOUT_SECONDS"
            }
            Self::EndedEarly { .. } => {
                "Read its last lines above; a health check that fails until its time is up ends its \
                 container too"
            }
            Self::Unhealthy { .. } => {
                return format!("Check its health command; {WAIT_LONGER}");
            }
            Self::LogEnded { .. } => "This is a defect of hookd: please report it",
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let timeout = Duration::from_secs(600);
    let refusal = Failure::new(
        Reason::QuotaExceeded,
        "Kubernetes refused to create the step's pod: exceeded quota: compute",
        "Raise the quota",
    );
    let all = vec![
        WorkloadError::NoNode {
            owner: "Job runner-1-step-1a2b".into(),
            timeout,
            why: "no node can take the pod: 0/3 nodes are available: 3 Insufficient cpu.".into(),
        },
        WorkloadError::NotStarted {
            owner: "the job".into(),
            timeout,
            why: "the cluster gave no reason".into(),
        },
        WorkloadError::NoPod { owner: "Job runner-1-step-1a2b".into(), timeout, refusal },
        WorkloadError::JobLate { job: "runner-1-step-1a2b".into() },
        WorkloadError::EndedEarly { container: "redis".into(), exit_code: 1 },
        WorkloadError::Unhealthy { container: "postgres".into(), timeout },
        WorkloadError::LogEnded { pod: "runner-1-step-1a2b-x7k9q".into() },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_workload() {
        assert_complete(include_str!("error.rs"), "WorkloadError", &super::examples());
    }
}
