//! What a pod's status means: pure, from the object to one verdict.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{
    ContainerState as KubeletState, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod,
};

use crate::cluster::error::ClusterError;
use crate::cluster::interruption;
use crate::error::Failure;

/// The reason of a container in which a process was killed for its memory use.
pub const OOM_KILLED: &str = "OOMKilled";
/// Exit code of a program that KILL ended.
const KILLED: i32 = 137;
/// Seconds that a pod has to end if it does not say; source: `terminationGracePeriodSeconds` of the API.
const DEFAULT_GRACE: i64 = 30;

/// Where a pod's container stands.
#[derive(Debug)]
pub enum ContainerState {
    /// Not started; the text says what it waits for.
    Waiting(String),
    /// Not started, and will not be unless this passes within the time.
    Degraded(Duration, Failure),
    /// It can never start, or its pod is lost.
    Failed(Failure),
    /// The program runs.
    Running,
    /// The program ended.
    Terminated(Termination),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Exit code; 128 + n for signal n.
    pub exit_code: i32,
    /// "Completed", "Error"; [`OOM_KILLED`] if that befell another process than the program.
    pub reason: String,
    /// What the program wrote to its termination log.
    pub message: String,
}

/// Says where `container` of `pod` stands.
pub fn container_state(pod: &Pod, container: &str) -> ContainerState {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = container_status(pod, container);
    if let Some(terminated) = kubelet_state(status).and_then(|state| state.terminated.as_ref()) {
        return terminated_state(pod, container, terminated);
    }
    if let Some(failure) = pod_failure(pod, name) {
        return ContainerState::Failed(failure);
    }
    if kubelet_state(status).is_some_and(|state| state.running.is_some()) {
        return ContainerState::Running;
    }
    let waiting = kubelet_state(status).and_then(|state| state.waiting.as_ref());
    match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        None | Some("ContainerCreating" | "PodInitializing") => {
            init::waiting(pod).unwrap_or_else(|| not_started(pod))
        }
        Some(reason) => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref());
            let image = status.map_or("", |status| status.image.as_str());
            waiting::state(reason, message.unwrap_or_default(), image)
        }
    }
}

/// True for a container that the runtime has made and not started, as the kubelet reports it: without a
/// reason, which lasts for a moment, unless the kubelet ended in it; or with the runtime's end as the reason.
pub fn is_unstarted(pod: &Pod, container: &str) -> bool {
    let Some(status) = container_status(pod, container) else { return false };
    let waiting = kubelet_state(Some(status)).and_then(|state| state.waiting.as_ref());
    let made = status.container_id.as_ref().is_some_and(|id| !id.is_empty());
    let interrupted = |waiting: &ContainerStateWaiting| {
        waiting.reason.as_deref() == Some("RunContainerError")
            && waiting.message.as_deref().is_some_and(interruption::is_told_by)
    };
    made && waiting.is_some_and(|waiting| waiting.reason.is_none() || interrupted(waiting))
}

/// When the container ended, if it has.
pub fn finished_at(pod: &Pod, container: &str) -> Option<jiff::Timestamp> {
    let end = kubelet_state(container_status(pod, container))?.terminated.as_ref()?;
    Some(end.finished_at.as_ref()?.0)
}

/// The state of a container, if the kubelet has reported it.
fn kubelet_state(status: Option<&ContainerStatus>) -> Option<&KubeletState> {
    status?.state.as_ref()
}

/// What the kubelet reports of a container, be it an ephemeral one.
pub fn container_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let ephemeral = status.ephemeral_container_statuses.iter().flatten();
    let mut all = status.container_statuses.iter().flatten().chain(ephemeral);
    all.find(|status| status.name == container)
}

fn terminated_state(pod: &Pod, container: &str, end: &ContainerStateTerminated) -> ContainerState {
    let reason = end.reason.clone().unwrap_or_default();
    let message = end.message.clone().unwrap_or_default();
    match reason.as_str() {
        // The runtime made the container and could not start its program.
        "StartError" | "ContainerCannotRun" => {
            let message = one_line(&message);
            return ContainerState::Failed(ClusterError::ProgramNotStarted { message }.into());
        }
        // Said whichever process was killed: the program may have gone on to its own end.
        OOM_KILLED if end.exit_code == KILLED => {
            return ContainerState::Failed(oom_failure(pod, container));
        }
        _ => {}
    }
    if let Some(failure) = evicted(pod) {
        return ContainerState::Failed(failure);
    }
    if was_ended_by_deletion(pod, end) {
        return ContainerState::Failed(going(pod));
    }
    ContainerState::Terminated(Termination { exit_code: end.exit_code, reason, message })
}

