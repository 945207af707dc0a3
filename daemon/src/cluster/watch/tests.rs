//! A watched pod, by what the API server sends.

use serde_json::{Value, json};

use super::*;
use crate::cluster::scripted::{ApiServer, End, Expected, get, status};

const PODS: &str = "/api/v1/namespaces/ns/pods";

fn pod(version: u32, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": phase},
        "metadata": {"name": "p", "uid": "u", "resourceVersion": version.to_string()}})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// The list of the pods of that name.
fn list(version: u32, items: &[Value]) -> Expected {
    let list = json!({"apiVersion": "v1", "kind": "PodList", "items": items,
        "metadata": {"resourceVersion": version.to_string()}});
    get(PODS).with_query("fieldSelector=metadata.name=p").answers(200, list)
}

/// The watch by name from this version on.
fn watch_from(version: u32) -> Expected {
    get(PODS)
        .with_query("fieldSelector=metadata.name=p")
        .with_query("watch=true")
        .with_query(&format!("resourceVersion={version}"))
}

fn job() -> Job {
    serde_json::from_value(json!({"metadata": {"name": "j", "uid": "u"}})).unwrap()
}

/// The watch of a Job's pod.
fn watch_of_job() -> Expected {
    get(PODS)
        .with_query("labelSelector=batch.kubernetes.io/controller-uid=u")
        .with_query("watch=true")
        .with_query("resourceVersion=0")
}

fn is_in(phase: &str) -> impl Fn(&PodState) -> bool {
    move |seen| {
        let status = seen.pod().and_then(|pod| pod.status.as_ref());
        status.and_then(|status| status.phase.as_deref()) == Some(phase)
    }
}

