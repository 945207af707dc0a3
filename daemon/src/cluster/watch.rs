//! A pod, watched by name; the pod of a Job by its label until it runs.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::utils::Backoff as WatcherBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::pod;
use crate::cluster::retry::Backoff;
use crate::error::report;
use crate::metrics::{Connection, metrics};
use crate::names::JOB_UID_LABEL;

mod pod_of_job;

/// A watch that held for so long starts anew with its pauses.
const STEADY: Duration = Duration::from_secs(20);
/// How long the reason of a kill may come after the kill.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last state of a pod that is deleted by then is published.
const LAST_STATE: Duration = Duration::from_millis(100);

/// What is known of a Job's pod.
#[derive(Clone, Debug, Default)]
pub enum PodState {
    /// The Job controller has not made it.
    #[default]
    NotCreated,
    /// Its newest state.
    Present(Box<Pod>),
    /// It was there and is gone.
    Deleted,
}

impl PodState {
    /// The pod, if it is there.
    pub fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Present(pod) => Some(pod),
            Self::NotCreated | Self::Deleted => None,
        }
    }
}

/// Follows one pod for as long as it lives; the task ends with the last of the copies.
#[derive(Clone, Debug)]
pub struct PodWatch {
    seen: watch::Receiver<PodState>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl PodWatch {
    /// Watches the pod of this very Job, and not of one that had its name: by label until it runs and is
    /// the only one, then by name.
    pub fn for_job(pods: Api<Pod>, job: &Job) -> Self {
        let selector = format!("{JOB_UID_LABEL}={}", job.uid().unwrap_or_default());
        Self::start(|sender| async move {
            if let Some(name) = pod_of_job::running(&pods, &selector, &sender).await {
                follow(pods, &name, &sender).await;
            }
        })
    }

    /// Watches the pod of this name.
    pub fn for_pod(pods: Api<Pod>, name: &str) -> Self {
        let name = name.to_owned();
        Self::start(|sender| async move { follow(pods, &name, &sender).await })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        task: impl FnOnce(watch::Sender<PodState>) -> F,
    ) -> Self {
        let (sender, seen) = watch::channel(PodState::NotCreated);
        Self { seen, _task: Arc::new(AbortOnDropHandle::new(tokio::spawn(task(sender)))) }
    }

    /// The newest state.
    pub fn now(&self) -> PodState {
        self.seen.borrow().clone()
    }

    /// Waits for the next state. Never returns if there is none.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the state fulfils `wanted`.
    pub async fn until(&mut self, wanted: impl FnMut(&PodState) -> bool) -> PodState {
        let seen = self.seen.wait_for(wanted).await.map(|seen| seen.clone());
        match seen {
            Ok(seen) => seen,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Backoff as everywhere else: kube's own grows to a minute, and would delay the end of a step by as much
/// after an outage.
#[derive(Default)]
struct WatchBackoff {
    backoff: Backoff,
    last: Option<Instant>,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.replace(Instant::now()).is_none_or(|last| last.elapsed() > STEADY) {
            self.backoff = Backoff::default();
        }
        Some(self.backoff.next())
    }
}

impl WatcherBackoff for WatchBackoff {
    // The watcher calls it before it has asked for anything.
    fn reset(&mut self) {}
}

/// Publishes each state of the pod until it is gone.
async fn follow(pods: Api<Pod>, name: &str, sender: &watch::Sender<PodState>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = listed_again(pods, config).backoff(WatchBackoff::default());
    pin_mut!(events);
    let (mut listed, mut is_broken) = (false, false);
    let mut held: Option<HeldState> = None;
    loop {
        let event = match &held {
            Some(held) => tokio::time::timeout_at(held.until, events.next()).await,
            None => Ok(events.next().await),
        };
        let Ok(event) = event else {
            publish(sender, held.take());
            continue;
        };
        match &event {
            Some(Err(_)) if !std::mem::replace(&mut is_broken, true) => {
                metrics().reconnected(Connection::Watch);
            }
            // It begins to list; whether that goes well shows after it.
            Some(Err(_) | Ok(watcher::Event::Init)) | None => {}
            Some(Ok(_)) => is_broken = false,
        }
        match event {
            None => return,
            Some(Ok(watcher::Event::Init)) => listed = false,
            Some(Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod))) => {
                listed = true;
                let awaits_reason = pod::awaits_reason(sender.borrow().pod(), &pod);
                let until =
                    held.take().map_or_else(|| Instant::now() + REASON_TIMEOUT, |held| held.until);
                held = Some(HeldState { pod, until });
                if !awaits_reason {
                    publish(sender, held.take());
                }
            }
            Some(Ok(watcher::Event::InitDone)) if listed => {}
            Some(Ok(watcher::Event::InitDone | watcher::Event::Delete(_))) => {
                if held.is_some() {
                    publish(sender, held.take());
                    // Receivers see the newest state only, and the end of a container says more.
                    tokio::time::sleep(LAST_STATE).await;
                }
                sender.send_replace(PodState::Deleted);
                return;
            }
            Some(Err(error)) => {
                tracing::debug!(name, error = report(&error), "the watch broke");
            }
        }
    }
}

/// A state that is not published yet, since its next version may say why a container was killed.
struct HeldState {
    pod: Pod,
    until: Instant,
}

fn publish(sender: &watch::Sender<PodState>, state: Option<HeldState>) {
    if let Some(HeldState { pod, .. }) = state {
        sender.send_replace(PodState::Present(Box::new(pod)));
    }
}

/// The events of a watcher, which begins anew when the server does not know the version any more
/// that a watch is to begin with: kube's own asks for that version again and again.
fn listed_again(
    pods: Api<Pod>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<Pod>>> {
    stream::unfold(None, move |events: Option<BoxStream<'static, _>>| {
        let mut events = events.unwrap_or_else(|| watcher(pods.clone(), config.clone()).boxed());
        async move {
            let event = events.next().await?;
            let expired = event.as_ref().is_err_and(is_expired);
            Some((event, (!expired).then_some(events)))
        }
    })
}

fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

#[cfg(test)]
mod tests;
