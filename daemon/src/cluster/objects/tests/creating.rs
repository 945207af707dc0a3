//! A create, by what the API server answers.

use tokio::time::Instant;

use super::*;
use crate::cluster::scripted::{ApiServer, Expected, get, post, status};
use crate::names::STEP_LABEL;

/// How long a request is repeated.
const BUDGET: Duration = Duration::from_secs(60);
const MISSING: &str = "jobs.batch is forbidden: User \"system:serviceaccount:ns:hookd\" cannot create \
     resource \"jobs\" in API group \"batch\" in the namespace \"ns\"";

/// The step's Job, in the API server's words.
fn job() -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {
        "name": "j", "uid": "u1", "labels": {RUNNER_LABEL: "r", STEP_LABEL: "s"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "r", "uid": "runner"}],
    }})
}

/// The same with other metadata.
fn job_with(field: &str, value: Value) -> Value {
    let mut job = job();
    job["metadata"][field] = value;
    job
}

fn jobs() -> Expected {
    post(JOBS)
}

/// What a create of [`job`] comes to, and how long it takes.
async fn created<const N: usize>(script: [Expected; N]) -> (Result<Job, Failure>, Duration) {
    let (api, began) = (ApiServer::expecting(script), Instant::now());
    let wanted: Job = serde_json::from_value(job()).unwrap();
    let (jobs, retry) = (Api::namespaced(api.client(), "ns"), Retry::new(BUDGET));
    (api.during(create(&jobs, &wanted, &retry)).await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_create_sends_the_object_and_returns_the_servers() {
    let fields = json!({"kind": "Job", "metadata": {"name": "j", "labels": {STEP_LABEL: "s"}}});
    let answer = job_with("resourceVersion", json!("7"));
    let (created, took) = created([jobs().with_body(fields).answers(201, answer)]).await;
    assert_eq!(created.unwrap().resource_version().as_deref(), Some("7"));
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_adopts_its_own_object() {
    // Admission controllers add labels and owners.
    let labels = json!({RUNNER_LABEL: "r", STEP_LABEL: "s", "policy": "p"});
    let exists = || jobs().refuses(409, "AlreadyExists", "jobs.batch \"j\" already exists");
    for found in [job(), job_with("labels", labels)] {
        for lost in [jobs().loses_its_answer(), jobs(), jobs().answers_a_page()] {
            let found = get(format!("{JOBS}/j")).answers(200, found.clone());
            let (created, _) = created([lost, exists(), found]).await;
            assert_eq!(created.unwrap().uid().as_deref(), Some("u1"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_ours_whatever_job_a_call_names() {
    let labels = |repository: &str| json!({RUNNER_LABEL: "r", STEP_LABEL: "s", "hookd.dev/repository": repository});
    let wanted: Job = serde_json::from_value(job_with("labels", labels("octo.demo"))).unwrap();
    let exists = jobs().refuses(409, "AlreadyExists", "jobs.batch \"j\" already exists");
    let found = get(format!("{JOBS}/j")).answers(200, job_with("labels", labels("other")));
    let api = ApiServer::expecting([exists, found]);
    let (jobs, retry) = (Api::namespaced(api.client(), "ns"), Retry::new(BUDGET));
    let created = api.during(create(&jobs, &wanted, &retry)).await;
    assert_eq!(created.unwrap().uid().as_deref(), Some("u1"));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_anything_else_has_is_taken() {
    let other_owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "r", "uid": "older"}]);
    let other_step = json!({RUNNER_LABEL: "r", STEP_LABEL: "another"});
    for (what, found) in [
        ("a step before this one", job_with("labels", other_step)),
        ("an object without labels", job_with("labels", json!({}))),
        ("a runner pod that had the name before", job_with("ownerReferences", other_owner)),
        ("an object without an owner", job_with("ownerReferences", json!([]))),
        ("one that is going", job_with("deletionTimestamp", json!("2026-01-01T00:00:00Z"))),
    ] {
        let exists = jobs().refuses(409, "AlreadyExists", "jobs.batch \"j\" already exists");
        let found = get(format!("{JOBS}/j")).answers(200, found);
        let failure = created([exists, found]).await.0.unwrap_err();
        assert_eq!(failure.reason, Reason::StepLost, "{what}");
        assert!(failure.message.contains("Job j exists"), "{what}: {failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_pass_are_waited_out() {
    for (what, first, least) in [
        ("a write of the quota's", jobs().refuses(409, "Conflict", "object was modified"), 0),
        ("too many requests", jobs().asks_to_wait(429, 7), 7),
        ("a server that starts", jobs().asks_to_wait(503, 3), 3),
        ("a failing server", jobs().refuses(500, "InternalError", "etcdserver: timeout"), 0),
        ("a load balancer", jobs().refuses(502, "", "bad gateway"), 0),
        ("no server behind it", jobs().refuses(503, "ServiceUnavailable", "no endpoints"), 0),
        ("a page of a proxy", jobs().answers_a_page(), 0),
        ("an answer that is no JSON", jobs().answers_text("{\"kind\": \"Jo"), 0),
        ("a broken connection", jobs().loses_its_answer(), 0),
        ("no answer", jobs(), 15),
        ("roles that are not known yet", jobs().refuses(403, "Forbidden", MISSING), 0),
        (
            "an admission that is not ready",
            jobs().refuses(403, "Forbidden", "jobs is forbidden: not yet ready to handle request"),
            0,
        ),
    ] {
        let (created, took) = created([first, jobs().answers(201, job())]).await;
        assert!(created.is_ok(), "{what}: {created:?}");
        let least = Duration::from_secs(least);
        assert!(took >= least && took < least + Duration::from_secs(1), "{what}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_that_stay_end_the_create_at_once() {
    let pods = "pods \"j\" is forbidden";
    for (code, message, reason) in [
        (403, format!("{pods}: violates PodSecurity \"restricted\""), Reason::AdmissionDenied),
        (403, format!("{pods}: exceeded quota: q, requested: pods=1"), Reason::QuotaExceeded),
        (403, format!("{pods}: no PriorityClass with name p"), Reason::AdmissionDenied),
        (500, "admission webhook \"w\" denied the request: no".into(), Reason::AdmissionDenied),
        (422, "Job.batch \"j\" is invalid: spec: required".into(), Reason::InvalidInput),
        (400, "Job in version \"v1\" cannot be handled".into(), Reason::InvalidInput),
        (413, "Request entity too large".into(), Reason::InvalidInput),
        (404, "namespaces \"ns\" not found".into(), Reason::ApiUnreachable),
    ] {
        let (created, took) = created([jobs().refuses(code, "", &message)]).await;
        let failure = created.unwrap_err();
        assert_eq!(failure.reason, reason, "{message}");
        assert!(failure.message.contains("create Job j"), "{failure}");
        assert!(failure.message.contains(&message), "{failure}");
        assert!(!failure.remedy.is_empty());
        assert_eq!(took, Duration::ZERO, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_believed_after_ten_seconds() {
    for (code, message) in [(403, MISSING), (401, "Unauthorized")] {
        let (created, took) = created([jobs().refuses(code, "", message).repeated()]).await;
        let failure = created.unwrap_err();
        assert_eq!(failure.reason, Reason::PermissionMissing);
        assert!(failure.message.contains(message), "{failure}");
        assert!(failure.remedy.contains("rbac-own-pod.yaml"), "{}", failure.remedy);
        assert!((10..16).contains(&took.as_secs()), "{took:?}");
    }
    assert!(MISSING.contains("create") && MISSING.contains("jobs"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_stays_away_ends_the_create_in_time() {
    for (what, answer) in [
        ("unavailable", jobs().refuses(503, "ServiceUnavailable", "no endpoints")),
        ("conflicts", jobs().refuses(409, "Conflict", "object was modified")),
        ("a page", jobs().answers_a_page()),
        ("breaks", jobs().loses_its_answer()),
        ("silence", jobs()),
        ("busy", jobs().asks_to_wait(429, 3600)),
    ] {
        let (created, took) = created([answer.repeated()]).await;
        let failure = created.unwrap_err();
        assert_eq!(failure.reason, Reason::ApiUnreachable, "{what}");
        assert!(failure.message.contains("create Job j"), "{what}: {failure}");
        assert!(took >= BUDGET && took <= BUDGET + Duration::from_secs(15), "{what}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_not_adopted() {
    let refusal = status(403, "Forbidden", &MISSING.replace("cannot create", "cannot get"));
    let exists = jobs().refuses(409, "AlreadyExists", "jobs.batch \"j\" already exists");
    let found = get(format!("{JOBS}/j")).answers(403, refusal).repeated();
    let failure = created([exists, found]).await.0.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionMissing);
    assert!(failure.message.contains("read Job j"), "{failure}");
    assert!(failure.message.contains("cannot get resource \"jobs\""), "{failure}");
}
