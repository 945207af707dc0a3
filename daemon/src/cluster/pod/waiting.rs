//! A container that waits: what passes by itself, what may, and what does not.

use std::time::Duration;

use super::{ContainerState, one_line, start_failure};
use crate::error::{Failure, Reason};

/// Pull errors other than the final ones end a step after this; a first one is often throttling.
pub(super) const PULL_GRACE_PERIOD: Duration = Duration::from_secs(60);
/// The kubelet may ask for a Secret before its cache has it.
const CONFIG_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// After an outage of the API server the kubelet asks again with pauses of its own, of half a minute.
const KUBELET_SYNC_GRACE_PERIOD: Duration = Duration::from_secs(120);

/// Where a container stands that waits for this reason.
pub(super) fn state(reason: &str, message: &str, image: &str) -> ContainerState {
    match reason {
        "InvalidImageName" => ContainerState::Failed(Failure::new(
            Reason::ImagePullFailed,
            format!("{image:?} is not an image name"),
            "Correct the image in the workflow or in the action's action.yml",
        )),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ErrImageNeverPull" => {
            pull_state(reason, message, image)
        }
        "CreateContainerConfigError" if is_not_synced(message) => ContainerState::Degraded(
            KUBELET_SYNC_GRACE_PERIOD,
            Failure::new(
                Reason::StartFailed,
                format!(
                    "The kubelet has not read the pod's Secrets and ConfigMaps from the API server \
                     yet: {}",
                    one_line(message)
                ),
                "Check that the kubelet of the pod's node reaches the API server; run the job again",
            ),
        ),
        "CreateContainerConfigError" => ContainerState::Degraded(
            CONFIG_GRACE_PERIOD,
            Failure::new(
                Reason::StartFailed,
                format!("The kubelet cannot configure the container: {}", one_line(message)),
                "Create the object that the message names, or correct its name",
            ),
        ),
        "CreateContainerError" if lacks_image_volumes(message) => {
            ContainerState::Failed(Failure::new(
                Reason::Unsupported,
                format!("The node's container runtime has no image volumes: {}", one_line(message)),
                "Use containerd 2.1 or CRI-O 1.33 or later on the nodes, or set \
             HOOKD_TOOLS=init-container",
            ))
        }
        "CreateContainerError" | "RunContainerError" | "StartError" => {
            ContainerState::Degraded(CONFIG_GRACE_PERIOD, start_failure(message))
        }
        other => ContainerState::Waiting(format!("{other}: {}", one_line(message))),
    }
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
fn pull_state(reason: &str, message: &str, image: &str) -> ContainerState {
    let lower = message.to_ascii_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    let cause = pull_error(message);
    let failed = |kind, remedy: &str| {
        Failure::new(kind, format!("Image {image} could not be pulled: {cause}"), remedy)
    };
    // The back-off's own message does not repeat the registry's message in every version.
    if reason == "ImagePullBackOff" && !has(&["failed to", "error"]) {
        return ContainerState::Degraded(
            PULL_GRACE_PERIOD,
            failed(Reason::ImagePullFailed, "See the pod's events for the registry's answer"),
        );
    }
    if has(&["not found", "manifest unknown", "name unknown", "repository does not exist"]) {
        return ContainerState::Failed(failed(
            Reason::ImagePullFailed,
            "Check the image's name and tag for a misspelling",
        ));
    }
    if has(&["unauthorized", "denied", "forbidden", "authentication required", "no basic auth"]) {
        return ContainerState::Failed(failed(
            Reason::ImagePullFailed,
            "Check the name, and give the runner pod an imagePullSecret that may read it",
        ));
    }
    if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "gave http response",
    ]) {
        return ContainerState::Degraded(
            PULL_GRACE_PERIOD,
            failed(
                Reason::RegistryUnreachable,
                "Check that the registry runs and that the node can reach it; localhost:<node port> \
                 needs kube-proxy in iptables mode on IPv4, otherwise set \
                 ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST",
            ),
        );
    }
    ContainerState::Degraded(
        PULL_GRACE_PERIOD,
        failed(Reason::ImagePullFailed, "Check the registry and the node's container runtime"),
    )
}

/// The kubelet wraps the registry's message in several layers that each repeat the image's name.
fn pull_error(message: &str) -> String {
    one_line(message.split("desc = ").last().unwrap_or(message))
}
