//! The end of the job container under its steps: a step that comes later hears of it at once.

use crate::cluster::error::ClusterError;
use crate::cluster::pod::{self, ContainerState};
use crate::cluster::watch::PodState;
use crate::stepd::error::{AgentError, During};

/// Longest name of a step in a message.
const LONGEST_NAME: usize = 100;

/// Why no further step can run in the job's `container`, if it has ended; `during`: the step that ran
/// then, if that is known.
pub fn of(seen: &PodState, container: &str, during: Option<&str>) -> Option<AgentError> {
    let during = During(during.map(str::to_owned));
    match seen {
        PodState::NotCreated => None,
        PodState::Deleted => Some(AgentError::JobPodDeleted { during }),
        // A deleted pod has reasons of its own, which the step itself reports.
        PodState::Present(pod) if pod.metadata.deletion_timestamp.is_some() => None,
        PodState::Present(pod) => match pod::container_state(pod, container) {
            ContainerState::Terminated(ended) => {
                Some(AgentError::JobContainerEnded { during, exit_code: ended.exit_code })
            }
            ContainerState::Failed(source) => Some(match source.cause() {
                Some(ClusterError::OomKilled { .. }) => {
                    AgentError::JobOutOfMemory { during, source }
                }
                _ => AgentError::JobContainerFailed { during, source },
            }),
            ContainerState::Waiting(_) | ContainerState::Degraded(..) | ContainerState::Running => {
                None
            }
        },
    }
}

/// A step's name for messages, from GITHUB_ACTION: the workflow's `id:`, or one that the runner made.
pub fn name(action: Option<&String>) -> Option<String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let name = action.filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)?;
    name.chars().all(fits).then(|| name.clone())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::{Explain, Reason};

    fn seen(state: &Value) -> PodState {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "job", "resources": {"limits": {"memory": "64Mi"}}}]},
            "status": {"phase": "Failed", "containerStatuses": [{
                "name": "job", "image": "debian", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            }]},
        }))
        .unwrap();
        PodState::Present(Box::new(pod))
    }

    // cgroup v2: the kernel kills stepd with the process that used too much.
    #[test]
    fn a_later_step_names_the_step_that_was_killed_for_memory() {
        let killed = seen(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
        let failure = of(&killed, "job", Some("compile")).unwrap();
        assert_eq!(failure.reason(), Reason::OomKilled);
        for expected in ["container is gone since step \"compile\"", "64Mi", "OOMKilled"] {
            assert!(failure.to_string().contains(expected), "{failure}");
        }
        assert!(failure.help().contains("singleProcessOOMKill"), "{}", failure.help());
        // A hookd that was started again does not know which.
        assert!(of(&killed, "job", None).unwrap().to_string().contains("since an earlier step"));
    }

    #[test]
    fn every_container_end_is_reported_and_none_while_it_runs() {
        let ended = seen(&json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        let failure = of(&ended, "job", Some("kills")).unwrap();
        assert_eq!(failure.reason(), Reason::StepLost);
        assert!(failure.to_string().contains("exit code 0"), "{failure}");
        assert_eq!(of(&PodState::Deleted, "job", None).unwrap().reason(), Reason::StepLost);
        assert!(of(&PodState::NotCreated, "job", None).is_none());
        let PodState::Present(mut running) = seen(&json!({"running": {}})) else { panic!("a pod") };
        running.status.as_mut().unwrap().phase = Some("Running".to_owned());
        assert!(of(&PodState::Present(running), "job", None).is_none());
    }

    #[test]
    fn only_a_plain_name_of_a_step_goes_into_a_message() {
        let named = |text: &str| name(Some(&text.to_owned()));
        assert_eq!(named("__run_2").as_deref(), Some("__run_2"));
        assert_eq!(named("build-1").as_deref(), Some("build-1"));
        for text in ["", "a b", "::error::x", "a\nb", &"x".repeat(101)] {
            assert_eq!(named(text), None);
        }
        assert_eq!(name(None), None);
    }
}
