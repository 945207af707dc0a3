//! The containers that start before a pod's own: init containers, and sidecars.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::{ContainerState, one_line, waiting};
use crate::cluster::error::ClusterError;
use crate::error::Failure;

/// A pod whose init container failed starts no other. Where one of its own containers runs, what
/// failed is a sidecar, which the kubelet starts again.
pub(super) fn failure(status: &PodStatus) -> Option<Failure> {
    let running = |one: &ContainerStatus| one.state.as_ref().is_some_and(|at| at.running.is_some());
    if status.container_statuses.iter().flatten().any(running) {
        return None;
    }
    let mut statuses = status.init_container_statuses.iter().flatten();
    let (name, end) = statuses.find_map(|status| {
        let end = status.state.as_ref()?.terminated.as_ref()?;
        (end.exit_code != 0).then_some((&status.name, end))
    })?;
    let message = end.message.as_deref().map(one_line).unwrap_or_default();
    let (container, exit_code) = (name.clone(), end.exit_code);
    Some(ClusterError::InitContainerFailed { container, exit_code, message }.into())
}

/// Where the pod stands if an init container waits for something of its own, such as its image.
pub(super) fn waiting(pod: &Pod) -> Option<ContainerState> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let begins = matches!(reason, "PodInitializing" | "ContainerCreating");
        let message = waiting.message.as_deref().unwrap_or_default();
        (!begins).then(|| waiting::state(reason, message, &status.image))
    })
}
