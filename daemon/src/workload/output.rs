//! Brings a container's log to the client, and ends with how the container ended.

use bytes::Bytes;
use hookd_api::v1::{Phase, Stream};
use k8s_openapi::api::batch::v1::Job;

use crate::cluster::logs::LogPosition;
use crate::cluster::logs::{Log, Sink};
use crate::cluster::pod::{self, ContainerState, Termination};
use crate::cluster::watch::{PodState, PodWatch};
use crate::cluster::{Cluster, ContainerRef};
use crate::endpoint::Shown;
use crate::error::Failure;
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::workload::error::WorkloadError;
use crate::workload::start;

/// Sees what a log says once the client has it.
pub trait Observer: Sync {
    /// Some lines of it.
    fn observe(&self, data: &[u8]);
}

/// Where a log goes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The client's stream: standard output is the program's alone.
    pub stream: Stream,
    /// Where in the client's cursor the position of this log stands.
    pub position: fn(&mut Cursor) -> Option<&mut LogPosition>,
    /// Restores the names of registries in a build's log.
    pub shown: Option<&'a Shown>,
    /// Who else reads it, as the builder wrote it.
    pub observer: Option<&'a dyn Observer>,
}

/// Streams the log of `container` in the pod of `job` until the container has ended.
///
/// # Errors
/// When output or the container itself was lost.
pub async fn stream(
    cluster: &Cluster,
    watch: &mut PodWatch,
    job: &Job,
    target: ContainerRef<'_>,
    place: Place<'_>,
    session: &mut Session,
) -> Result<Termination, Failure> {
    let ContainerRef { pod, container } = target;
    let pods = cluster.pods();
    let log = Log { pods: &pods, pod, container, api_timeout: cluster.api_timeout };
    let position =
        (place.position)(&mut session.cursor).map(|position| position.clone()).unwrap_or_default();
    let ended = async {
        let seen = watch.until(|seen| is_over(seen, container)).await;
        seen.pod().and_then(|pod| pod::finished_at(pod, container))
    };
    let mut sink = SessionSink { session, place, reported: false };
    let followed = log.follow(position, ended, &mut sink).await;
    if followed.as_ref().is_err_and(Failure::is_cancelled) {
        return Err(Failure::cancelled());
    }
    // The container's own end explains more than a log that broke because of it.
    match watch.now() {
        PodState::Present(pod) => match pod::container_state(&pod, container) {
            ContainerState::Terminated(ended) => followed.map(|_| ended),
            ContainerState::Failed(failure) => Err(start::loss(cluster, job, failure).await),
            _ => Err(followed
                .err()
                .unwrap_or_else(|| WorkloadError::LogEnded { pod: log.pod.to_owned() }.into())),
        },
        PodState::Deleted | PodState::NotCreated => {
            Err(start::loss(cluster, job, pod::deleted(pod)).await)
        }
    }
}

fn is_over(seen: &PodState, container: &str) -> bool {
    match seen {
        PodState::NotCreated => false,
        PodState::Deleted => true,
        PodState::Present(pod) => {
            matches!(
                pod::container_state(pod, container),
                ContainerState::Terminated(_) | ContainerState::Failed(_)
            )
        }
    }
}

struct SessionSink<'a> {
    session: &'a mut Session,
    place: Place<'a>,
    /// The client knows that the connection broke.
    reported: bool,
}

impl Sink for SessionSink<'_> {
    async fn write(&mut self, data: Bytes, position: &LogPosition) -> Result<(), Failure> {
        let advance = |cursor: &mut Cursor| {
            if let Some(place) = (self.place.position)(cursor) {
                place.clone_from(position);
            }
        };
        let shown = self.place.shown;
        let text = shown.map_or_else(|| data.clone(), |shown| shown.restore_bytes(&data));
        self.session.output(self.place.stream, text, advance).await?;
        if let Some(observer) = self.place.observer {
            observer.observe(&data);
        }
        Ok(())
    }

    async fn broken(&mut self, broken: bool) -> Result<(), Failure> {
        let message = match (broken, self.reported) {
            (true, false) => {
                "The connection to the Kubernetes API broke; hookd goes on when it is back"
            }
            (false, true) => "The connection to the Kubernetes API is back",
            _ => return Ok(()),
        };
        self.reported = broken;
        self.session.progress(Phase::Reconnecting, message).await
    }
}
