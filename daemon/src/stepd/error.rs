//! An agent that cannot be reached, and a container that ended under it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

#[cfg(test)]
use crate::cluster::error::ClusterError;
use crate::error::{Explain, Failure, Reason};

/// The end of a remedy for what another attempt may not meet.
const AGAIN: &str = "run the job again";

/// The step that ran when the job container ended, for messages.
#[derive(Clone, Debug)]
pub struct During(pub Option<String>);

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "step {name:?}"),
            // A daemon that was started again does not know which.
            None => f.write_str("an earlier step"),
        }
    }
}

/// Why a program cannot be started in a pod of ours, or followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No tunnel leads to the agent now.
    #[error("The agent in pod {pod} cannot be reached")]
    NoTunnel {
        /// Name of the pod.
        pod: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The API server does not open a tunnel.
    #[error("The agent in pod {pod} cannot be reached: no answer within {} s", .timeout.as_secs())]
    NoAnswer {
        /// Name of the pod.
        pod: String,
        /// How long hookd waited.
        timeout: Duration,
    },

    /// The agent was away for as long as a step may wait for it.
    #[error("Pod {pod} could not be reached for {} s: {why}", .timeout.as_secs())]
    Unreachable {
        /// Name of the pod.
        pod: String,
        /// How long hookd tried.
        timeout: Duration,
        /// What happened to the last attempt.
        why: String,
    },

    /// The agent refused a call of ours.
    #[error("stepd refused a call: {message}")]
    Refused {
        /// The agent's message.
        message: String,
    },

    /// Output is missing between what was sent and what came.
    #[error("Output of the step is lost: byte {expected} is due, but byte {received} came")]
    OutputGap {
        /// Offset of the next byte that the client is due.
        expected: u64,
        /// Offset of the first byte that came.
        received: u64,
    },

    /// The agent does not have the output any more.
    #[error("Output of the step is lost: {message}")]
    OutputDropped {
        /// The agent's message.
        message: String,
    },

    /// The container ended while a step ran in it.
    #[error(
        "Container {container} of pod {pod} ended with exit code {exit_code} while its step ran"
    )]
    ContainerEnded {
        /// Name of the container.
        container: String,
        /// Name of the pod.
        pod: String,
        /// Its exit code.
        exit_code: i32,
    },

    /// The job's pod was deleted before this step.
    #[error("{} its pod was deleted", gone(.during))]
    JobPodDeleted {
        /// The step that ran then.
        during: During,
    },

    /// The job container ended before this step.
    #[error("{} its program, stepd, ended with exit code {exit_code}", gone(.during))]
    JobContainerEnded {
        /// The step that ran then.
        during: During,
        /// Its exit code.
        exit_code: i32,
    },

    /// The kernel killed the job container for its memory use before this step.
    #[error("{} {source}", gone(.during))]
    JobOutOfMemory {
        /// The step that ran then.
        during: During,
        /// The limit.
        source: Failure,
    },

    /// The job container failed otherwise before this step.
    #[error("{} {source}", gone(.during))]
    JobContainerFailed {
        /// The step that ran then.
        during: During,
        /// How it failed.
        source: Failure,
    },
}

fn gone(during: &During) -> String {
    format!("The job container is gone since {during}, so that this step cannot run:")
}

impl Explain for AgentError {
    fn reason(&self) -> Reason {
        match self {
            Self::NoTunnel { .. } | Self::NoAnswer { .. } | Self::Unreachable { .. } => {
                Reason::ApiUnreachable
            }
            Self::Refused { .. } => Reason::Internal,
            Self::OutputGap { .. } | Self::OutputDropped { .. } => Reason::OutputLost,
            Self::ContainerEnded { .. }
            | Self::JobPodDeleted { .. }
            | Self::JobContainerEnded { .. } => Reason::StepLost,
            Self::JobOutOfMemory { .. } => Reason::OomKilled,
            Self::JobContainerFailed { source, .. } => source.reason,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::NoTunnel { .. } | Self::NoAnswer { .. } => {
                "Check the API server and the kubelet of the pod's node"
            }
            Self::Unreachable { .. } => {
                "Check the API server and the kubelet of the pod's node; run the job again"
            }
            Self::Refused { .. } => "This is a defect of hookd: please report it",
            Self::OutputGap { .. } | Self::OutputDropped { .. } => {
                "Run the job again; if it happens again, report it with the log of hookd"
            }
            Self::ContainerEnded { .. } => {
                "Read its log: stepd is its program, and something ended it; run the job again"
            }
            Self::JobPodDeleted { .. } => {
                "Check the cluster's audit log for who deleted it (a node drain, a preemption, a \
                 person); run the job again"
            }
            Self::JobContainerEnded { .. } => {
                "Find what ended it: a step can send a signal to PID 1; run the job again"
            }
            Self::JobOutOfMemory { .. } => {
                "Raise the memory limit of the job container (`--memory` of its `options:`), or let the \
                 step use less; with `singleProcessOOMKill: true` of the kubelet only the process is \
                 killed that uses too much; run the job again"
            }
            Self::JobContainerFailed { source, .. } if source.remedy.contains(AGAIN) => {
                source.remedy.as_str()
            }
            Self::JobContainerFailed { source, .. } => {
                return format!("{}; {AGAIN}", source.remedy);
            }
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let out_of_memory = ClusterError::OomKilled { limit: Some("64Mi".into()) };
    let evicted = ClusterError::Evicted {
        reason: "Evicted".into(),
        message: "The node was low on resource: ephemeral-storage.".into(),
    };
    let pod = || "runner-1-workflow".to_owned();
    let during = || During(Some("compile".to_owned()));
    let all = vec![
        AgentError::NoTunnel { pod: pod(), source: "the kubelet answers 502 Bad Gateway".into() },
        AgentError::NoAnswer { pod: pod(), timeout: Duration::from_secs(15) },
        AgentError::Unreachable {
            pod: pod(),
            timeout: Duration::from_secs(300),
            why: "no answer within 15 s".into(),
        },
        AgentError::Refused { message: "argv is empty".into() },
        AgentError::OutputGap { expected: 4096, received: 8192 },
        AgentError::OutputDropped { message: "the offset was acknowledged before".into() },
        AgentError::ContainerEnded { container: "job".into(), pod: pod(), exit_code: 137 },
        AgentError::JobPodDeleted { during: During(None) },
        AgentError::JobContainerEnded { during: during(), exit_code: 0 },
        AgentError::JobOutOfMemory { during: during(), source: out_of_memory.into() },
        AgentError::JobContainerFailed { during: during(), source: evicted.into() },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_an_agent() {
        assert_complete(include_str!("error.rs"), "AgentError", &super::examples());
    }
}
