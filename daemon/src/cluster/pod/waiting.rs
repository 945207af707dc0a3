//! A container that waits: what passes by itself, what may, and what does not.

use std::time::Duration;

use super::{ContainerState, one_line};
use crate::cluster::error::{ClusterError, PullProblem};

/// Pull errors other than the final ones end a step after this; a first one is often throttling.
pub(super) const PULL_GRACE_PERIOD: Duration = Duration::from_secs(60);
/// The kubelet may ask for a Secret before its cache has it.
const CONFIG_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// What the kubelet or the runtime did not see to its end, since it was killed, is begun again within
/// seconds.
pub(super) const START_GRACE_PERIOD: Duration = Duration::from_secs(60);
/// After an outage of the API server the kubelet asks again with pauses of its own, of half a minute.
const KUBELET_SYNC_GRACE_PERIOD: Duration = Duration::from_secs(120);

/// Where a container stands that waits for this reason.
pub(super) fn state(reason: &str, message: &str, image: &str) -> ContainerState {
    let failed = |error: ClusterError| ContainerState::Failed(error.into());
    let degraded = |time, error: ClusterError| ContainerState::Degraded(time, error.into());
    let text = one_line(message);
    match reason {
        "InvalidImageName" => failed(ClusterError::InvalidImageName { image: image.to_owned() }),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ErrImageNeverPull" => {
            let problem = pull_problem(reason, message);
            let (image, cause) = (image.to_owned(), pull_error(message));
            let error = ClusterError::PullFailed { image, cause, problem };
            match problem {
                PullProblem::NotFound | PullProblem::Denied => failed(error),
                PullProblem::BackOff | PullProblem::Unreachable | PullProblem::Other => {
                    degraded(PULL_GRACE_PERIOD, error)
                }
            }
        }
        "CreateContainerConfigError" if is_not_synced(message) => {
            degraded(KUBELET_SYNC_GRACE_PERIOD, ClusterError::ConfigNotSynced { message: text })
        }
        "CreateContainerConfigError" => {
            degraded(CONFIG_GRACE_PERIOD, ClusterError::ConfigUnusable { message: text })
        }
        "CreateContainerError" if lacks_image_volumes(message) => {
            failed(ClusterError::NoImageVolumes { message: text })
        }
        "CreateContainerError" | "RunContainerError" | "StartError" => {
            let error = ClusterError::ProgramNotStarted { message: text };
            let was_interrupted = error.is_interrupted_start();
            let time = if was_interrupted { START_GRACE_PERIOD } else { CONFIG_GRACE_PERIOD };
            degraded(time, error)
        }
        other => ContainerState::Waiting(format!("{other}: {text}")),
    }
}

/// What the pod's event says, if it is that an object to mount does not exist: the kubelet repeats
/// such a mount as long as the pod lives.
pub fn missing_mount(event: &str) -> Option<ClusterError> {
    let of_mount = event.starts_with("MountVolume.SetUp failed for volume ");
    let is_object = event.contains(": secret \"") || event.contains(": configmap \"");
    let is_missing = (is_object && event.ends_with(" not found"))
        || event.contains("references non-existent secret key: ")
        || event.contains("references non-existent config key: ");
    (of_mount && is_missing).then(|| ClusterError::MountMissing { message: event.to_owned() })
}

/// True of the kubelet's message for a Secret or ConfigMap that it has not heard of yet, good or bad.
fn is_not_synced(message: &str) -> bool {
    message.contains("failed to sync")
}

/// A runtime that does not know image volumes takes one for a mount of the host without a path.
fn lacks_image_volumes(message: &str) -> bool {
    message.contains("failed to mkdir \"\"") || message.contains("image volume")
}

/// Classifies the registry's message: what no second attempt cures, and what one may.
fn pull_problem(reason: &str, message: &str) -> PullProblem {
    let lower = message.to_ascii_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    // The back-off's own message does not repeat the registry's message in every version.
    if reason == "ImagePullBackOff" && !has(&["failed to", "error"]) {
        return PullProblem::BackOff;
    }
    if has(&["not found", "manifest unknown", "name unknown", "repository does not exist"]) {
        return PullProblem::NotFound;
    }
    if has(&["unauthorized", "denied", "forbidden", "authentication required", "no basic auth"]) {
        return PullProblem::Denied;
    }
    let unreachable = [
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "gave http response",
    ];
    if has(&unreachable) { PullProblem::Unreachable } else { PullProblem::Other }
}

/// The kubelet wraps the registry's message in several layers that each repeat the image's name.
fn pull_error(message: &str) -> String {
    one_line(message.split("desc = ").last().unwrap_or(message))
}
