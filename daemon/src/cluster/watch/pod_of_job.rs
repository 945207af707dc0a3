//! The pod of a Job until it runs.
//!
//! A Job may have two pods for a while: the answer to the creation of the first was lost, and the Job
//! controller has made another before it sees the first. It then deletes one of them, be it at work or
//! not, so that nothing may begin in a pod that is not the only one. Behind that the controller takes the
//! one that does not run (`ActivePods.Less` in Kubernetes' pkg/controller/controller_utils.go).

use std::collections::BTreeMap;

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use tokio::sync::watch;

use super::PodState;
use crate::cluster::retry::Backoff;
use crate::error::report;

/// Publishes the pod with this label, whenever it is the only one, until it runs, or has run; its name.
/// None if no receiver is left, or if the pod is gone.
pub(super) async fn running(
    pods: &Api<Pod>,
    selector: &str,
    sender: &watch::Sender<PodState>,
) -> Option<String> {
    let mut backoff = Backoff::default();
    let mut known = Siblings::default();
    while !sender.is_closed() {
        match watched(pods, selector, sender, &mut known).await {
            Ok(Progress::Found(name)) => return Some(name),
            Ok(Progress::Gone) => {
                sender.send_replace(PodState::Deleted);
                return None;
            }
            // The server ends a watch by and by.
            Ok(Progress::Undecided) => backoff = Backoff::default(),
            Err(error) => tracing::info!(selector, error = report(&error), "cannot watch pods"),
        }
        backoff.wait().await;
    }
    None
}

/// What one watch has shown.
enum Progress {
    /// The pod of this name is to be followed.
    Found(String),
    /// All are deleted.
    Gone,
    /// There is none, or several, or one that does not run.
    Undecided,
}

async fn watched(
    pods: &Api<Pod>,
    selector: &str,
    sender: &watch::Sender<PodState>,
    known: &mut Siblings,
) -> kube::Result<Progress> {
    let list = ListParams::default().labels(selector);
    if !known.0.is_empty() {
        // The watch before broke: one of them may be gone.
        *known = Siblings::of(pods.list(&list).await?.items);
        if known.0.is_empty() {
            return Ok(Progress::Gone);
        }
    }
    // From version "0", since pods may be there already; without bookmarks, since with them an
    // API server on an older etcd refuses that version.
    let params = WatchParams::default().labels(selector).disable_bookmarks();
    let events = pods.watch(&params, "0").await?;
    pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            // It was there before: another may be, too, which the next event would tell.
            WatchEvent::Added(pod) if !is_pending(&pod) => {
                *known = Siblings::of(pods.list(&list).await?.items);
                if known.0.is_empty() {
                    return Ok(Progress::Gone);
                }
            }
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => known.insert(pod),
            WatchEvent::Deleted(pod) => {
                if known.remove(&pod) {
                    return Ok(Progress::Gone);
                }
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            WatchEvent::Bookmark(_) => continue,
        }
        let Some(pod) = known.sole() else { continue };
        sender.send_replace(PodState::Present(Box::new(pod.clone())));
        if !is_pending(pod) || is_going(pod) {
            return Ok(Progress::Found(pod.name_any()));
        }
    }
    Ok(Progress::Undecided)
}

/// The pods of a Job.
#[derive(Default)]
struct Siblings(BTreeMap<String, Pod>);

impl Siblings {
    fn of(pods: Vec<Pod>) -> Self {
        Self(pods.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    fn insert(&mut self, pod: Pod) {
        self.0.insert(pod.name_any(), pod);
    }

    /// True if it was the last one.
    fn remove(&mut self, pod: &Pod) -> bool {
        self.0.remove(&pod.name_any()).is_some() && self.0.is_empty()
    }

    /// The only one that is not being deleted, or the only one.
    fn sole(&self) -> Option<&Pod> {
        let only = |mut pods: Vec<_>| if pods.len() == 1 { pods.pop() } else { None };
        let staying = self.0.values().filter(|pod| !is_going(pod)).collect();
        only(staying).or_else(|| only(self.0.values().collect()))
    }
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_pending(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_none_or(|phase| phase == "Pending")
}
