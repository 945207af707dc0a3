//! What a RUN may try at the endpoint.

use super::upstream::{Registry, ask, exchange, reply};
use super::{BUSYBOX, OWN, pushed, settings, started};
use crate::registry::digest::digest_of;

#[tokio::test]
async fn what_is_not_this_builds_never_reaches_a_registry() {
    let registry = Registry::of(|_, _| reply(200, "secret")).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[host]), &[host]).await;
    let foreign = digest_of(b"foreign");
    for line in [
        // Other repositories and other builds' tags.
        "POST /v2/push/org/other/blobs/uploads/".to_owned(),
        "POST /v2/push/org/hookd/build/x/blobs/uploads/".to_owned(),
        "POST /v2/push/org/hookd/blobs/uploads/".to_owned(),
        "POST /v2/org/hookd/build/blobs/uploads/".to_owned(),
        "PUT /v2/push/org/other/manifests/s1".to_owned(),
        format!("PUT {OWN}/manifests/s2"),
        format!("PUT {OWN}/manifests/latest"),
        format!("PUT {OWN}/manifests/{foreign}"),
        format!("GET {OWN}/manifests/s2"),
        format!("HEAD {OWN}/manifests/s2"),
        // What others pushed.
        format!("GET {OWN}/blobs/{foreign}"),
        format!("GET {OWN}/manifests/{foreign}"),
        format!("GET {OWN}/manifests/s1"),
        // Deletion, lists, and methods that the API has not.
        format!("DELETE {OWN}/manifests/s1"),
        format!("DELETE {OWN}/manifests/{foreign}"),
        format!("DELETE {OWN}/blobs/{foreign}"),
        format!("DELETE {OWN}/blobs/uploads/1"),
        "GET /v2/_catalog".to_owned(),
        format!("GET {OWN}/tags/list"),
        format!("GET {OWN}/referrers/{foreign}"),
        format!("GET {OWN}/blobs/uploads/1"),
        format!("POST {OWN}/manifests/s1"),
        format!("OPTIONS {OWN}/manifests/s1"),
        format!("TRACE {OWN}/manifests/s1"),
        "POST /v2/".to_owned(),
        "GET /".to_owned(),
        "GET /metrics".to_owned(),
        // Uploads that this endpoint did not open.
        format!("PATCH {OWN}/blobs/uploads/1"),
        format!("PATCH {OWN}/blobs/uploads/u1?_state=x"),
        format!("PUT {OWN}/blobs/uploads/1?digest={foreign}"),
        format!("PUT {OWN}/blobs/uploads/1?digest=sha512:00"),
        format!("PUT {OWN}/blobs/uploads/1?digest={foreign}&digest={foreign}"),
        // Images that the Dockerfile does not name.
        "GET /v2/pull/index.docker.io/library/alpine/manifests/1".to_owned(),
        "GET /v2/library/busybox/manifests/1".to_owned(),
        "GET /v2/pull/ghcr.io/org/private/manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library/busybox/x/manifests/1".to_owned(),
        format!("GET {BUSYBOX}/manifests/2"),
        format!("GET {BUSYBOX}/manifests/{foreign}"),
        format!("GET {BUSYBOX}/blobs/{foreign}"),
        format!("HEAD {BUSYBOX}/blobs/{foreign}"),
        format!("GET {BUSYBOX}/tags/list"),
        format!("PUT {BUSYBOX}/manifests/1"),
        format!("POST {BUSYBOX}/blobs/uploads/"),
        format!("DELETE {BUSYBOX}/manifests/1"),
        // Paths that mean something else to another reader.
        "GET /v2/pull/index.docker.io/library/busybox/../alpine/manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library/busybox/%2e%2e/alpine/manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library%2Fbusybox/manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library/busybox/manifests/1%2f..%2f2".to_owned(),
        "GET /v2/pull/index.docker.io//library/busybox/manifests/1".to_owned(),
        "GET //v2/pull/index.docker.io/library/busybox/manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library/busybox/./manifests/1".to_owned(),
        "GET /v2/pull/index.docker.io/library/busybox\\..\\x/manifests/1".to_owned(),
        format!("GET {BUSYBOX}/manifests/..%2f..%2fx"),
        format!("GET {BUSYBOX}/manifests/1/"),
        format!("GET {BUSYBOX}/manifests/1;x"),
        format!("GET {BUSYBOX}/manifests/@evil"),
        format!("POST {OWN}/../other/blobs/uploads/"),
        format!("POST {OWN}/%2e%2e/other/blobs/uploads/"),
        format!("POST {OWN}/blobs/uploads/../../../other/blobs/uploads/"),
    ] {
        let answer = ask(&endpoint, &line, b"{}").await;
        assert!((400..500).contains(&answer.status), "{line}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{line}");
    }
    assert_eq!(registry.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_for_other_hosts_are_refused() {
    let registry = Registry::of(|_, _| reply(200, "secret")).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[host]), &[host]).await;
    let path = format!("{BUSYBOX}/manifests/1");
    let own = "host: 127.0.0.1:5077\r\n";
    for head in [
        format!("GET http://127.0.0.1:5077{path} HTTP/1.1\r\n{own}"),
        format!("GET http://{host}/v2/_catalog HTTP/1.1\r\nhost: {host}\r\n"),
        format!("GET http://{host}{path} HTTP/1.1\r\n{own}"),
        format!("CONNECT {host} HTTP/1.1\r\n{own}"),
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:5077@evil\r\n"),
        format!("GET {path} HTTP/1.1\r\n{own}host: evil.example\r\n"),
        format!("GET {path} HTTP/1.1\r\n"),
        format!("GET * HTTP/1.1\r\n{own}"),
    ] {
        let request = format!("{head}connection: close\r\n\r\n");
        let answer = exchange(&endpoint, request.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{head}: {}", answer.status);
    }
    assert_eq!(registry.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn headers_of_a_run_do_not_reach_a_registry() {
    let registry = Registry::of(|_, _| reply(404, "")).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[host]), &[]).await;
    let request = format!(
        "GET {BUSYBOX}/manifests/1 HTTP/1.1\r\nhost: 127.0.0.1:5077\r\nconnection: close\r\n\
         authorization: Basic eDp5\r\nx-forwarded-host: evil\r\n\r\n"
    );
    assert_eq!(exchange(&endpoint, request.as_bytes()).await.status, 404);
    assert!(registry.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn an_upload_that_the_registry_wants_elsewhere_is_sent_nowhere() {
    let elsewhere = Registry::of(|_, _| reply(202, "")).await;
    let there = elsewhere.address.clone();
    for location in [
        format!("http://{there}/v2/x"),
        format!("//{there}/v2/x"),
        "https://evil.example/v2/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        let registry = Registry::of(move |_, seen| match &*seen.method {
            "POST" if location.is_empty() => reply(202, ""),
            "POST" => (202, vec![("location", location.clone())], "".into()),
            _ => reply(200, ""),
        });
        let registry = registry.await;
        let host = registry.address.as_str();
        let endpoint = started(settings(host, &[]), &[host]).await;
        let answer = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
        assert_eq!(answer.status, 530, "{}", answer.text());
        let answer = ask(&endpoint, &format!("PATCH {OWN}/blobs/uploads/1"), b"x").await;
        assert_eq!(answer.status, 404);
    }
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_service_elsewhere_does_not_get_the_password() {
    let elsewhere = Registry::of(|_, _| reply(200, r#"{"token":"t"}"#)).await;
    // Another name of the same address: to HTTP another host.
    let realm = elsewhere.address.replace("127.0.0.1", "localhost");
    let challenge = format!("Bearer realm=\"http://{realm}/token\"");
    let registry =
        Registry::of(move |_, _| (401, vec![("www-authenticate", challenge.clone())], "".into()));
    let registry = registry.await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[host]).await;
    let answer = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
    assert!(answer.status >= 400, "{}", answer.status);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_not_pushed() {
    let registry = Registry::of(|_, _| reply(201, "")).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[]).await;
    let large = vec![b' '; crate::registry::manifest::LIMIT + 1];
    let answer = ask(&endpoint, &format!("PUT {OWN}/manifests/s1"), &large).await;
    assert_eq!(answer.status, 413);
    assert_eq!(registry.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_manifest_that_a_registry_fails_to_read_is_not_pushed() {
    let registry = Registry::of(|_, _| reply(201, "")).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[]).await;
    let hostile = pushed().replace("[]", r#"[],"manifests":5,"manifests":null"#);
    for version in ["s1".to_owned(), digest_of(hostile.as_bytes())] {
        let line = format!("PUT {OWN}/manifests/{version}");
        let answer = ask(&endpoint, &line, hostile.as_bytes()).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("MANIFEST_INVALID"), "{}", answer.text());
    }
    assert_eq!(registry.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn uploads_that_a_run_opens_without_end_are_bounded() {
    let registry = Registry::of(|_, seen| match &*seen.method {
        "POST" => {
            (202, vec![("location", "/v2/org/hookd/build/blobs/uploads/u".into())], "".into())
        }
        _ => reply(202, ""),
    });
    let registry = registry.await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[]).await;
    for _ in 0..70 {
        ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
    }
    assert_eq!(ask(&endpoint, &format!("PATCH {OWN}/blobs/uploads/1"), b"x").await.status, 404);
    assert_eq!(ask(&endpoint, &format!("PATCH {OWN}/blobs/uploads/70"), b"x").await.status, 202);
}