/// True for an end after the pod's deletion was asked for. Programs that handle TERM end with codes
/// of their own, 0 among them, so that the time decides; its stamps have whole seconds. The time of the
/// request is lost once the grace was shortened, as the kubelet does at the end: the API server then
/// counts from that moment on (`BeforeDelete` in apiserver's registry/rest/delete.go). No step may turn
/// green for that, so such an end counts as the deletion's.
fn was_ended_by_deletion(pod: &Pod, end: &ContainerStateTerminated) -> bool {
    let Some(deadline) = &pod.metadata.deletion_timestamp else { return false };
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    if grace < own.unwrap_or(DEFAULT_GRACE) {
        return true;
    }
    let asked = deadline.0 - SignedDuration::from_secs(grace);
    end.finished_at.as_ref().is_none_or(|finished| finished.0 >= asked)
}

/// The failure of a step whose pod is being deleted; the cluster may have said why.
pub fn going(pod: &Pod) -> Failure {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let disrupted = conditions.into_iter().flatten().find(|one| one.type_ == "DisruptionTarget");
    let Some(why) = disrupted.filter(|one| one.status == "True") else { return deleted(name) };
    let reason = why.reason.as_deref().unwrap_or("no reason");
    let message = why.message.as_deref().map(one_line).unwrap_or_default();
    ClusterError::Disrupted { name: name.to_owned(), reason: reason.to_owned(), message }.into()
}

/// The failure of a step whose pod was deleted under it.
pub fn deleted(name: &str) -> Failure {
    ClusterError::PodDeleted { name: name.to_owned() }.into()
}

/// The failure of a container that could not go on after an out-of-memory kill.
pub fn oom_failure(pod: &Pod, container: &str) -> Failure {
    ClusterError::OomKilled { limit: memory_limit(pod, container).map(str::to_owned) }.into()
}

/// The note for a step that ended with an exit code although the kernel OOM-killed one of its processes.
pub fn oom_note(pod: Option<&Pod>, container: &str) -> String {
    let limit = pod.and_then(|pod| memory_limit(pod, container));
    let bound =
        limit.map_or_else(|| "its node has".to_owned(), |limit| format!("its limit of {limit}"));
    format!(
        "OOMKilled: a process of the step was killed because the container used more memory than \
         {bound}"
    )
}

/// The memory limit of a container, if it has one.
pub fn memory_limit<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let found = containers.iter().find(|candidate| candidate.name == container)?;
    Some(&found.resources.as_ref()?.limits.as_ref()?.get("memory")?.0)
}

fn evicted(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let reason = status.reason.as_deref().filter(|reason| {
        matches!(*reason, "Evicted" | "Preempting" | "NodeShutdown" | "Terminated" | "Shutdown")
    })?;
    let message = status.message.as_deref().unwrap_or("no message").to_owned();
    Some(ClusterError::Evicted { reason: reason.to_owned(), message }.into())
}

/// A failure of the pod as a whole before its container ended.
fn pod_failure(pod: &Pod, name: &str) -> Option<Failure> {
    if let Some(failure) = evicted(pod) {
        return Some(failure);
    }
    let status = pod.status.as_ref()?;
    if let Some(failure) = init::failure(pod) {
        return Some(failure);
    }
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("no reason given").to_owned();
        let message = status.message.as_deref().unwrap_or("no message").to_owned();
        return Some(ClusterError::PodFailed { name: name.to_owned(), reason, message }.into());
    }
    None
}

/// The container has no state of its own yet: the scheduler's and the volumes' turn.
fn not_started(pod: &Pod) -> ContainerState {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let scheduled = conditions.into_iter().flatten().find(|one| one.type_ == "PodScheduled");
    let Some(message) = scheduled
        .filter(|one| one.status == "False")
        .map(|one| one.message.as_deref().unwrap_or("no message"))
    else {
        return ContainerState::Waiting(String::new());
    };
    if message.contains("persistentvolumeclaim") && message.contains("not found") {
        let message = one_line(message);
        return ContainerState::Failed(ClusterError::ClaimNotFound { message }.into());
    }
    if message.contains("volume node affinity conflict") {
        let message = one_line(message);
        return ContainerState::Failed(ClusterError::VolumeOnOtherNode { message }.into());
    }
    ContainerState::Waiting(format!("no node can take the pod: {}", one_line(message)))
}

/// A text on one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

mod failed_program;
mod init;
mod kill;
mod waiting;

pub use failed_program::FailedProgram;
pub use kill::awaits_reason;
pub use waiting::missing_mount;

#[cfg(test)]
mod tests;
