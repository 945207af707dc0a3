//! A policy, and the templates and dry runs that depend on it.

use super::*;

/// What the check finds with a policy of this text.
async fn under(policy: &str, name: &str, script: impl IntoIterator<Item = Expected>) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    std::fs::write(&file, policy).unwrap();
    found(name, &["--policy", file.to_str().unwrap()], "v1.36.1", script).await
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_named() {
    assert_eq!(found("policy", &[], "v1.36.1", []).await.status, Status::Skipped);
    let missing = found("policy", &["--policy", "/nowhere/p.yaml"], "v1.36.1", []).await;
    assert_eq!(missing.status, Status::Failure, "{missing:?}");
    assert!(missing.found.contains("/nowhere/p.yaml"), "{missing:?}");
    for (policy, status, words) in [
        ("mode: audit", Status::Ok, "can be used"),
        ("image: {}", Status::Failure, "image"),
        ("images: {allowed: }", Status::Failure, "images.allowed"),
        ("", Status::Failure, "policy.yaml"),
    ] {
        let outcome = under(policy, "policy", []).await;
        assert_eq!(outcome.status, status, "{policy}: {outcome:?}");
        assert!(outcome.found.contains(words), "{policy}: {outcome:?}");
        assert_eq!(outcome.remedy.is_empty(), status != Status::Failure, "{outcome:?}");
    }
}

#[tokio::test]
async fn what_depends_on_a_policy_waits_for_it() {
    for name in ["template", "job-admission"] {
        let outcome = under("image: {}", name, []).await;
        assert_eq!(outcome.status, Status::Skipped, "{name}: {outcome:?}");
        assert!(outcome.found.contains("see policy"), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_template_is_the_one_that_the_policy_names() {
    let of = |label: &str| {
        format!("templates: [{{runnerLabels: {{pool: {label}}}, file: /nowhere/t.yaml}}]")
    };
    let outcome = under(&of("big"), "template", []).await;
    assert_eq!(outcome.status, Status::Failure, "{outcome:?}");
    assert!(outcome.found.contains("/nowhere/t.yaml"), "{outcome:?}");
    assert_eq!(under(&of("small"), "template", []).await.status, Status::Skipped);
    let outcome = under(&of("big"), "job-admission", []).await;
    assert!(outcome.found.contains("/nowhere/t.yaml"), "{outcome:?}");
}
