//! Registries that do not answer, or not to the end.

use std::time::Duration;

use super::upstream::ask;
use super::*;
use crate::registry::client::fake::{self, FakeRegistry, Reply};

/// For each wait. Registries that answer do so within it.
const SHORT: Duration = Duration::from_secs(2);

fn limits() -> Limits {
    Limits { answer: SHORT, blob: SHORT, silence: SHORT, upload: SHORT, commit: SHORT }
}

fn full() -> (FakeRegistry, String) {
    let (all, digest) = fake::image("library/busybox", "{}");
    (FakeRegistry::of(all), digest)
}

/// One that sends the begin of each manifest.
fn stopping() -> FakeRegistry {
    FakeRegistry::start(|_, _| Reply::ok("{}").stopping())
}

#[tokio::test]
async fn after_a_mirror_that_is_silent_the_next_one_is_asked() {
    let (full, digest) = full();
    for silent in [FakeRegistry::silent(), stopping()] {
        let config = settings("r.invalid", &[&silent.host, &full.host]);
        let endpoint = started_waiting(config, &[], limits()).await;
        let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
        assert_eq!((answer.status, answer.header("docker-content-digest")), (200, Some(&*digest)));
        assert_eq!(silent.arrived().len(), 1);
    }
}

#[tokio::test]
async fn a_silent_registry_is_named_after_it_was_asked_twice() {
    for (silent, times, expected) in [
        (FakeRegistry::silent(), 2, "does not answer in time"),
        (stopping(), 1, "does not send the rest of a manifest in time"),
    ] {
        let config = settings("r.invalid", &[&silent.host]);
        let endpoint = started_waiting(config, &[], limits()).await;
        let answer = ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await;
        let shown = format!("registry {} cannot be reached: i/o timeout", silent.host);
        assert_eq!(answer.status, 530);
        assert!(answer.text().contains(&shown), "{}", answer.text());
        assert!(answer.text().contains(expected), "{}", answer.text());
        assert_eq!(silent.arrived().len(), times);
    }
}

#[tokio::test]
async fn a_registry_that_takes_a_layer_and_is_silent_is_named() {
    let registry = FakeRegistry::start(|_, arrived| match arrived.method.as_str() {
        "POST" => Reply::new(202, "").with("location: /v2/org/hookd/build/blobs/uploads/u1"),
        "PATCH" => {
            std::thread::park_timeout(Duration::from_secs(3600));
            Reply::default()
        }
        _ => Reply::ok("{}"),
    });
    let endpoint = started_waiting(settings(&registry.host, &[]), &[], limits()).await;
    let opened = ask(&endpoint, &format!("POST {OWN}/blobs/uploads/"), b"").await;
    let upload = opened.header("location").unwrap().to_owned();
    let answer = ask(&endpoint, &format!("PATCH {upload}"), b"layer").await;
    let shown = format!("registry {} cannot be reached: i/o timeout", registry.host);
    assert!(answer.status == 530 && answer.text().contains(&shown), "{}", answer.text());
}
