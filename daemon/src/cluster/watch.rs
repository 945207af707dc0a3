//! A pod, watched by name; the pod of a Job by its label until it has a name.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{WatchEvent, WatchParams};
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::retry::Pauses;
use crate::error::report;
use crate::names::JOB_LABEL;

/// A watch that held for so long starts anew with its pauses.
const STEADY: Duration = Duration::from_secs(20);

/// What is known of a Job's pod.
#[derive(Clone, Debug, Default)]
pub enum Seen {
    /// The Job controller has not made it.
    #[default]
    NotYet,
    /// Its newest state.
    Pod(Box<Pod>),
    /// It was there and is gone.
    Gone,
}

impl Seen {
    /// The pod, if it is there.
    pub fn pod(&self) -> Option<&Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::NotYet | Self::Gone => None,
        }
    }
}

/// Follows one pod for as long as it lives; the task ends with the last of the copies.
#[derive(Clone, Debug)]
pub struct PodWatch {
    seen: watch::Receiver<Seen>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl PodWatch {
    /// Watches the pod of a Job: by label until the Job controller has made it, then by name.
    pub fn of_job(pods: Api<Pod>, job: &str) -> Self {
        let selector = format!("{JOB_LABEL}={job}");
        Self::start(|sender| async move {
            if let Some(name) = first_pod(&pods, &selector, &sender).await {
                follow(pods, &name, &sender).await;
            }
        })
    }

    /// Watches the pod of this name.
    pub fn of_pod(pods: Api<Pod>, name: &str) -> Self {
        let name = name.to_owned();
        Self::start(|sender| async move { follow(pods, &name, &sender).await })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        task: impl FnOnce(watch::Sender<Seen>) -> F,
    ) -> Self {
        let (sender, seen) = watch::channel(Seen::NotYet);
        Self { seen, _task: Arc::new(AbortOnDropHandle::new(tokio::spawn(task(sender)))) }
    }

    /// The newest state.
    pub fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits for the next state. Never returns if there is none.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the state fulfils `wanted`.
    pub async fn until(&mut self, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = self.seen.wait_for(wanted).await.map(|seen| seen.clone());
        match seen {
            Ok(seen) => seen,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits until a pod with this label exists; its name. None if nobody listens any more.
async fn first_pod(
    pods: &Api<Pod>,
    selector: &str,
    sender: &watch::Sender<Seen>,
) -> Option<String> {
    // From version "0", since the pod may be there already; without bookmarks, since with them an
    // API server on an older etcd refuses that version.
    let params = WatchParams::default().labels(selector).disable_bookmarks();
    let mut pauses = Pauses::default();
    while !sender.is_closed() {
        match first_event(pods, &params).await {
            Ok(Some(pod)) => {
                let name = pod.name_any();
                sender.send_replace(Seen::Pod(Box::new(pod)));
                return Some(name);
            }
            // The server ends a watch that has seen nothing.
            Ok(None) => pauses = Pauses::default(),
            Err(error) => tracing::info!(selector, error = report(&error), "cannot watch pods"),
        }
        pauses.pass().await;
    }
    None
}

async fn first_event(pods: &Api<Pod>, params: &WatchParams) -> kube::Result<Option<Pod>> {
    let events = pods.watch(params, "0").await?;
    pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => return Ok(Some(pod)),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(None)
}

/// Pauses as everywhere else: kube's own grow to a minute, for which nobody would hear of a step's end
/// after an outage.
#[derive(Default)]
struct WatchPauses {
    pauses: Pauses,
    last: Option<Instant>,
}

impl Iterator for WatchPauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.replace(Instant::now()).is_none_or(|last| last.elapsed() > STEADY) {
            self.pauses = Pauses::default();
        }
        Some(self.pauses.next())
    }
}

impl Backoff for WatchPauses {
    // The watcher calls it before it has asked for anything.
    fn reset(&mut self) {}
}

/// Publishes each state of the pod until it is gone.
async fn follow(pods: Api<Pod>, name: &str, sender: &watch::Sender<Seen>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(pods, config).backoff(WatchPauses::default());
    pin_mut!(events);
    let mut listed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = false,
            Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => {
                listed = true;
                sender.send_replace(Seen::Pod(Box::new(pod)));
            }
            Ok(watcher::Event::InitDone) if listed => {}
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => {
                sender.send_replace(Seen::Gone);
                return;
            }
            Err(error) => tracing::debug!(name, error = report(&error), "the watch broke"),
        }
    }
}
