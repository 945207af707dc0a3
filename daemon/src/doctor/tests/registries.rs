//! Registries: what they answer, and to whom.

use super::*;
use crate::registry::client::fake::{FakeRegistry, Reply};

/// What a check of registries finds of one that answers so.
async fn of_registry(name: &str, registry: &FakeRegistry) -> Outcome {
    let (host, port) = registry.host.split_once(':').unwrap();
    let settings = ["--registry-host", host, "--registry-port", port];
    let plain = ["--insecure-registries", registry.host.as_str(), "--registry-node-port", port];
    found(name, &[settings, plain].concat(), "v1.36.1", []).await
}

#[tokio::test]
async fn an_upload_is_begun_and_cancelled() {
    let registry = FakeRegistry::start(|_, arrived| match arrived.method.as_str() {
        "POST" => Reply::new(202, "").with("Location: /v2/hookd/build/blobs/uploads/1"),
        "DELETE" => Reply::new(204, ""),
        _ => Reply::new(404, ""),
    });
    assert_eq!(of_registry("registry-push", &registry).await.status, Status::Ok);
    let arrived = registry.arrived();
    let lines: Vec<_> = arrived.iter().map(|one| format!("{} {}", one.method, one.path)).collect();
    let uploads = "/v2/hookd/build/blobs/uploads/";
    assert_eq!(lines, [format!("POST {uploads}"), format!("DELETE {uploads}1")]);
    assert_eq!(of_registry("registry-pull", &registry).await.status, Status::Ok);
    assert_eq!(of_registry("registry-node", &registry).await.status, Status::Ok);
}

