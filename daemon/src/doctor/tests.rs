use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::report::Status;
use super::*;
use crate::cluster::scripted::{ApiServer, Expected, get, post};
use crate::error::Reason;

mod builders;
mod policies;
mod registries;

/// What is asked before the checks: the version, and the runner pod with its work directory on a claim.
pub(super) fn asked_first(version: &str, pull_secrets: &[&str]) -> Vec<Expected> {
    let pull_secrets: Vec<_> = pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let pod = json!({"metadata": {"name": "r", "uid": "u", "labels": {"pool": "big"}}, "status": {"hostIP": "127.0.0.1"}, "spec": {
        "nodeName": "n",
        "imagePullSecrets": pull_secrets,
        "initContainers": [{"name": "hookd", "image": "hookd@sha256:0", "volumeMounts": [
            {"name": "hookd", "mountPath": "/run/hookd"},
            {"name": "work", "mountPath": "/home/runner/_work"}]}],
        "containers": [{"name": "runner", "image": "runner", "volumeMounts": [
            {"name": "hookd", "mountPath": "/run/hookd", "readOnly": true}]}],
        "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}],
    }});
    vec![
        get("/version").answers(
            200,
            json!({"major": "1", "minor": "0", "gitVersion": version,
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
            "platform": ""}),
        ),
        get("/api/v1/namespaces/ns/pods/r").answers(200, pod),
        get("/api/v1/namespaces/ns/persistentvolumeclaims/work")
            .answers(200, claim("ReadWriteOnce")),
    ]
}

fn claim(mode: &str) -> Value {
    json!({"metadata": {"name": "work"}, "spec": {"accessModes": [mode]}, "status": {"phase": "Bound"}})
}

/// What one check finds with these settings on a cluster that answers so.
async fn found(
    name: &str,
    settings: &[&str],
    version: &str,
    script: impl IntoIterator<Item = Expected>,
) -> Outcome {
    found_with(name, settings, asked_first(version, &[]).into_iter().chain(script)).await
}

/// The same of a cluster with a script of its own.
async fn found_with(
    name: &str,
    settings: &[&str],
    script: impl IntoIterator<Item = Expected>,
) -> Outcome {
    let api = ApiServer::expecting(script);
    api.during(async {
        let config = Config::of(settings).without_empty();
        let facts = Facts::of(config, Vec::new(), Ok(api.cluster())).await;
        let check = CHECKS.iter().find(|check| check.name == name).unwrap();
        (check.run)(&facts).await
    })
    .await
}

#[test]
fn each_check_has_a_heading_in_the_page_and_no_other_has() {
    let page = include_str!("../../../docs/doctor.md");
    let headings: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert_eq!(names, headings);
}

