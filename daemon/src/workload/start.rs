//! Waits for a Job's pod to start: says live what it waits for, and ends at once on what waiting
//! cannot cure.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::events;
use crate::cluster::objects;
use crate::cluster::pod::{self, ContainerState};
use crate::cluster::retry::Retry;
use crate::cluster::watch::{PodState, PodWatch};
use crate::error::{CommonError, Failure};
use crate::session::events::Session;
use crate::stepd::error::AgentError;
use crate::workload::error::WorkloadError;

/// A step's pod that has not started after this long is worth a look at its events: on a busy node
/// some seconds need no line between those of the program.
const SLOW: Duration = Duration::from_secs(10);
/// A Job without a pod after this long is asked why.
const NO_POD: Duration = Duration::from_secs(2);
/// ... and again after this.
const STILL_NO_POD: Duration = Duration::from_secs(10);

/// A Secret or ConfigMap that a pod mounts may be created at the same time as the pod; the kubelet looks
/// for it again in pauses that grow to 16 s by then.
const MOUNT_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Which container is awaited.
#[derive(Clone, Copy, Debug)]
pub struct Awaited<'a> {
    /// The Job, as created; none: the pod is not one of a Job.
    pub job: Option<&'a Job>,
    /// Name of the container.
    pub container: &'a str,
    /// The phase that the client sees meanwhile.
    pub phase: Phase,
}

impl Awaited<'_> {
    /// What the pod belongs to, for messages.
    fn owner(&self) -> String {
        self.job.map_or_else(|| "the job".to_owned(), |job| format!("Job {}", job.name_any()))
    }
}

/// Waits until the container runs or has ended; returns its pod.
///
/// # Errors
/// Why it does not start.
pub async fn started(
    cluster: &Cluster,
    watch: &mut PodWatch,
    awaited: Awaited<'_>,
    session: &mut Session,
) -> Result<Pod, Failure> {
    started_while(cluster, watch, awaited, session, &mut EventReporter::after(SLOW)).await
}

/// As [`started`], for several containers of one pod in turn: no event is reported twice.
///
/// # Errors
/// As [`started`].
pub async fn started_while(
    cluster: &Cluster,
    watch: &mut PodWatch,
    awaited: Awaited<'_>,
    session: &mut Session,
    reporter: &mut EventReporter,
) -> Result<Pod, Failure> {
    let deadline = Instant::now() + cluster.start_timeout;
    let mut wait = Wait::default();
    let mut ask = Instant::now() + NO_POD;
    let report_at = Instant::now() + reporter.delay;
    loop {
        let seen = watch.now();
        if let PodState::Present(pod) = &seen
            && wait.classify(pod, awaited, session).await?
        {
            return Ok((**pod).clone());
        }
        if matches!(seen, PodState::Deleted) {
            return Err(match awaited.job {
                Some(job) => {
                    let gone = pod::deleted(&format!("of Job {}", job.name_any()));
                    loss(cluster, job, gone).await
                }
                None => pod::deleted("of the job"),
            });
        }
        let no_pod = matches!(seen, PodState::NotCreated);
        let uid = seen.pod().and_then(|pod| pod.metadata.uid.clone());
        let until = wait.until(deadline);
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(until) => {
                return Err(wait.failure(&awaited, deadline, cluster.start_timeout));
            }
            () = tokio::time::sleep_until(ask), if no_pod => {
                wait.ask_why(cluster, awaited, session).await?;
                ask = Instant::now() + STILL_NO_POD;
            }
            () = tokio::time::sleep_until(report_at), if reporter.events.is_none() && uid.is_some() => {
                let uid = uid.unwrap_or_default();
                reporter.events = Some(events::for_pod(cluster, &uid));
            }
            line = reporter.line() => {
                wait.heed(&line);
                session.progress(awaited.phase, line).await?;
            }
        }
    }
}

/// Reports each event of a pod once, if the pod is slow to start.
pub struct EventReporter {
    delay: Duration,
    events: Option<BoxStream<'static, String>>,
    lines: HashSet<String>,
}

impl EventReporter {
    /// Reports nothing until a container has not started for this long.
    pub fn after(delay: Duration) -> Self {
        Self { delay, events: None, lines: HashSet::new() }
    }

    /// The next new line; never, if nothing is known of events.
    async fn line(&mut self) -> String {
        while let Some(events) = &mut self.events {
            match events.next().await {
                Some(line) if self.lines.insert(line.clone()) => return line,
                Some(_) => {}
                None => break,
            }
        }
        std::future::pending().await
    }
}

/// What is known of the waiting so far.
#[derive(Default)]
struct Wait {
    why: String,
    /// Since when a trouble lasts that may pass, until when it may, and the failure if it does not.
    trouble: Option<(Instant, Instant, Failure)>,
    /// Until when an object may be missing that the pod mounts, and the failure if it still is.
    mount: Option<(Instant, Failure)>,
    /// All volumes are mounted: an event about one is an old one.
    mounted: bool,
    /// Why no pod can be made, as it was last heard.
    refusal: Option<Failure>,
}

