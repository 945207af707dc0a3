//! Against registries on loopback, most of which attack.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::StatusCode;

use super::fake::{FakeRegistry, Reply, descriptor, image};
use super::*;
use crate::registry::credentials::Credentials;
use crate::registry::digest::digest_of;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn session(host: &str, known: &[&str], access: Access) -> Session {
    session_waiting(host, known, access, Limits::default())
}

fn session_waiting(host: &str, known: &[&str], access: Access, limits: Limits) -> Session {
    let insecure = [host, "localhost"].map(str::to_owned).to_vec();
    let client = RegistryClient::new(&ClientOptions { insecure, tls: Vec::new() }).unwrap();
    let client = client.waiting(limits);
    let credentials = known.iter().map(|host| user_of(host)).next();
    client.session(host, "a/b", credentials, access).unwrap()
}

fn user_of(host: &str) -> Credentials {
    let registry = hookd_api::v1::Registry {
        username: "u".into(),
        password: "p".into(),
        server_url: host.to_owned(),
    };
    Credentials::from_registry(&registry).unwrap()
}

async fn ask(registry: &FakeRegistry, version: &str) -> Result<Description, RegistryError> {
    describe(&session(&registry.host, &[], Access::Pull), version).await
}

/// An index with a tag, over the image that `image` makes; with the fields that the entry gets.
fn indexed(media_type: &str, more: &str) -> (HashMap<String, Reply>, String) {
    let (mut all, digest) = image("a/b", r#"{"Entrypoint":["/x"]}"#);
    let size = 2;
    let others = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0","size":1,
        "platform":{"os":"linux","architecture":"s390x"}}"#;
    let manifest_size = manifest_of(&all, &digest).len();
    let entry = format!(
        r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{manifest_size}{more}}}"#
    );
    let index = format!(
        r#"{{"schemaVersion":{size},"mediaType":"{INDEX}","manifests":[{others},{entry}]}}"#
    );
    let digest = digest_of(index.as_bytes());
    all.insert("/v2/a/b/manifests/index".into(), Reply::ok(index));
    (all, digest)
}

fn manifest_of(all: &HashMap<String, Reply>, digest: &str) -> Vec<u8> {
    all[&format!("/v2/a/b/manifests/{digest}")].body().to_vec()
}

fn ours() -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#)
}

#[tokio::test]
async fn an_index_leads_to_this_platform_and_keeps_its_own_digest() {
    let (all, digest) = indexed(MANIFEST, &ours());
    let found = ask(&FakeRegistry::of(all), "index").await.unwrap();
    assert_eq!(found.digest, digest);
    assert_eq!(found.config.command(None, &[]), Some(vec!["/x".to_owned()]));
}

#[tokio::test]
async fn a_digest_is_computed_and_never_taken_from_a_header() {
    let (mut all, digest) = image("a/b", "{}");
    let lie = format!("docker-content-digest: sha256:{}", "0".repeat(64));
    let tag = all.get_mut("/v2/a/b/manifests/1").unwrap();
    *tag = tag.clone().with(lie);
    let registry = FakeRegistry::of(all);
    assert_eq!(ask(&registry, "1").await.unwrap().digest, digest);
    let error = ask(&registry, "none").await.unwrap_err();
    let refused = matches!(error, RegistryError::Refused { status: StatusCode::NOT_FOUND, .. });
    assert!(refused, "{error}");
}

