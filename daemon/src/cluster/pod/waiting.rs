//! A container that waits: what passes by itself, what may, and what does not.

use std::time::Duration;

use super::{Standing, one_line, start_failure};
use crate::error::{Failure, Reason};

/// Pull errors other than the final ones end a step after this; a first one is often throttling.
pub(super) const PULL_PATIENCE: Duration = Duration::from_secs(60);
/// The kubelet may ask for a Secret before its cache has it.
const CONFIG_PATIENCE: Duration = Duration::from_secs(10);
/// After an outage of the API server the kubelet asks again with pauses of its own, of half a minute.
const DEAF_PATIENCE: Duration = Duration::from_secs(120);

/// Where a container stands that waits for this reason.
pub(super) fn standing(reason: &str, message: &str, image: &str) -> Standing {
    match reason {
        "InvalidImageName" => Standing::Doomed(Failure::new(
            Reason::ImagePullFailed,
            format!("{image:?} is not an image name"),
            "Correct the image in the workflow or in the action's action.yml",
        )),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ErrImageNeverPull" => {
            pull_standing(reason, message, image)
        }
        "CreateContainerConfigError" if hears_nothing(message) => Standing::Troubled(
            DEAF_PATIENCE,
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
        "CreateContainerConfigError" => Standing::Troubled(
            CONFIG_PATIENCE,
            Failure::new(
                Reason::StartFailed,
                format!("The kubelet cannot configure the container: {}", one_line(message)),
                "Create the object that the message names, or correct its name",
            ),
        ),
        "CreateContainerError" if lacks_image_volumes(message) => Standing::Doomed(Failure::new(
            Reason::Unsupported,
            format!("The node's container runtime has no image volumes: {}", one_line(message)),
            "Use containerd 2.1 or CRI-O 1.33 or later on the nodes, or set \
             HOOKD_TOOLS=init-container",
        )),
        "CreateContainerError" | "RunContainerError" | "StartError" => {
            Standing::Troubled(CONFIG_PATIENCE, start_failure(message))
        }
        other => Standing::Waiting(format!("{other}: {}", one_line(message))),
    }
}

/// The kubelet's words for a Secret or ConfigMap of which it has had no word yet, good or bad.
fn hears_nothing(message: &str) -> bool {
    message.contains("failed to sync")
}

/// A runtime that does not know image volumes takes one for a mount of the host without a path.
fn lacks_image_volumes(message: &str) -> bool {
    message.contains("failed to mkdir \"\"") || message.contains("image volume")
}

/// Sorts the registry's words: what no second attempt cures, and what one may.
fn pull_standing(reason: &str, message: &str, image: &str) -> Standing {
    let words = message.to_ascii_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    let told = pull_words(message);
    let failed = |kind, remedy: &str| {
        Failure::new(kind, format!("Image {image} could not be pulled: {told}"), remedy)
    };
    // The back-off's own message does not repeat the registry's words in every version.
    if reason == "ImagePullBackOff" && !has(&["failed to", "error"]) {
        return Standing::Troubled(
            PULL_PATIENCE,
            failed(Reason::ImagePullFailed, "See the pod's events for the registry's answer"),
        );
    }
    if has(&["not found", "manifest unknown", "name unknown", "repository does not exist"]) {
        return Standing::Doomed(failed(
            Reason::ImagePullFailed,
            "Check the image's name and tag for a misspelling",
        ));
    }
    if has(&["unauthorized", "denied", "forbidden", "authentication required", "no basic auth"]) {
        return Standing::Doomed(failed(
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
        return Standing::Troubled(
            PULL_PATIENCE,
            failed(
                Reason::RegistryUnreachable,
                "Check that the registry runs and that the node can reach it; localhost:<node port> \
                 needs kube-proxy in iptables mode on IPv4, otherwise set \
                 ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST",
            ),
        );
    }
    Standing::Troubled(
        PULL_PATIENCE,
        failed(Reason::ImagePullFailed, "Look at the registry and at the node's container runtime"),
    )
}

/// The kubelet wraps the registry's words in several layers that each repeat the image's name.
fn pull_words(message: &str) -> String {
    one_line(message.split("desc = ").last().unwrap_or(message))
}
