use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::cluster::objects;
use crate::cluster::scripted::{ApiServer, Expected, post};
use crate::error::Reason;
use crate::session::cursor::{Cursor, Offsets};
use crate::session::events::{Acked, EventKind};

fn create() -> Expected {
    post("/api/v1/namespaces/ns/pods")
}

fn full(pods: u32) -> Expected {
    let quota = format!("pods \"p\" is forbidden: exceeded quota: q, used: pods={pods}");
    create().refuses(403, "Forbidden", &quota)
}

/// What creating a pod comes to, the lines that the client reads, and the seconds that it takes.
async fn created(
    script: impl IntoIterator<Item = Expected>,
) -> (Result<Pod, Failure>, Vec<String>, u64) {
    let (api, began) = (ApiServer::expecting(script), Instant::now());
    let (events, mut received) = mpsc::channel(64);
    let (_acks, acked) = watch::channel(Acked::ALL);
    let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
    let (cluster, retry) = (api.cluster(), api.cluster().retry());
    let pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    let (pods, pod): (_, Pod) = (cluster.pods(), pod);
    let create = || objects::create(&pods, &pod, &retry);
    let created = api.during(with_room(&cluster, Phase::RunPending, &mut session, create)).await;
    let mut lines = Vec::new();
    while let Ok(event) = received.try_recv() {
        match event.kind {
            EventKind::Progress { message, .. } => lines.push(message),
            EventKind::Output { .. } => panic!("no output is expected"),
        }
    }
    (created, lines, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_created_once_the_quota_has_room() {
    let made = create().answers(201, json!({"metadata": {"name": "p", "uid": "u"}}));
    let (pod, lines, took) = created([full(9), full(9), full(8), made]).await;
    assert_eq!(pod.unwrap().metadata.uid.as_deref(), Some("u"));
    assert_eq!(took, 6);
    // The client reads each reason once.
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("Waiting: ") && lines[0].contains("pods=9"), "{lines:?}");
    assert!(lines[1].contains("pods=8"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_stays_full_is_the_failure_after_the_start_time() {
    let (pod, lines, took) = created([full(9).repeated()]).await;
    let failure = pod.unwrap_err();
    assert_eq!(failure.reason, Reason::QuotaExceeded);
    assert!(failure.message.contains("create Pod p"), "{failure}");
    assert!(failure.message.contains("exceeded quota: q"), "{failure}");
    assert!(failure.remedy.contains("ResourceQuota"), "{}", failure.remedy);
    assert!((58..=60).contains(&took), "{took} s");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn other_refusals_wait_for_no_room() {
    for (message, reason) in [
        ("pods \"p\" is forbidden: violates PodSecurity \"baseline\"", Reason::AdmissionDenied),
        ("pods \"p\" is forbidden: failed quota: q: must specify cpu", Reason::AdmissionDenied),
        ("admission webhook \"w\" denied the request: exceeded quota: x", Reason::AdmissionDenied),
    ] {
        let denied = create().refuses(403, "Forbidden", message);
        let (pod, lines, took) = created([full(9), denied]).await;
        assert_eq!(pod.unwrap_err().reason, reason, "{message}");
        assert_eq!((took, lines.len()), (2, 1));
    }
}