impl Wait {
    /// True if the container runs or has ended.
    async fn classify(
        &mut self,
        pod: &Pod,
        awaited: Awaited<'_>,
        session: &mut Session,
    ) -> Result<bool, Failure> {
        if self.refusal.take().is_some() {
            // It was made after all.
            self.why.clear();
        }
        match pod::container_state(pod, awaited.container) {
            ContainerState::Running | ContainerState::Terminated(_) => return Ok(true),
            ContainerState::Failed(failure) => return Err(failure),
            ContainerState::Degraded(grace_period, failure) => {
                self.report(failure.message.clone(), awaited.phase, session).await?;
                self.volumes_are_mounted();
                let since = self.trouble.take().map_or_else(Instant::now, |(since, ..)| since);
                self.trouble = Some((since, since + grace_period, failure));
            }
            ContainerState::Waiting(why) => {
                self.trouble = None;
                self.report(why, awaited.phase, session).await?;
            }
        }
        Ok(false)
    }

    async fn report(
        &mut self,
        why: String,
        phase: Phase,
        session: &mut Session,
    ) -> Result<(), Failure> {
        if why.is_empty() || why == self.why {
            return Ok(());
        }
        self.why.clone_from(&why);
        session.progress(phase, format!("Waiting: {why}")).await
    }

    /// Takes in what an event of the pod says.
    fn heed(&mut self, event: &str) {
        match pod::missing_mount(event) {
            Some(missing) if !self.mounted => {
                let until = Instant::now() + MOUNT_GRACE_PERIOD;
                self.mount.get_or_insert_with(|| (until, missing.into()));
            }
            None if event.starts_with("Pulling image ") => self.volumes_are_mounted(),
            _ => {}
        }
    }

    /// The kubelet mounts them before it pulls an image or makes a container.
    fn volumes_are_mounted(&mut self) {
        self.mounted = true;
        self.mount = None;
    }

    /// Until when to wait.
    fn until(&self, deadline: Instant) -> Instant {
        let trouble = self.trouble.as_ref().map(|(_, until, _)| *until);
        let mount = self.mount.as_ref().map(|(until, _)| *until);
        trouble.into_iter().chain(mount).fold(deadline, Instant::min)
    }

    /// Why it was waited in vain until then.
    fn failure(self, awaited: &Awaited<'_>, deadline: Instant, timeout: Duration) -> Failure {
        let owner = awaited.owner();
        let trouble = self.trouble.map(|(_, until, failure)| (until, failure));
        let early = trouble.into_iter().chain(self.mount).filter(|(until, _)| *until < deadline);
        match (early.min_by_key(|(until, _)| *until), self.refusal) {
            (Some((_, failure)), _) => failure,
            (None, Some(refusal)) => WorkloadError::NoPod { owner, timeout, refusal }.into(),
            (None, None) => late(owner, timeout, self.why).into(),
        }
    }

    async fn ask_why(
        &mut self,
        cluster: &Cluster,
        awaited: Awaited<'_>,
        session: &mut Session,
    ) -> Result<(), Failure> {
        let Some(job) = awaited.job else { return Ok(()) };
        match objects::try_pod(cluster, job).await {
            Ok(()) => {
                self.refusal = None;
                Ok(())
            }
            // A quota has room again when other pods end, and a permission may come while an API server
            // starts.
            Err(failure) if failure.cause().is_some_and(ClusterError::is_final_refusal) => {
                Err(failure)
            }
            // That it cannot be asked is no reason for the pod to be away.
            Err(failure) if failure.cause().is_some_and(ClusterError::is_unreachable) => Ok(()),
            Err(failure) => {
                let why = failure.message.clone();
                self.refusal = Some(failure);
                self.report(why, awaited.phase, session).await
            }
        }
    }
}

fn late(owner: String, timeout: Duration, why: String) -> WorkloadError {
    if why.contains("no node can take the pod") {
        return WorkloadError::NoNode { owner, timeout, why };
    }
    let why = if why.is_empty() { "the cluster gave no reason".to_owned() } else { why };
    WorkloadError::NotStarted { owner, timeout, why }
}

/// The failure of a step of this Job: one that is lost may be so because the Job is late.
pub async fn loss(cluster: &Cluster, job: &Job, failure: Failure) -> Failure {
    if !is_lost(&failure) {
        return failure;
    }
    let retry = Retry::new(Duration::from_secs(5));
    let found = objects::find(&cluster.jobs(), &job.name_any(), &retry).await;
    unless_late(found.ok().flatten().as_ref(), failure)
}

fn is_lost(failure: &Failure) -> bool {
    failure.cause().is_some_and(ClusterError::is_pod_lost)
        || matches!(failure.cause(), Some(AgentError::ContainerEnded { .. }))
        || matches!(failure.cause(), Some(CommonError::StepEnded))
}

fn unless_late(job: Option<&Job>, failure: Failure) -> Failure {
    match job.filter(|job| is_late(job)) {
        Some(job) => WorkloadError::JobLate { job: job.name_any() }.into(),
        None => failure,
    }
}

/// True if the Job controller ends this Job for its deadline. It says so in a condition, but deletes
/// the pod first.
fn is_late(job: &Job) -> bool {
    let Some(status) = &job.status else { return false };
    let mut conditions = status.conditions.iter().flatten();
    if conditions.any(|one| one.reason.as_deref() == Some("DeadlineExceeded")) {
        return true;
    }
    let limit = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let (Some(began), Some(limit)) = (&status.start_time, limit) else { return false };
    jiff::Timestamp::now().duration_since(began.0).as_secs() >= limit
}

#[cfg(test)]
mod tests;
