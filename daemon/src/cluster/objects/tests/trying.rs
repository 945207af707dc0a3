//! Why a Job has no pod, by its events and by what would become of one.

use super::*;
use crate::cluster::scripted::{ApiServer, Expected, get, post};

const QUOTA: &str = "pods \"j-x\" is forbidden: exceeded quota: q, requested: pods=1";
const SECURITY: &str = "pods \"j-try\" is forbidden: violates PodSecurity \"baseline:latest\"";

fn events() -> Expected {
    get("/api/v1/namespaces/ns/events")
        .with_query("fieldSelector=involvedObject.uid=u1,reason=FailedCreate")
}

fn listed(messages: &[(&str, &str)]) -> Value {
    let event = |(time, message): &(&str, &str)| {
        json!({"metadata": {"name": "e"}, "involvedObject": {}, "lastTimestamp": time,
            "message": message})
    };
    let items: Vec<_> = messages.iter().map(event).collect();
    json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn trial() -> Expected {
    let fields = json!({"metadata": {"name": "j-try", "labels": {RUNNER_LABEL: "r"}},
        "spec": {"containers": [{"name": "step"}]}});
    post("/api/v1/namespaces/ns/pods").with_query("dryRun=All").with_body(fields)
}

async fn tried<const N: usize>(script: [Expected; N]) -> Result<(), Failure> {
    let job = json!({"metadata": {"name": "j", "uid": "u1"}, "spec": {"template": {
        "metadata": {"labels": {RUNNER_LABEL: "r"}}, "spec": {"containers": [{"name": "step"}]}}}});
    let (api, job) = (ApiServer::expecting(script), serde_json::from_value(job).unwrap());
    api.during(try_pod(&api.cluster(), &job)).await
}

#[tokio::test(start_paused = true)]
async fn the_newest_event_says_why_a_job_has_no_pod() {
    let newest = format!("Error creating: {QUOTA}");
    let messages = [("2026-01-02T00:00:00Z", newest.as_str()), ("2026-01-01T00:00:00Z", SECURITY)];
    let failure = tried([events().answers(200, listed(&messages))]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::QuotaExceeded);
    assert!(failure.message.contains(QUOTA), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn without_an_event_a_pod_is_tried_and_not_created() {
    let other = [("2026-01-01T00:00:00Z", "Error creating: timed out")];
    for (what, answer) in [
        ("no event", events().answers(200, listed(&[]))),
        ("one that is no refusal", events().answers(200, listed(&other))),
        ("events that may not be listed", events().refuses(403, "Forbidden", "cannot list")),
        ("no answer", events()),
    ] {
        let trial = trial().refuses(403, "Forbidden", SECURITY);
        let failure = tried([answer, trial]).await.unwrap_err();
        assert_eq!(failure.reason, Reason::AdmissionDenied, "{what}");
        assert!(failure.message.contains(SECURITY), "{what}: {failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_could_be_made_or_not_be_tried_is_no_failure() {
    let pod = json!({"metadata": {"name": "j-try"}});
    let webhook = "admission webhook \"w\" does not support dry run";
    for answer in [trial().answers(201, pod), trial().refuses(400, "BadRequest", webhook)] {
        tried([events().answers(200, listed(&[])), answer]).await.unwrap();
    }
    let away = trial().refuses(503, "ServiceUnavailable", "starting");
    let failure = tried([events().answers(200, listed(&[])), away]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ApiUnreachable);
}
