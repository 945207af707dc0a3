//! What Kaniko sends to push an image.

use super::upstream::{PodState, Registry, Reply, ask, reply};
use super::{OWN, pushed, settings, started};
use crate::registry::digest::digest_of;

const BASIC: &str = "Basic dTpw";

/// A registry that wants a password and takes everything.
fn taking(_: &str, seen: &PodState) -> Reply {
    if seen.authorization.as_deref() != Some(BASIC) {
        return (401, vec![("www-authenticate", "Basic realm=\"r\"".into())], "{}".into());
    }
    let upload = || ("location", "/v2/org/hookd/build/blobs/uploads/u1?_state=x%2Fy".to_owned());
    match (&*seen.method, &*seen.target) {
        ("GET", "/v2/") => reply(200, "{}"),
        ("POST", "/v2/org/hookd/build/blobs/uploads/") => (202, vec![upload()], "".into()),
        ("PATCH", "/v2/org/hookd/build/blobs/uploads/u1?_state=x%2Fy") => {
            (202, vec![upload(), ("range", "0-3".into())], "".into())
        }
        ("PUT" | "DELETE", _) => reply(201, ""),
        ("GET", target) if target.contains("/blobs/") => reply(200, "blob"),
        _ => reply(404, ""),
    }
}

#[tokio::test]
async fn an_image_is_pushed_with_credentials_kaniko_lacks() {
    let registry = Registry::of(taking).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[host]).await;
    let blob = digest_of(b"blob");
    assert_eq!(ask(&endpoint, "GET /v2/", b"").await.status, 200);
    assert_eq!(ask(&endpoint, &format!("HEAD {OWN}/blobs/{blob}"), b"").await.status, 404);
    let mount = format!("POST {OWN}/blobs/uploads/?mount={blob}&from=library%2Fsecret&origin=x");
    let opened = ask(&endpoint, &mount, b"").await;
    assert_eq!(opened.status, 202);
    let upload = opened.header("location").unwrap().to_owned();
    assert_eq!(upload, format!("{OWN}/blobs/uploads/1"));
    let sent = ask(&endpoint, &format!("PATCH {upload}"), b"blob").await;
    assert_eq!((sent.status, sent.header("location")), (202, Some(&*upload)));
    let hex = blob.replace(':', "%3A");
    let done = ask(&endpoint, &format!("PUT {upload}?digest={hex}"), b"").await;
    assert_eq!((done.status, done.header("docker-content-digest")), (201, Some(&*blob)));
    let image = pushed();
    let manifest = ask(&endpoint, &format!("PUT {OWN}/manifests/s1"), image.as_bytes()).await;
    assert_eq!(manifest.status, 201);
    assert_eq!(manifest.header("docker-content-digest"), Some(&*digest_of(image.as_bytes())));
    // What it pushed itself a build may read.
    assert_eq!(ask(&endpoint, &format!("GET {OWN}/blobs/{blob}"), b"").await.body, b"blob");
    let lines = registry.lines();
    assert!(lines.contains(&"POST /v2/org/hookd/build/blobs/uploads/".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("mount")), "{lines:?}");
    let state = format!("PUT /v2/org/hookd/build/blobs/uploads/u1?_state=x%2Fy&digest={hex}");
    assert!(lines.contains(&state), "{lines:?}");
    let patched: Vec<_> = registry.seen().into_iter().filter(|one| one.method == "PATCH").collect();
    assert_eq!(patched.len(), 1);
    assert_eq!(
        (&*patched[0].body, patched[0].authorization.as_deref()),
        (&b"blob"[..], Some(BASIC))
    );
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_given_up_at_the_registry() {
    let registry = Registry::of(taking).await;
    let host = registry.address.as_str();
    let endpoint = started(settings(host, &[]), &[host]).await;
    let opened = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
    let upload = opened.header("location").unwrap().to_owned();
    assert_eq!(ask(&endpoint, &format!("DELETE {upload}"), b"").await.status, 201);
    assert_eq!(ask(&endpoint, &format!("PATCH {upload}"), b"x").await.status, 404);
    let deleted: Vec<_> = registry.lines();
    let deleted: Vec<_> = deleted.iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deleted, ["DELETE /v2/org/hookd/build/blobs/uploads/u1?_state=x%2Fy"]);
}

/// What the distribution registry answers without room.
const FULL: &str = r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":
    {"DriverName":"filesystem","Enclosed":{"Op":"write","Path":"/data/x","Err":28}}}]}"#;

#[tokio::test]
async fn a_refusal_arrives_in_the_registrys_words() {
    for (status, body, shown, expected) in [
        (401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}"#, 401, "UNAUTHORIZED"),
        (403, r#"{"errors":[{"code":"DENIED","message":"log in"}]}"#, 403, "DENIED"),
        (405, "log in", 405, "UNSUPPORTED"),
        (429, "<html>log in", 429, "TOOMANYREQUESTS"),
        (503, r#"{"errors":[{"code":"UNAVAILABLE","message":"log in"}]}"#, 530, "UNAVAILABLE"),
        (500, "log\n\u{1b}in", 530, "UNKNOWN"),
        (500, FULL, 530, "UNKNOWN"),
        (307, "", 530, "UNKNOWN"),
    ] {
        let registry = Registry::of(move |_, _| reply(status, body)).await;
        let host = registry.address.as_str();
        let endpoint = started(settings(host, &[]), &[]).await;
        let answer = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
        assert_eq!(answer.status, shown, "{}", answer.text());
        let text = answer.text();
        assert!(text.contains(&format!("\"code\":\"{expected}\"")), "{text}");
        let shown = if body == FULL { "unknown error: no space left on device" } else { "log in" };
        assert!(text.contains(host) && (status == 307 || text.contains(shown)), "{text}");
    }
}

#[tokio::test]
async fn an_unreachable_registry_gives_an_error_that_clients_know() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let endpoint = started(settings(&host, &[]), &[]).await;
    let answer = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
    assert_eq!(answer.status, 530);
    let text = answer.text();
    assert!(
        text.contains(&format!("registry {host} cannot be reached: connection refused")),
        "{text}"
    );
    // An answer to HEAD has no message: that of the upload that follows has.
    let head = format!("HEAD {OWN}/manifests/s1");
    assert_eq!(ask(&endpoint, &head, b"").await.status, 404);
}
