//! A delete, by what the API server answers.

use super::*;
use crate::cluster::scripted::{ApiServer, Expected, delete as deletes, get};

const SECRETS: &str = "/api/v1/namespaces/ns/secrets";

fn found(path: &str) -> Expected {
    get(path).answers(
        200,
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "j", "uid": "u1", "labels": {RUNNER_LABEL: "r"}}}),
    )
}

fn job() -> Expected {
    found(&format!("{JOBS}/j"))
}

fn deletes_job() -> Expected {
    deletes(format!("{JOBS}/j"))
}

fn success() -> Value {
    json!({"kind": "Status", "status": "Success"})
}

async fn deleted<const N: usize>(script: [Expected; N]) -> Result<bool, Failure> {
    let api = ApiServer::expecting(script);
    let (jobs, retry) =
        (Api::<Job>::namespaced(api.client(), "ns"), Retry::new(Duration::from_secs(60)));
    api.during(delete(&jobs, "r", "j", &retry)).await
}

#[tokio::test(start_paused = true)]
async fn a_delete_takes_the_pods_of_this_very_job_along() {
    let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": "u1"}});
    let delete = deletes_job().with_body(options).answers(200, success());
    assert!(deleted([job(), delete]).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_need_not_be_deleted() {
    let absent = || get(format!("{JOBS}/j")).refuses(404, "NotFound", "\"j\" not found");
    assert!(!deleted([absent()]).await.unwrap());
    // It went between the two requests, perhaps by a delete whose answer was lost.
    let gone = || deletes_job().refuses(404, "NotFound", "\"j\" not found");
    assert!(!deleted([job(), gone()]).await.unwrap());
    assert!(!deleted([job(), deletes_job().loses_its_answer(), gone()]).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_repeated_until_it_goes_through() {
    for (what, first) in [
        ("a conflict", deletes_job().refuses(409, "Conflict", "object was modified")),
        ("a busy server", deletes_job().asks_to_wait(429, 2)),
        ("a failing server", deletes_job().refuses(500, "InternalError", "etcd")),
        ("a page", deletes_job().answers_a_page()),
        ("no answer", deletes_job()),
    ] {
        let script = [job(), first, deletes_job().answers(200, success())];
        assert!(deleted(script).await.unwrap(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_not_allowed_names_the_object_and_the_verb() {
    let message = "jobs.batch \"j\" is forbidden: User \"u\" cannot delete resource \"jobs\"";
    let refusal = deletes_job().refuses(403, "Forbidden", message).repeated();
    let failure = deleted([job(), refusal]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionMissing);
    assert!(failure.message.contains("delete Job j"), "{failure}");
    assert!(failure.message.contains(message), "{failure}");
    let denial = "admission webhook \"w\" denied the request: protected";
    let denial = deletes_job().refuses(403, "Forbidden", denial);
    let failure = deleted([job(), denial]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::AdmissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_be_deleted_does_not_keep_its_secret() {
    let denial = deletes_job().refuses(403, "Forbidden", "denied the request: protected");
    let api = ApiServer::expecting([
        job(),
        denial,
        found(&format!("{SECRETS}/j")),
        deletes(format!("{SECRETS}/j")).answers(200, success()),
    ]);
    let (cluster, retry) = (api.cluster(), Retry::new(Duration::from_secs(60)));
    let (jobs, secrets) = (cluster.jobs(), cluster.secrets());
    let deleted = api.during(delete_with_secret(&jobs, &secrets, "r", "j", &retry)).await;
    assert_eq!(deleted.unwrap_err().reason, Reason::AdmissionDenied);
}

#[tokio::test(start_paused = true)]
async fn a_runner_without_a_job_pod_has_none_to_delete() {
    let pod = "/api/v1/namespaces/ns/pods/r-workflow";
    let api = ApiServer::expecting([get(pod).refuses(404, "NotFound", "not found")]);
    let (pods, retry) = (api.cluster().pods(), Retry::new(Duration::from_secs(60)));
    assert!(!api.during(delete_pod_of("r", &pods, &retry)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_job_is_found_by_its_name_or_is_not_there() {
    let path = format!("{JOBS}/j");
    let job = json!({"metadata": {"name": "j", "uid": "u1"}});
    for (answer, expected) in [
        (get(&path).answers(200, job), Some("u1")),
        (get(&path).refuses(404, "NotFound", "not found"), None),
    ] {
        let api = ApiServer::expecting([answer]);
        let (jobs, retry) = (api.cluster().jobs(), Retry::new(Duration::from_secs(60)));
        let found = api.during(find(&jobs, "j", &retry)).await.unwrap();
        assert_eq!(found.and_then(|job| job.uid()).as_deref(), expected);
    }
}
