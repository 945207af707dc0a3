//! What the cluster reports of a pod that does not start yet: which image it pulls, what it lacks.

use std::future::ready;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};

use crate::cluster::Cluster;
use crate::cluster::client::ANSWER;
use crate::cluster::pod::one_line;
use crate::cluster::retry::{Backoff, is_forbidden};
use crate::error::report;

/// Events that say more than the pod's own status, or earlier.
const REPORTED_REASONS: [&str; 10] = [
    "Scheduled",
    "Pulling",
    "Pulled",
    "TriggeredScaleUp",
    "NotTriggerScaleUp",
    "FailedMount",
    "FailedAttachVolume",
    "SuccessfulAttachVolume",
    "FailedCreatePodSandBox",
    "Unhealthy",
];

/// An account that may not watch events is asked no more often whether it may by now: an API server
/// that has just started refuses everybody.
const FORBIDDEN: Duration = Duration::from_secs(30);

/// Lines of the events of the pod of this uid, those that were there before among them, which come again
/// with each watch, in any order. Never ends; an account that may not watch events learns nothing.
pub fn for_pod(cluster: &Cluster, uid: &str) -> BoxStream<'static, String> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params =
        WatchParams::default().fields(&format!("involvedObject.uid={uid}")).disable_bookmarks();
    let watches = stream::unfold(Backoff::default(), move |mut backoff| {
        let (events, params) = (events.clone(), params.clone());
        async move {
            backoff.wait().await;
            let lines = match events.watch(&params, "0").await {
                Ok(watch) => watch.filter_map(|event| ready(line_of(event))).boxed(),
                Err(error) => {
                    tracing::debug!(error = report(&error), "events cannot be watched");
                    if is_forbidden(&error) {
                        tokio::time::sleep(FORBIDDEN).await;
                    }
                    stream::empty().boxed()
                }
            };
            Some((lines, backoff))
        }
    });
    watches.flatten().boxed()
}

/// The message of the newest event of this reason on the object of this uid; none if there is none,
/// or the account may not list events.
pub(super) async fn newest(cluster: &Cluster, uid: &str, reason: &str) -> Option<String> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid},reason={reason}"));
    let listed = tokio::time::timeout(ANSWER, events.list(&params)).await.ok()?;
    let listed = listed.inspect_err(|error| {
        tracing::debug!(error = report(error), "events cannot be listed");
    });
    let time = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let single = event.last_timestamp.as_ref().map(|time| time.0);
        series.or(event.event_time.as_ref()).map(|time| time.0).or(single)
    };
    listed.ok()?.items.into_iter().max_by_key(time)?.message
}

fn line_of(event: kube::Result<WatchEvent<Event>>) -> Option<String> {
    match event {
        Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => line(&event),
        _ => None,
    }
}

fn line(event: &Event) -> Option<String> {
    let reason = event.reason.as_deref().filter(|reason| REPORTED_REASONS.contains(reason))?;
    let message = one_line(event.message.as_deref()?);
    if message.contains("already present on machine") {
        return None;
    }
    Some(if message.is_empty() { reason.to_owned() } else { message })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_and_those_that_say_nothing_new_are_none() {
        let event = |reason: &str, message: &str| Event {
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..Event::default()
        };
        let pulling = event("Pulling", "Pulling image\n\"x\"");
        assert_eq!(line(&pulling).as_deref(), Some("Pulling image \"x\""));
        assert_eq!(line(&event("Created", "Created container")), None);
        assert_eq!(line(&event("Pulled", "\"x\" already present on machine")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_reported_though_their_watch_ends_or_is_refused() {
        let event = |image: &str| {
            json!({"type": "ADDED", "object": {"apiVersion": "v1", "kind": "Event",
                "metadata": {"name": "e"}, "involvedObject": {}, "reason": "Pulling",
                "message": format!("Pulling image {image}")}})
        };
        let refusal =
            json!({"kind": "Status", "status": "Failure", "code": 403, "message": "cannot watch"});
        let mut answers =
            [(403, refusal), (200, event("a")), (503, json!({})), (200, event("b"))].into_iter();
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let (code, body) = answers.next().unwrap();
            let body = Full::<Bytes>::from(format!("{body}\n"));
            ready(http::Response::builder().status(code).body(body))
        });
        let mut lines = for_pod(&Cluster::of(kube::Client::new(service, "ns")), "p");
        assert_eq!(lines.next().await.as_deref(), Some("Pulling image a"));
        assert_eq!(lines.next().await.as_deref(), Some("Pulling image b"));
    }
}
