//! The images that a Dockerfile names.

use super::upstream::{PodState, Registry, Reply, ask, reply};
use super::{BUSYBOX, settings, started};
use crate::registry::digest::digest_of;
use crate::registry::manifest::LIMIT;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn manifest() -> String {
    format!(
        r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}"}}]}}"#,
        digest_of(b"config"),
        digest_of(b"layer")
    )
}

fn index() -> String {
    format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, digest_of(manifest().as_bytes()))
}

/// busybox:1 of two levels, and a blob of another image in the same repository.
fn serving(_: &str, seen: &PodState) -> Reply {
    let path = seen.target.strip_prefix("/v2/library/busybox/").unwrap_or_default();
    let typed = |body: String| (200, vec![("content-type", OCI.to_owned())], body.into());
    match path {
        "manifests/1" => typed(index()),
        path if path == format!("manifests/{}", digest_of(index().as_bytes())) => typed(index()),
        path if path == format!("manifests/{}", digest_of(manifest().as_bytes())) => {
            typed(manifest())
        }
        path if path == format!("blobs/{}", digest_of(b"config")) => reply(200, "config"),
        path if path == format!("blobs/{}", digest_of(b"layer")) => reply(200, "layer"),
        path if path == format!("blobs/{}", digest_of(b"secret")) => reply(200, "secret"),
        _ => reply(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
    }
}

#[tokio::test]
async fn a_named_image_is_served_whole_and_nothing_else() {
    let registry = Registry::of(serving).await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    let child = digest_of(manifest().as_bytes());
    let layer = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"layer"));
    // Nothing has led to it yet.
    assert_eq!(ask(&endpoint, &layer, b"").await.status, 403);
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
    assert_eq!((answer.status, answer.text()), (200, index()));
    assert_eq!(answer.header("content-type"), Some(OCI));
    // Computed, whatever the registry says.
    assert_eq!(answer.header("docker-content-digest"), Some(&*digest_of(index().as_bytes())));
    assert_eq!(ask(&endpoint, &layer, b"").await.status, 403);
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/{child}"), b"").await;
    assert_eq!(answer.text(), manifest());
    assert_eq!(ask(&endpoint, &layer, b"").await.body, b"layer");
    let config = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"config"));
    assert_eq!(ask(&endpoint, &config, b"").await.body, b"config");
    let head = ask(&endpoint, &format!("HEAD {BUSYBOX}/manifests/1"), b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(&*index().len().to_string()));
    let foreign = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"secret"));
    let answer = ask(&endpoint, &foreign, b"").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(!registry.lines().iter().any(|line| line.contains(&digest_of(b"secret"))));
}

#[tokio::test]
async fn a_manifest_that_does_not_match_its_digest_is_not_served() {
    let registry = Registry::of(|own, seen| match serving(own, seen) {
        (200, headers, _) if seen.target.contains("manifests/sha256:") => {
            (200, headers, manifest().replace("layers", "layerz").into())
        }
        other => other,
    });
    let registry = registry.await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.status, 200);
    let child = digest_of(manifest().as_bytes());
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/{child}"), b"").await;
    assert_eq!(answer.status, 530);
    assert!(answer.text().contains("does not match"), "{}", answer.text());
    // Nor does it lead to anything.
    let config = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"config"));
    assert_eq!(ask(&endpoint, &config, b"").await.status, 403);
}

#[tokio::test]
async fn a_pinned_tag_is_what_it_was_resolved_to() {
    let registry = Registry::of(serving).await;
    // By now the tag names the index.
    let pinned = |digest: String| {
        let mut config = settings("r.invalid", &[&registry.address]);
        config.images[0].digest = Some(digest);
        started(config, &[])
    };
    let endpoint = pinned(digest_of(manifest().as_bytes())).await;
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
    assert_eq!((answer.status, answer.text()), (200, manifest()));
    let layer = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"layer"));
    assert_eq!(ask(&endpoint, &layer, b"").await.body, b"layer");
    let endpoint = pinned(digest_of(b"gone")).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.status, 404);
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_not_served() {
    let registry = Registry::of(|_, _| reply(200, vec![b' '; LIMIT + 1])).await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
    assert_eq!(answer.status, 530);
    assert!(answer.text().contains(&LIMIT.to_string()), "{}", answer.text());
}