/// Each document in turn is replaced by others: all are refused.
#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let (good, digest) = image("a/b", r#"{"Entrypoint":["/x"]}"#);
    let (evil, evil_digest) = image("a/b", r#"{"Entrypoint":["/y"]}"#);
    let blob = |all: &HashMap<String, Reply>| {
        all.keys().find(|path| path.contains("/blobs/")).unwrap().clone()
    };
    let manifest = |digest: &str| format!("/v2/a/b/manifests/{digest}");
    for (version, path, from) in [
        ("1", blob(&good), blob(&evil)),
        (digest.as_str(), manifest(&digest), manifest(&evil_digest)),
    ] {
        let mut all = good.clone();
        all.insert(path, evil[&from].clone());
        let error = ask(&FakeRegistry::of(all), version).await.unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{version}: {error}");
    }
    let (mut all, _) = indexed(MANIFEST, &ours());
    all.insert(manifest(&digest), evil[&manifest(&evil_digest)].clone());
    let error = ask(&FakeRegistry::of(all), "index").await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

fn tagged(manifest: impl Into<Vec<u8>>) -> FakeRegistry {
    FakeRegistry::of([("/v2/a/b/manifests/1".to_owned(), Reply::ok(manifest))].into())
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let config = descriptor(CONFIG, b"{}", "");
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar", b"{}", "");
    for manifest in [
        "<html>".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"schemaVersion":1,"config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"text/html","config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"config":{layer}}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"config":{config}}}"#),
        r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}","digest":"../../x","size":1}}}}"#
        ),
    ] {
        let error = ask(&tagged(manifest.clone()), "1").await.unwrap_err();
        assert!(matches!(error, RegistryError::Invalid { .. }), "{manifest}: {error}");
    }
}

#[tokio::test]
async fn a_document_of_another_size_than_announced_is_refused() {
    let (all, digest) = image("a/b", "{}");
    let wrong = format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1{}}}"#, ours());
    let mut all = all;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{wrong}]}}"#);
    all.insert("/v2/a/b/manifests/index".into(), Reply::ok(index));
    let error = ask(&FakeRegistry::of(all), "index").await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_document_without_end_is_not_read_to_its_end() {
    let error = ask(&tagged(vec![b' '; 5 << 20]), "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn indexes_within_indexes_are_followed_twice_at_most() {
    let (mut all, digest) = image("a/b", "{}");
    let mut document = manifest_of(&all, &digest);
    let mut media_type = MANIFEST;
    for depth in 1..=3 {
        let entry = descriptor(media_type, &document, &ours());
        document = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes();
        media_type = INDEX;
        let path = format!("/v2/a/b/manifests/{}", digest_of(&document));
        all.insert(path, Reply::ok(document.clone()));
        all.insert(format!("/v2/a/b/manifests/depth{depth}"), Reply::ok(document.clone()));
    }
    let registry = FakeRegistry::of(all);
    assert!(ask(&registry, "depth2").await.is_ok());
    let error = ask(&registry, "depth3").await.unwrap_err();
    assert!(matches!(error, RegistryError::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn a_dripping_answer_meets_the_callers_deadline() {
    let (mut all, _) = image("a/b", "{}");
    let tag = all.get_mut("/v2/a/b/manifests/1").unwrap();
    *tag = tag.clone().dripping(Duration::from_millis(200));
    let registry = FakeRegistry::of(all);
    let asked = ask(&registry, "1");
    assert!(tokio::time::timeout(Duration::from_millis(500), asked).await.is_err());
}

#[tokio::test]
async fn a_document_that_stops_is_given_up_with_its_registry() {
    let (mut all, _) = image("a/b", "{}");
    let tag = all.get_mut("/v2/a/b/manifests/1").unwrap();
    *tag = tag.clone().stopping();
    let registry = FakeRegistry::of(all);
    let limits = Limits { silence: Duration::from_millis(300), ..Limits::default() };
    let session = session_waiting(&registry.host, &[], Access::Pull, limits);
    let error = describe(&session, "1").await.unwrap_err();
    assert!(matches!(error, RegistryError::Silent { what: "manifest", .. }), "{error}");
    assert!(error.is_no_answer() && error.is_late());
    assert!(error.to_string().contains(&registry.host), "{error}");
}

/// Of all who read documents without a session, such as `hookd gc`.
#[tokio::test]
async fn every_document_has_a_limit() {
    let registry = FakeRegistry::start(|_, _| Reply::ok("{}").stopping());
    let session = session(&registry.host, &[], Access::Pull);
    let answer = session.send(Request::new(reqwest::Method::GET, "manifests/1")).await.unwrap();
    tokio::time::pause();
    let error = read_bounded(&registry.host, answer, "manifest", 100).await.unwrap_err();
    assert!(matches!(error, RegistryError::Silent { .. }), "{error}");
}

mod sessions;
