//! Waits until all containers of a job's pod are ready.

use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::cluster::pod::{self, ContainerState};
use crate::cluster::watch::{PodState, PodWatch};
use crate::cluster::{Cluster, ContainerRef};
use crate::error::Failure;
use crate::names;
use crate::session::events::Session;
use crate::workload::error::WorkloadError;
use crate::workload::last_lines;
use crate::workload::start::{Awaited, EventReporter, started_while};
use crate::workload::timing;

/// A job's pod that has not started after this long is worth a look at its events.
const SLOW: Duration = Duration::from_secs(3);
/// How long the log of a container that ended is asked for.
const LOG_LIMIT: Duration = Duration::from_secs(15);
/// A container without a health check has run for so long when it counts as started: the kubelet
/// looks at its containers once a second, so that one that it calls running may have ended long ago.
const STEADY: Duration = Duration::from_secs(2);

/// The containers of a job's pod that are awaited.
#[derive(Clone, Copy, Debug)]
pub struct PodContainers<'a> {
    /// Name of the pod.
    pub name: &'a str,
    /// Names of the containers.
    pub containers: &'a [String],
}

/// Waits until every container runs and is healthy. Returns since when the last of those services
/// has run that have no health check, for [`steady`].
///
/// # Errors
/// Why one is not; its last lines were printed before.
pub async fn ready(
    cluster: &Cluster,
    pod: PodContainers<'_>,
    watch: &mut PodWatch,
    session: &mut Session,
) -> Result<Option<Instant>, Failure> {
    let PodContainers { name, containers } = pod;
    let mut running = None;
    let mut events = EventReporter::after(SLOW);
    for container in containers {
        let awaited = Awaited { job: None, container, phase: Phase::RunPending };
        let mut others = watch.clone();
        tokio::select! {
            biased;
            started = started_while(cluster, watch, awaited, session, &mut events) => {
                if !has_health_check(&started?, container) && container != names::JOB_CONTAINER {
                    running = Some(Instant::now());
                }
            }
            // The rest is of no use to a job that has lost one of its containers.
            () = one_ended(&mut others, containers) => break,
        }
    }
    let mut reported = String::new();
    let began = Instant::now();
    let deadline = began + cluster.start_timeout;
    loop {
        let PodState::Present(pod) = watch.now() else { return Err(pod::deleted(name)) };
        for container in containers {
            if let Some(failure) = ended(cluster, &pod, container, session).await? {
                return Err(failure);
            }
        }
        let waiting = containers.iter().find(|container| !is_healthy(&pod, container));
        if !reported.is_empty() && Some(&reported) != waiting {
            let took = began.elapsed().as_secs_f64();
            let message = format!("Container {reported} is healthy after {took:.1} s");
            session.progress(Phase::RunPending, message).await?;
        }
        let Some(waiting) = waiting else {
            if let Some(last) = containers.last() {
                timing::observe(&pod, last, &mut session.timings);
            }
            return Ok(running);
        };
        if reported != *waiting {
            reported.clone_from(waiting);
            let message = format!("Waiting: container {waiting} is not healthy yet");
            session.progress(Phase::RunPending, message).await?;
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(deadline) => {
                let (container, timeout) = (waiting.clone(), cluster.start_timeout);
                return Err(WorkloadError::Unhealthy { container, timeout }.into());
            }
        }
    }
}

/// Waits until services without a health check, which run since `running`, have done so for a while:
/// a crash at the start shows by then. The job container needs no such wait, since stepd has answered.
///
/// # Errors
/// As [`ready`].
pub async fn steady(
    cluster: &Cluster,
    pod: PodContainers<'_>,
    running: Option<Instant>,
    watch: &PodWatch,
    session: &mut Session,
) -> Result<(), Failure> {
    let PodContainers { name, containers } = pod;
    let mut watch = watch.clone();
    let Some(until) = running.map(|since| since + STEADY) else { return Ok(()) };
    loop {
        let is_over = Instant::now() >= until;
        let PodState::Present(pod) = watch.now() else { return Err(pod::deleted(name)) };
        for container in containers {
            if let Some(failure) = ended(cluster, &pod, container, session).await? {
                return Err(failure);
            }
        }
        if is_over {
            return Ok(());
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// Waits until one of the containers has ended, or its pod is lost.
async fn one_ended(watch: &mut PodWatch, containers: &[String]) {
    let ended = |seen: &PodState| {
        let Some(pod) = seen.pod() else { return false };
        let state = |container: &String| status(pod, container)?.state.as_ref();
        containers.iter().filter_map(state).any(|state| state.terminated.is_some())
    };
    watch.until(ended).await;
}

fn has_health_check(pod: &Pod, container: &str) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.any(|one| one.name == container && one.startup_probe.is_some())
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)
}

fn is_healthy(pod: &Pod, container: &str) -> bool {
    status(pod, container).is_some_and(|status| status.started == Some(true))
}

/// The failure of a container that has ended, after its last lines were printed.
async fn ended(
    cluster: &Cluster,
    pod: &Pod,
    container: &str,
    session: &mut Session,
) -> Result<Option<Failure>, Failure> {
    let failure = match pod::container_state(pod, container) {
        ContainerState::Terminated(_) if pod.metadata.deletion_timestamp.is_some() => {
            pod::going(pod)
        }
        ContainerState::Terminated(ended)
            if ended.exit_code != 0 && ended.reason == pod::OOM_KILLED =>
        {
            pod::oom_failure(pod, container)
        }
        ContainerState::Terminated(ended) => {
            let (container, exit_code) = (container.to_owned(), ended.exit_code);
            WorkloadError::EndedEarly { container, exit_code }.into()
        }
        ContainerState::Failed(failure) => failure,
        _ => return Ok(None),
    };
    let name = pod.name_any();
    let container = ContainerRef { pod: &name, container };
    last_lines::print(cluster, container, LOG_LIMIT, session).await?;
    Ok(Some(failure))
}