fn is_deleted(seen: &PodState) -> bool {
    matches!(seen, PodState::Deleted)
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_followed_from_its_list_to_its_deletion() {
    let api = ApiServer::expecting([
        list(1, &[pod(1, "Pending")]),
        // A watch that ends or breaks goes on from the newest version, and nothing is listed again.
        watch_from(1).streams([event("MODIFIED", pod(2, "Running"))], End::Broken),
        watch_from(2).streams([event("MODIFIED", pod(3, "Succeeded"))], End::Closed),
        watch_from(3).refuses(503, "ServiceUnavailable", "starting"),
        watch_from(3).loses_its_answer(),
        watch_from(3),
        watch_from(3).streams([event("DELETED", pod(4, "Succeeded"))], End::Open),
    ]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    assert!(matches!(watch.now(), PodState::NotCreated));
    api.during(watch.until(is_in("Running"))).await;
    api.during(watch.until(is_in("Succeeded"))).await;
    api.during(watch.until(is_deleted)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_listed_is_deleted() {
    let api = ApiServer::expecting([list(1, &[])]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    api.during(watch.until(is_deleted)).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_is_listed_again() {
    let gone = || status(410, "Expired", "too old resource version: 1 (9)");
    for (what, expired) in [
        ("within the watch", watch_from(1).streams([event("ERROR", gone())], End::Closed)),
        ("in place of the watch", watch_from(1).answers(410, gone())),
    ] {
        let api = ApiServer::expecting([
            list(1, &[pod(1, "Pending")]),
            expired,
            list(9, &[pod(8, "Running")]),
            watch_from(9).streams([event("ERROR", gone())], End::Closed),
            list(20, &[]),
        ]);
        let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
        api.during(watch.until(is_in("Running"))).await;
        let seen = api.during(watch.until(is_deleted)).await;
        assert!(seen.pod().is_none(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_stays_known_while_it_cannot_be_listed_again() {
    let gone = status(410, "Expired", "too old resource version: 1 (9)");
    let refused = "pods is forbidden: User \"u\" cannot list resource \"pods\"";
    let again = || get(PODS).with_query("fieldSelector=metadata.name=p");
    let api = ApiServer::expecting([
        list(1, &[pod(1, "Pending")]),
        watch_from(1).streams([event("ERROR", gone)], End::Closed),
        again().refuses(503, "ServiceUnavailable", "starting"),
        again().refuses(403, "Forbidden", refused),
        again().answers_a_page(),
        again().loses_its_answer(),
        list(9, &[pod(8, "Running")]),
        watch_from(9).streams([], End::Open),
    ]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    api.during(watch.until(is_in("Pending"))).await;
    let seen = api.during(watch.until(|seen| !is_in("Pending")(seen))).await;
    assert!(is_in("Running")(&seen), "{seen:?}");
    // Until it is watched again.
    api.during(tokio::time::sleep(Duration::from_secs(1))).await;
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_a_job_is_awaited_by_label_and_followed_by_name() {
    let broken = status(410, "Expired", "too old resource version");
    for (what, first) in [
        ("nothing happens", watch_of_job().streams([], End::Closed)),
        ("the connection breaks", watch_of_job().streams([], End::Broken)),
        (
            "an earlier pod goes",
            watch_of_job().streams([event("DELETED", pod(1, "Failed"))], End::Closed),
        ),
        ("the watch fails", watch_of_job().streams([event("ERROR", broken)], End::Open)),
        ("the server is away", watch_of_job().refuses(503, "ServiceUnavailable", "starting")),
        ("a permission is missing", watch_of_job().refuses(403, "Forbidden", "cannot watch")),
        ("a page comes", watch_of_job().answers_a_page()),
        ("no answer comes", watch_of_job()),
    ] {
        let api = ApiServer::expecting([
            first,
            watch_of_job().streams([event("ADDED", pod(2, "Pending"))], End::Closed),
            list_of_job(&[pod(2, "Pending")]),
            watch_of_job().streams([event("MODIFIED", pod(3, "Running"))], End::Open),
            list(3, &[pod(3, "Running")]),
            watch_from(3).streams([event("DELETED", pod(4, "Running"))], End::Open),
        ]);
        let mut watch = PodWatch::for_job(api.cluster().pods(), &job());
        let seen = api.during(watch.until(is_deleted)).await;
        assert!(seen.pod().is_none(), "{what}");
    }
}

/// A pod of a Job, of this name.
fn sibling(name: &str, phase: &str) -> Value {
    let mut sibling = pod(2, phase);
    sibling["metadata"]["name"] = json!(name);
    sibling
}

/// The pods of the Job.
fn list_of_job(items: &[Value]) -> Expected {
    let list = json!({"apiVersion": "v1", "kind": "PodList", "items": items,
        "metadata": {"resourceVersion": "2"}});
    let selector = "labelSelector=batch.kubernetes.io/controller-uid=u";
    get(PODS).with_query(selector).answers(200, list)
}

/// Name of the pod that is published as running.
async fn runs(api: &ApiServer) -> Option<String> {
    let mut watch = PodWatch::for_job(api.cluster().pods(), &job());
    let seen = api.during(watch.until(is_in("Running"))).await;
    seen.pod().and_then(|pod| pod.metadata.name.clone())
}

#[tokio::test(start_paused = true)]
async fn of_two_pods_of_a_job_the_one_that_stays_is_taken() {
    let (one, p) = (|phase| sibling("one", phase), |phase| sibling("p", phase));
    let mut going = one("Running");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let one_goes = [event("MODIFIED", going), event("DELETED", one("Running"))];
    let pending = [event("ADDED", one("Pending")), event("ADDED", p("Pending"))];
    let both = |first: Value, second: Value| {
        let begin = [event("MODIFIED", first), event("MODIFIED", second)];
        pending.iter().cloned().chain(begin).chain(one_goes.clone()).collect::<Vec<_>>()
    };
    for events in [
        both(one("Running"), p("Running")),
        both(p("Running"), one("Running")),
        both(one("Running"), p("Pending"))
            .into_iter()
            .chain([event("MODIFIED", p("Running"))])
            .collect(),
    ] {
        let api = ApiServer::expecting([
            watch_of_job().streams(events, End::Open),
            list(3, &[pod(3, "Running")]),
            watch_from(3).streams([], End::Open),
        ]);
        assert_eq!(runs(&api).await.as_deref(), Some("p"));
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_ran_before_they_were_watched_are_told_apart() {
    let both = [sibling("one", "Running"), sibling("p", "Running")];
    let added = |pod: &Value| event("ADDED", pod.clone());
    let api = ApiServer::expecting([
        watch_of_job().streams([added(&both[0])], End::Broken),
        list_of_job(&both),
        // The first is deleted while nothing is watched.
        list_of_job(&both[1..]),
        watch_of_job().streams([added(&both[1])], End::Open),
        list_of_job(&both[1..]),
        list(3, &[pod(3, "Running")]),
        watch_from(3).streams([], End::Open),
    ]);
    assert_eq!(runs(&api).await.as_deref(), Some("p"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_before_it_runs_is_deleted() {
    let added = || event("ADDED", pod(1, "Pending"));
    let deleted = event("DELETED", pod(2, "Pending"));
    for script in [
        vec![watch_of_job().streams([added(), deleted], End::Open)],
        vec![watch_of_job().streams([added()], End::Broken), list_of_job(&[])],
        vec![
            watch_of_job().streams([event("ADDED", pod(1, "Running"))], End::Open),
            list_of_job(&[]),
        ],
    ] {
        let api = ApiServer::expecting(script);
        let mut watch = PodWatch::for_job(api.cluster().pods(), &job());
        api.during(watch.until(is_deleted)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_no_caller_holds_asks_for_nothing() {
    let api = ApiServer::expecting([watch_of_job().streams([], End::Closed)]);
    let watch = PodWatch::for_job(api.cluster().pods(), &job());
    let copy = watch.clone();
    drop(watch);
    api.during(tokio::time::sleep(Duration::from_millis(1))).await;
    drop(copy);
    api.during(tokio::time::sleep(Duration::from_secs(60))).await;
}

/// A pod whose container `job` has ended with exit code 137.
fn killed(version: u32, reason: &str) -> Value {
    let mut pod = pod(version, "Failed");
    pod["status"]["containerStatuses"] = json!([{
        "name": "job", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 137, "reason": reason}},
    }]);
    pod
}

/// Why the container `job` ended, if it has.
fn reason(seen: &PodState) -> Option<String> {
    let status = seen.pod()?.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.terminated.as_ref()?.reason.clone()
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_seen_with_its_reason() {
    let events = [event("MODIFIED", killed(2, "Error")), event("MODIFIED", killed(3, "OOMKilled"))];
    let api = ApiServer::expecting([
        list(1, &[pod(1, "Running")]),
        watch_from(1).streams(events, End::Open),
    ]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    let seen = api.during(watch.until(is_in("Failed"))).await;
    assert_eq!(reason(&seen).as_deref(), Some("OOMKilled"));
}

#[tokio::test(start_paused = true)]
async fn a_kill_whose_reason_does_not_come_is_seen_soon() {
    let api = ApiServer::expecting([
        list(1, &[pod(1, "Running")]),
        watch_from(1).streams([event("MODIFIED", killed(2, "Error"))], End::Open),
    ]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    api.during(watch.until(is_in("Running"))).await;
    let began = Instant::now();
    let seen = api.during(watch.until(is_in("Failed"))).await;
    assert_eq!(reason(&seen).as_deref(), Some("Error"));
    assert!(began.elapsed() <= REASON_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_seen_though_the_pod_is_deleted_at_once() {
    let events = [event("MODIFIED", killed(2, "Error")), event("DELETED", killed(3, "Error"))];
    let api = ApiServer::expecting([
        list(1, &[pod(1, "Running")]),
        watch_from(1).streams(events, End::Open),
    ]);
    let mut watch = PodWatch::for_pod(api.cluster().pods(), "p");
    let seen = api.during(watch.until(is_in("Failed"))).await;
    assert_eq!(reason(&seen).as_deref(), Some("Error"));
    api.during(watch.until(is_deleted)).await;
}
