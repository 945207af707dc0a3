//! The containers that start before a pod's own: init containers, and sidecars.

use k8s_openapi::api::core::v1::{ContainerState as KubeletState, ContainerStatus, Pod};

use super::{ContainerState, one_line, waiting};
use crate::cluster::error::ClusterError;
use crate::error::Failure;

/// The runtime made the container and could not start its program.
const START_ERROR: &str = "StartError";
/// The program ended, or was ended, before its postStart hook had succeeded; and it did so again and again.
const HOOK_ERRORS: [&str; 2] = ["PostStartHookError", "CrashLoopBackOff"];

/// A pod whose init container failed starts no other. Where one of its own containers runs, what
/// failed is a sidecar, which the kubelet starts again.
pub(super) fn failure(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let running = |one: &ContainerStatus| one.state.as_ref().is_some_and(|at| at.running.is_some());
    if status.container_statuses.iter().flatten().any(running) {
        return None;
    }
    let statuses = status.init_container_statuses.iter().flatten();
    let mut final_ones = statuses.filter(|status| !is_started_again(pod, status));
    final_ones.find_map(failed)
}

/// Why the container has ended, if that is a failure. One that has ended during its postStart hook waits for its
/// next start.
fn failed(status: &ContainerStatus) -> Option<Failure> {
    let ended = |state: Option<&KubeletState>| state?.terminated.clone();
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let in_hook = reason.is_some_and(|reason| HOOK_ERRORS.contains(&reason));
    let last = status.last_state.as_ref().filter(|_| in_hook);
    let end = ended(status.state.as_ref()).or_else(|| ended(last));
    let end = end.filter(|end| end.exit_code != 0)?;
    let message = end.message.as_deref().map(one_line).unwrap_or_default();
    let (container, exit_code) = (status.name.clone(), end.exit_code);
    Some(ClusterError::InitContainerFailed { container, exit_code, message }.into())
}

/// True for a sidecar whose program has not begun.
fn is_started_again(pod: &Pod, status: &ContainerStatus) -> bool {
    let end = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    end.is_some_and(|end| end.reason.as_deref() == Some(START_ERROR))
        && containers
            .any(|one| one.name == status.name && one.restart_policy.as_deref() == Some("Always"))
}

/// Where the pod stands if an init container waits for something of its own, such as its image.
pub(super) fn waiting(pod: &Pod) -> Option<ContainerState> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find_map(|status| {
        // So it ends if the kubelet itself ends meanwhile.
        if is_started_again(pod, status) {
            return failed(status)
                .map(|why| ContainerState::Degraded(waiting::START_GRACE_PERIOD, why));
        }
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let begins = matches!(reason, "PodInitializing" | "ContainerCreating");
        let message = waiting.message.as_deref().unwrap_or_default();
        (!begins).then(|| waiting::state(reason, message, &status.image))
    })
}