#[tokio::test]
async fn without_a_cluster_one_check_says_so_and_others_wait() {
    let failure =
        || crate::error::Failure::new(Reason::ApiUnreachable, "no access", "Mount a token");
    let socket_dir = tempfile::tempdir().unwrap();
    let path = socket_dir.path().to_str().unwrap();
    let config = Config::of(&["--socket-dir", path, "--work-dir", path]);
    let facts = Facts::of(config, vec!["X cannot be used".to_owned()], Err(failure())).await;
    let findings = examine(&facts).await;
    let of = |status| {
        let all = findings.iter().filter(|finding| finding.outcome.status == status);
        all.map(|finding| finding.name).collect::<Vec<_>>()
    };
    assert_eq!(of(Status::Failure), ["settings", "daemon", "versions", "api-server"]);
    assert_eq!(of(Status::Ok), ["work-directory", "builder"]);
    assert_eq!(of(Status::Skipped).len(), CHECKS.len() - 6);
    for Finding { name, outcome, .. } in &findings {
        let has_remedy = outcome.status == Status::Failure;
        assert_eq!(has_remedy, !outcome.remedy.is_empty(), "{name}: {outcome:?}");
        assert!(!outcome.found.is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_api_server_is_named() {
    for (version, expected) in
        [("v1.29.4", Status::Failure), ("v1.30.0+k3s1", Status::Ok), ("proxy", Status::Warning)]
    {
        let outcome = found("api-server", &[], version, []).await;
        assert_eq!(outcome.status, expected, "{outcome:?}");
        assert!(outcome.found.contains(version), "{outcome:?}");
    }
    let old = found("image-volumes", &[], "v1.34.1", []).await;
    assert_eq!(old.status, Status::Warning, "{old:?}");
    let set = ["--agent-injection", "image-volumes"];
    for (version, expected) in [
        ("v1.32.9", Status::Failure),
        ("v1.33.0", Status::Warning),
        ("v1.34.1", Status::Warning),
        ("proxy", Status::Warning),
        ("v1.35.0", Status::Ok),
    ] {
        let outcome = found("image-volumes", &set, version, []).await;
        assert_eq!(outcome.status, expected, "{version}: {outcome:?}");
    }
}

/// All that deploy/rbac-own-pod.yaml grants, but for one resource.
fn rules(without: &str, incomplete: bool) -> Expected {
    use crate::cluster::access::{OPTIONAL, REQUIRED};
    let all = REQUIRED.iter().chain(&OPTIONAL).filter(|(_, resource, _)| *resource != without);
    let all: Vec<_> = all
        .map(|(group, resource, verbs)| {
            json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
        })
        .collect();
    let status = json!({"resourceRules": all, "nonResourceRules": [], "incomplete": incomplete});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    post(path).answers(201, json!({"spec": {}, "status": status}))
}

fn access(attributes: Value, allowed: bool) -> Expected {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = json!({"spec": {}, "status": {"allowed": allowed}});
    post(path).with_body(json!({"spec": {"resourceAttributes": attributes}})).answers(201, answer)
}

#[tokio::test(start_paused = true)]
async fn each_permission_that_is_missing_is_named() {
    for (without, status, words) in [
        ("", Status::Ok, "all"),
        ("jobs", Status::Failure, "create jobs.batch"),
        ("pods/exec", Status::Failure, "create pods/exec"),
        ("leases", Status::Warning, "get leases.coordination.k8s.io"),
    ] {
        let outcome = found("permissions", &[], "v1.36.1", [rules(without, false)]).await;
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(outcome.found.contains(words), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_that_cannot_be_listed_are_asked_for_one_by_one() {
    let refused = access(json!({"group": "batch", "resource": "jobs", "verb": "delete"}), false);
    let script = [rules("", true), refused, access(json!({}), true).repeated()];
    let outcome = found("permissions", &[], "v1.36.1", script).await;
    assert!(outcome.found.contains("may not delete jobs.batch in"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_setting_that_may_not_be_changed_is_named() {
    let attributes = |verb: &str| json!({"name": "pull", "resource": "secrets", "verb": verb});
    let script =
        [rules("", false), access(attributes("get"), true), access(attributes("update"), false)];
    let outcome = found("permissions", &["--pull-secret", "pull"], "v1.36.1", script).await;
    assert!(outcome.found.contains("update secrets (the Secret pull)"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_missing_or_read_only_is_named() {
    let path = "/api/v1/namespaces/ns/persistentvolumeclaims/work";
    let missing = get(path).refuses(404, "NotFound", "not found");
    let outcome = found("claim", &[], "v1.36.1", [missing]).await;
    assert!(outcome.found.contains("\"work\" not found"), "{outcome:?}");
    assert!(outcome.remedy.contains("ACTIONS_RUNNER_CLAIM_NAME"), "{outcome:?}");
    let read_only = get(path).answers(200, claim("ReadOnlyMany"));
    let outcome = found("claim", &[], "v1.36.1", [read_only]).await;
    assert!(outcome.found.contains("read-only"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_admission_keeps_the_words_of_the_cluster() {
    let quota = "pods \"r-workflow-doctor\" is forbidden: exceeded quota: small, requested: pods=1";
    let pods = "/api/v1/namespaces/ns/pods";
    let script = post(pods).with_query("dryRun=All").refuses(403, "Forbidden", quota);
    let outcome = found("job-admission", &[], "v1.36.1", [script]).await;
    assert_eq!(outcome.status, Status::Failure);
    assert!(outcome.found.contains("exceeded quota: small"), "{outcome:?}");
    assert!(outcome.remedy.contains("ResourceQuota"), "{outcome:?}");
    let level =
        "pods is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let script = post(pods).with_query("dryRun=All").refuses(403, "Forbidden", level);
    let outcome = found("pod-security", &[], "v1.36.1", [script]).await;
    assert_eq!(outcome, Outcome::ok("the namespace enforces Pod Security \"restricted\""));
    let script = post(pods).refuses(403, "Forbidden", quota);
    assert_eq!(found("pod-security", &[], "v1.36.1", [script]).await.status, Status::Skipped);
    let script = post(pods).with_query("dryRun=All").answers(201, json!({"metadata": {}}));
    let outcome = found("pod-security", &[], "v1.36.1", [script]).await;
    assert_eq!(outcome.status, Status::Warning);
}

#[tokio::test(start_paused = true)]
async fn what_hookd_may_not_read_is_skipped() {
    let words = "User \"u\" cannot list resource \"x\" in API group \"\"";
    for (name, path) in [
        ("quota", "/api/v1/namespaces/ns/resourcequotas"),
        ("node", "/api/v1/nodes/n"),
        ("claim", "/api/v1/namespaces/ns/persistentvolumeclaims/work"),
    ] {
        let refused = get(path).refuses(403, "Forbidden", words);
        assert_eq!(found(name, &[], "v1.36.1", [refused]).await.status, Status::Skipped, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_end_is_a_failure_of_its_own() {
    let api = ApiServer::expecting(
        asked_first("v1.36.1", &[]).into_iter().chain([get("/api/v1/nodes/n")]),
    );
    let config = Config::of(&[]);
    let facts = api.during(Facts::of(config, Vec::new(), Ok(api.cluster()))).await;
    let check = CHECKS.iter().find(|check| check.name == "node").unwrap();
    let finding = api.during(examined(check, &facts)).await;
    assert_eq!(finding.outcome.status, Status::Failure);
    assert!(finding.outcome.found.contains("within 5 s"), "{finding:?}");
    assert_eq!(finding.milliseconds, 5000);
}