#[tokio::test]
async fn an_image_of_as_many_parts_as_may_be_is_served_again() {
    // With the manifest itself they are as many.
    for (layers, expected) in [(9_999, 200), (10_000, 403)] {
        let entries = (0..layers).map(|number| format!(r#"{{"digest":"sha256:{number:064x}"}}"#));
        let entries = entries.collect::<Vec<_>>().join(",");
        let registry = Registry::of(move |_, _| reply(200, format!(r#"{{"layers":[{entries}]}}"#)));
        let registry = registry.await;
        let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
        for _ in 0..2 {
            let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
            assert_eq!(answer.status, expected, "{layers}");
        }
    }
}

#[tokio::test]
async fn sources_are_tried_in_turn_and_all_errors_are_reported() {
    let (empty, full) = (Registry::of(|_, _| reply(404, "not here")), Registry::of(serving));
    let (empty, full) = (empty.await, full.await);
    let config = settings("r.invalid", &[&empty.address, &full.address]);
    let endpoint = started(config, &[]).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.text(), index());
    let child = digest_of(manifest().as_bytes());
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/{child}"), b"").await;
    assert_eq!(answer.text(), manifest());
    // The rest of an image comes from where its manifest came from.
    assert_eq!(empty.lines().len(), 1);
    let config = settings("r.invalid", &[&empty.address, &empty.address]);
    let endpoint = started(config, &[]).await;
    let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("MANIFEST_UNKNOWN"), "{}", answer.text());
    assert_eq!(answer.text().matches("not here").count(), 2, "{}", answer.text());
}

#[tokio::test]
async fn a_registry_that_comes_back_within_a_moment_is_asked_again() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let registry = Registry::of(move |own, seen| {
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => reply(503, ""),
            _ => serving(own, seen),
        }
    });
    let registry = registry.await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.status, 200);
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    for (after, shown, times) in [("1", 200, 2), ("3600", 429, 1), ("Fri, 27 Nov 2026", 429, 1)] {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let registry = Registry::of(move |own, seen| {
            match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => (429, vec![("retry-after", after.to_owned())], "".into()),
                _ => serving(own, seen),
            }
        });
        let registry = registry.await;
        let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
        let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
        assert_eq!((answer.status, registry.lines().len()), (shown, times), "{after}");
    }
}

#[tokio::test]
async fn a_redirected_blob_comes_without_the_credentials() {
    let elsewhere = Registry::of(|_, _| reply(200, "layer")).await;
    let there = elsewhere.address.clone();
    let registry = Registry::of(move |own, seen| {
        if seen.authorization.as_deref() != Some("Basic dTpw") {
            return (401, vec![("www-authenticate", "Basic realm=\"r\"".into())], "".into());
        }
        match seen.target.contains("/blobs/") {
            true => (307, vec![("location", format!("http://{there}/signed"))], "".into()),
            false => serving(own, seen),
        }
    });
    let registry = registry.await;
    let host = registry.address.as_str();
    let endpoint = started(settings("r.invalid", &[host]), &[host]).await;
    for version in ["1".to_owned(), digest_of(manifest().as_bytes())] {
        let line = format!("GET {BUSYBOX}/manifests/{version}");
        assert_eq!(ask(&endpoint, &line, b"").await.status, 200);
    }
    let layer = format!("GET {BUSYBOX}/blobs/{}", digest_of(b"layer"));
    assert_eq!(ask(&endpoint, &layer, b"").await.body, b"layer");
    assert_eq!(elsewhere.seen()[0].authorization, None);
}
