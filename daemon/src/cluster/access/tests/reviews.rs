//! The review, by what the API server answers.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::cluster::scripted::{ApiServer, Expected, post};
use crate::error::Reason;

fn review() -> Expected {
    post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
        .with_body(json!({"spec": {"namespace": "ns"}}))
}

/// All that deploy/rbac-own-pod.yaml grants, but for one verb.
fn rules_without(resource: &str, verb: &str) -> Value {
    let rules = REQUIRED.iter().map(|(group, one, verbs)| {
        let verbs: Vec<_> = verbs.iter().filter(|has| (*one, **has) != (resource, verb)).collect();
        json!({"apiGroups": [group], "resources": [one], "verbs": verbs})
    });
    rules.collect()
}

fn answer(rules: Value, incomplete: bool) -> Value {
    json!({"spec": {}, "status": {"resourceRules": rules, "nonResourceRules": [],
        "incomplete": incomplete}})
}

async fn reviewed<const N: usize>(script: [Expected; N]) -> Result<Vec<Permission>, Failure> {
    let api = ApiServer::expecting(script);
    let granted = api.during(granted(&api.cluster(), &api.cluster().retry())).await?;
    Ok(granted.lacks(REQUIRED))
}

#[tokio::test(start_paused = true)]
async fn one_review_shows_which_permissions_are_missing() {
    for (resource, verb, expected) in [
        ("secrets", "delete", "delete secrets"),
        ("jobs", "create", "create jobs.batch"),
        ("pods/exec", "create", "create pods/exec"),
        ("pods", "watch", "watch pods"),
    ] {
        let answer = answer(rules_without(resource, verb), false);
        let missing = reviewed([review().answers(201, answer)]).await.unwrap();
        let message = super::super::failure("ns", &missing).to_string();
        assert!(message.ends_with(&format!("may not {expected} in namespace ns")), "{message}");
    }
    let all = answer(rules_without("", ""), false);
    assert_eq!(reviewed([review().answers(201, all)]).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn rules_that_cannot_be_listed_are_not_missed() {
    for answer in [answer(json!([]), true), json!({"spec": {}})] {
        assert_eq!(reviewed([review().answers(201, answer)]).await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_review_waits_for_an_api_server_that_starts() {
    let starting = "selfsubjectrulesreviews is forbidden: User \"u\" cannot create resource \"x\"";
    let script = [
        review().loses_its_answer(),
        review().asks_to_wait(503, 2),
        review().refuses(403, "Forbidden", starting),
        review().answers(201, answer(rules_without("", ""), false)),
    ];
    assert_eq!(reviewed(script).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_fails_the_review() {
    let began = Instant::now();
    let failure = reviewed([review().loses_its_answer().repeated()]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ApiUnreachable);
    assert!(failure.message.contains("review its own permissions"), "{failure}");
    assert_eq!(began.elapsed().as_secs(), 60);
}
