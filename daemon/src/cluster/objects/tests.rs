//! Against an API server with prepared answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use kube::Client;
use serde_json::{Value, json};

use super::*;
use crate::error::Reason;

mod creating;
mod deleting;
mod trying;

const JOBS: &str = "/apis/batch/v1/namespaces/ns/jobs";

/// What the API server was asked: method and path of each request, and the body of a deletion.
type Asked = Arc<Mutex<Vec<String>>>;

/// A client of an API server that gives these answers in turn.
fn scripted<const N: usize>(answers: [(u16, Value); N]) -> (Client, Asked) {
    let asked = Asked::default();
    let (log, mut answers) = (asked.clone(), answers.into_iter());
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let mut line = format!("{} {}", request.method(), request.uri().path());
        let log = log.clone();
        let (code, body) = answers.next().unwrap();
        let body = Full::<Bytes>::from(body.to_string());
        async move {
            if request.method() == "DELETE" {
                let sent = request.into_body().collect_bytes().await.unwrap();
                line = format!("{line} {}", String::from_utf8_lossy(&sent));
            }
            log.lock().unwrap().push(line);
            Response::builder().status(code).body(body)
        }
    });
    (Client::new(service, "ns"), asked)
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason}))
}

fn job_of(runner: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "j", "labels": {RUNNER_LABEL: runner}}})
}

async fn created<const N: usize>(answers: [(u16, Value); N]) -> (Result<Job, Failure>, Asked) {
    let (client, asked) = scripted(answers);
    let wanted: Job = serde_json::from_value(job_of("r")).unwrap();
    let jobs = Api::namespaced(client, "ns");
    (create(&jobs, &wanted, &Retry::new(Duration::from_secs(60))).await, asked)
}

#[tokio::test(start_paused = true)]
async fn a_create_that_crossed_a_quotas_own_write_is_made_again() {
    let (job, asked) = created([refusal(409, "Conflict"), (201, job_of("r"))]).await;
    assert_eq!(job.unwrap().name_any(), "j");
    assert_eq!(*asked.lock().unwrap(), [format!("POST {JOBS}"), format!("POST {JOBS}")]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_went_through_before_finds_its_object() {
    let (job, asked) = created([refusal(409, "AlreadyExists"), (200, job_of("r"))]).await;
    assert_eq!(job.unwrap().name_any(), "j");
    assert_eq!(*asked.lock().unwrap(), [format!("POST {JOBS}"), format!("GET {JOBS}/j")]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_object_has_or_had_just_now_is_taken() {
    for second in [(200, job_of("other")), refusal(404, "NotFound")] {
        let (job, _) = created([refusal(409, "AlreadyExists"), second]).await;
        let failure = job.unwrap_err();
        assert_eq!(failure.reason, Reason::StepLost);
        assert!(failure.message.starts_with("Job j exists and is not this step's"), "{failure}");
    }
}

/// What becomes of a pod of the job pod's name with these labels.
async fn deleted(labels: Value) -> (Result<bool, Failure>, Vec<String>) {
    let pod = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "r-workflow", "labels": labels}});
    let gone = json!({"kind": "Status", "status": "Success"});
    let (client, asked) = scripted([(200, pod), (200, gone)]);
    let (pods, retry) = (Api::namespaced(client, "ns"), Retry::new(Duration::from_secs(1)));
    let deleted = delete_pod_of("r", &pods, &retry).await;
    let asked = asked.lock().unwrap().clone();
    (deleted, asked)
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_runner_stays_and_its_owner_is_reported() {
    for (labels, expected) in
        [(json!({RUNNER_LABEL: "r2"}), "belongs to runner r2"), (json!({}), "no runner")]
    {
        let (deleted, asked) = deleted(labels).await;
        let failure = deleted.unwrap_err();
        assert_eq!(failure.reason, Reason::StepLost);
        assert!(failure.message.contains("Pod r-workflow exists and"), "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
        assert_eq!(asked, ["GET /api/v1/namespaces/ns/pods/r-workflow"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_an_earlier_job_of_the_runner_left_is_deleted() {
    let (deleted, asked) = deleted(json!({RUNNER_LABEL: "r"})).await;
    assert!(deleted.unwrap());
    let last = asked.last().unwrap();
    assert!(last.starts_with("DELETE /api/v1/namespaces/ns/pods/r-workflow "), "{last}");
}

/// What a delete by name does with an object of these labels, and the API server's answer to it.
async fn deleted_job(labels: Value, answer: (u16, Value)) -> (Result<bool, Failure>, Vec<String>) {
    let job = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "j", "uid": "u1", "labels": labels}});
    let (client, asked) = scripted([(200, job), answer]);
    let (jobs, retry) = (Api::<Job>::namespaced(client, "ns"), Retry::new(Duration::from_secs(1)));
    let deleted = delete(&jobs, "r", "j", &retry).await;
    let asked = asked.lock().unwrap().clone();
    (deleted, asked)
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_runner_is_not_deleted() {
    let done = (200, json!({"kind": "Status", "status": "Success"}));
    let (found, asked) = deleted_job(json!({RUNNER_LABEL: "r2"}), done).await;
    assert!(!found.unwrap());
    assert_eq!(asked, [format!("GET {JOBS}/j")]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_took_the_name_meanwhile_is_not_deleted() {
    let message = "Precondition failed: UID in precondition: u1, UID in object meta: u2";
    let other = (
        409,
        json!({"kind": "Status", "status": "Failure", "code": 409,
        "reason": "Conflict", "message": message}),
    );
    let (found, asked) = deleted_job(json!({RUNNER_LABEL: "r"}), other).await;
    assert!(!found.unwrap());
    let last = asked.last().unwrap();
    assert!(last.starts_with(&format!("DELETE {JOBS}/j ")), "{last}");
    assert!(last.contains(r#""preconditions":{"uid":"u1"}"#), "{last}");
}
