//! Tags that name something else while a build runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::upstream::{Registry, ask, reply};
use super::*;
use crate::registry::digest::digest_of;

fn version(number: usize) -> String {
    format!(r#"{{"annotations":{{"version":"{number}"}}}}"#)
}

/// busybox:1 is the version with this number, or nothing while that is 0. Each is there by its digest.
async fn moving(current: impl Fn() -> usize + Send + Sync + 'static) -> Registry {
    Registry::of(move |_, seen| match seen.target.rsplit('/').next() {
        Some("1") => match current() {
            0 => reply(404, ""),
            number => reply(200, version(number)),
        },
        named => (1..10)
            .map(version)
            .find(|body| named == Some(&digest_of(body.as_bytes())))
            .map_or_else(|| reply(404, ""), |body| reply(200, body)),
    })
    .await
}

fn counted() -> (Arc<AtomicUsize>, impl Fn() -> usize + Send + Sync + 'static) {
    let number = Arc::new(AtomicUsize::new(1));
    let read = number.clone();
    (number, move || read.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_tag_that_is_moved_stays_what_it_was_in_a_build() {
    for first in ["GET", "HEAD"] {
        let (number, current) = counted();
        let registry = moving(current).await;
        let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
        let tag = format!("{BUSYBOX}/manifests/1");
        let answer = ask(&endpoint, &format!("{first} {tag}"), b"").await;
        let digest = digest_of(version(1).as_bytes());
        assert_eq!(answer.header("docker-content-digest"), Some(&*digest));
        number.store(2, Ordering::SeqCst);
        let answer = ask(&endpoint, &format!("GET {tag}"), b"").await;
        assert_eq!((answer.status, answer.text()), (200, version(1)));
        // Another build gets what it names by now.
        let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
        assert_eq!(ask(&endpoint, &format!("GET {tag}"), b"").await.text(), version(2));
    }
}

#[tokio::test]
async fn a_tag_stays_what_the_mirror_named_that_had_it_first() {
    let (number, current) = counted();
    number.store(0, Ordering::SeqCst);
    let (mirror, registry) = (moving(current).await, moving(|| 1).await);
    let config = settings("r.invalid", &[&mirror.address, &registry.address]);
    let endpoint = started(config, &[]).await;
    let tag = format!("GET {BUSYBOX}/manifests/1");
    assert_eq!(ask(&endpoint, &tag, b"").await.text(), version(1));
    number.store(2, Ordering::SeqCst);
    assert_eq!(ask(&endpoint, &tag, b"").await.text(), version(1));
    assert_eq!((mirror.lines().len(), registry.lines().len()), (1, 2));
}

#[tokio::test]
async fn requests_at_one_time_for_a_tag_get_one_image() {
    let asked = AtomicUsize::new(0);
    let registry = moving(move || asked.fetch_add(1, Ordering::SeqCst) + 1).await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    let tag = format!("GET {BUSYBOX}/manifests/1");
    let (one, other) = tokio::join!(ask(&endpoint, &tag, b""), ask(&endpoint, &tag, b""));
    assert_eq!((one.status, one.text()), (200, other.text()));
}