#[tokio::test]
async fn a_registry_that_refuses_is_named_with_its_answer() {
    for (status, words) in [(401, "SECRET"), (403, "SECRET"), (404, "Create"), (405, "writable")] {
        let registry = FakeRegistry::start(move |_, _| Reply::new(status, ""));
        let outcome = of_registry("registry-push", &registry).await;
        assert_eq!(outcome.status, Status::Failure, "{outcome:?}");
        assert!(outcome.cause.contains(&status.to_string()), "{outcome:?}");
        assert!(outcome.remedy.contains(words), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named_with_the_setting() {
    let settings = ["--registry-host", "127.0.0.1", "--registry-port", "1"];
    let settings = [&settings[..], &["--registry-node-port", "1"]].concat();
    for (name, words) in [
        ("registry-push", "_REGISTRY_PORT"),
        ("registry-pull", "_REGISTRY_PORT"),
        ("registry-node", "_REGISTRY_NODE_PORT"),
    ] {
        let outcome = found(name, &settings, "v1.36.1", []).await;
        assert_eq!(outcome.status, Status::Failure, "{outcome:?}");
        assert!(outcome.found.contains("127.0.0.1:1"), "{outcome:?}");
        assert!(outcome.remedy.contains(words), "{outcome:?}");
    }
}

/// A registry that lets in `good`, whose password is `pw`.
fn private() -> FakeRegistry {
    FakeRegistry::start(|_, arrived| {
        // Of "good:pw", in the lower case of what arrived.
        if !arrived.headers.contains("basic z29vzdpwdw==") {
            return Reply::new(401, "").with("WWW-Authenticate: Basic realm=\"r\"");
        }
        match arrived.method.as_str() {
            "POST" => Reply::new(202, "").with("Location: /v2/x/blobs/uploads/1"),
            "DELETE" => Reply::new(204, ""),
            _ if arrived.path.contains("tool") => {
                Reply::ok("{}").with("Content-Type: application/vnd.oci.image.index.v1+json")
            }
            _ => Reply::new(404, ""),
        }
    })
}

/// What a Secret has; none: hookd may not read it.
type Has<'a> = Option<&'a str>;

fn secret(name: &str, host: &str, user: Has<'_>) -> Expected {
    let path = get(format!("/api/v1/namespaces/ns/secrets/{name}"));
    let Some(user) = user else {
        let words = "User \"u\" cannot get resource \"secrets\" in API group \"\"";
        return path.refuses(403, "Forbidden", words);
    };
    let file = json!({"auths": {host: {"username": user, "password": "pw"}}}).to_string();
    let file = k8s_openapi::ByteString(file.into_bytes());
    path.answers(200, json!({"metadata": {"name": name}, "data": {".dockerconfigjson": file}}))
}

/// What the check finds with an imagePullSecret of the runner and the Secret of the registry, if there are any.
async fn of_secrets(
    name: &str,
    settings: &[&str],
    host: &str,
    runner: Option<Has<'_>>,
    registry: Option<Has<'_>>,
) -> Outcome {
    let names: &[&str] = if runner.is_some() { &["pull"] } else { &[] };
    let mut script = asked_first("v1.36.1", names);
    script.extend(runner.map(|user| secret("pull", host, user)));
    script.extend(registry.map(|user| secret("push", host, user)));
    let named: &[&str] = if registry.is_some() { &["--registry-secret", "push"] } else { &[] };
    found_with(name, &[settings, named].concat(), script).await
}

#[tokio::test]
async fn builds_push_with_their_own_credentials_and_nodes_pull() {
    use Status::{Failure, Ok, Warning};
    let server = private();
    let (host, port) = server.host.split_once(':').unwrap();
    let settings =
        ["--registry-host", host, "--registry-port", port, "--insecure-registries", &server.host];
    for (runner, registry, push, pull) in [
        (Some(Some("bad")), Some(Some("good")), Ok, Ok),
        (Some(Some("good")), None, Failure, Ok),
        (Some(Some("good")), Some(Some("bad")), Failure, Ok),
        (None, Some(Some("bad")), Failure, Failure),
        (None, None, Failure, Warning),
        (None, Some(None), Warning, Warning),
        (Some(None), Some(Some("bad")), Failure, Warning),
    ] {
        for (name, expected) in [("registry-push", push), ("registry-pull", pull)] {
            let outcome = of_secrets(name, &settings, &server.host, runner, registry).await;
            assert_eq!(outcome.status, expected, "{name} {runner:?} {registry:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn credentials_are_those_of_the_host_that_nodes_ask() {
    let server = private();
    let (host, port) = server.host.split_once(':').unwrap();
    let settings = ["--registry-host", host, "--registry-port", port, "--registry-node-port", port];
    let at_node = format!("localhost:{port}");
    for (at, expected) in [(at_node.as_str(), Status::Ok), (&server.host, Status::Warning)] {
        let outcome = of_secrets("registry-pull", &settings, at, None, Some(Some("good"))).await;
        assert_eq!(outcome.status, expected, "{at}: {outcome:?}");
    }
    let arrived = server.arrived();
    assert!(arrived.iter().all(|one| !one.headers.contains("authorization")), "{arrived:?}");
}

#[tokio::test]
async fn a_builder_that_only_nodes_may_pull_is_no_failure() {
    let server = private();
    let image = format!("{}/tool:1", server.host);
    let settings = ["--kaniko-image", &image, "--insecure-registries", &server.host];
    for (runner, expected, words) in [
        (None, Status::Warning, "credential provider"),
        (Some(None), Status::Warning, "Secret pull"),
        (Some(Some("bad")), Status::Failure, "401"),
        (Some(Some("good")), Status::Ok, ""),
    ] {
        let outcome = of_secrets("builder-image", &settings, &server.host, runner, None).await;
        assert_eq!(outcome.status, expected, "{runner:?}: {outcome:?}");
        assert!(outcome.cause.contains(words), "{runner:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_refuses_is_told_with_the_secret() {
    let server = private();
    let map = format!("index.docker.io={}", server.host);
    let settings = ["--registry-map", &map, "--insecure-registries", &server.host];
    for (registry, expected, words) in [
        (None, Status::Warning, "REGISTRY_SECRET"),
        (Some(Some("bad")), Status::Warning, "REGISTRY_SECRET"),
        (Some(Some("good")), Status::Ok, ""),
    ] {
        let outcome = of_secrets("base-images", &settings, &server.host, None, registry).await;
        assert_eq!(outcome.status, expected, "{registry:?}: {outcome:?}");
        assert!(outcome.remedy.contains(words), "{registry:?}: {outcome:?}");
        assert_eq!(outcome.cause.contains("401"), expected != Status::Ok, "{outcome:?}");
    }
}
