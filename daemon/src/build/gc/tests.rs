//! Against a registry of a few lines.

use std::sync::{Arc, Mutex};

use super::*;
use crate::registry::client::digest_of;
use crate::registry::client::fake::{FakeRegistry, Reply, descriptor};

const REPOSITORY: &str = "/v2/hookd/build/";

/// Tags with what they name: the time at which an image was made tells it from others.
fn registry(tags: &[(&str, &str)], deletes: u16) -> (FakeRegistry, Arc<Mutex<Vec<String>>>) {
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let log = deleted.clone();
    let images: Vec<_> = tags
        .iter()
        .map(|(tag, created)| {
            let config = format!(r#"{{"created":"{created}"}}"#);
            let manifest = format!(
                r#"{{"schemaVersion":2,"config":{}}}"#,
                descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes(), "")
            );
            ((*tag).to_owned(), config, manifest)
        })
        .collect();
    let started = FakeRegistry::start(move |_, arrived| {
        let path = arrived.path.strip_prefix(REPOSITORY).unwrap_or_default();
        if arrived.method == "DELETE" {
            log.lock().unwrap().push(path.to_owned());
            return Reply::new(deletes, "");
        }
        // Two a page.
        if let Some(query) = path.strip_prefix("tags/list?n=1000") {
            let last = query.strip_prefix("&last=").unwrap_or_default();
            let from = images.iter().position(|(tag, ..)| tag == last).map_or(0, |at| at + 1);
            let page: Vec<_> = images[from..].iter().take(2).map(|(tag, ..)| tag).collect();
            let reply = Reply::ok(serde_json::json!({"tags": page}).to_string());
            return match from + 2 < images.len() {
                true => reply.with("link: </v2/elsewhere>; rel=\"next\""),
                false => reply,
            };
        }
        for (tag, config, manifest) in &images {
            if path == format!("manifests/{tag}") {
                return Reply::ok(manifest.clone());
            }
            if path == format!("blobs/{}", digest_of(config.as_bytes())) {
                return Reply::ok(config.clone());
            }
        }
        Reply::new(404, "")
    });
    (started, deleted)
}

async fn collect(registry: &FakeRegistry, dry_run: bool) -> Result<String, GcError> {
    let registry = RegistryConfig {
        host: Some(registry.host.clone()),
        insecure: vec![registry.host.clone()],
        max_age: Duration::from_secs(24 * 3600),
        ..RegistryConfig::default()
    };
    let mut output = Vec::new();
    run(&GcConfig { dry_run, credentials_file: None, registry }, &mut output).await?;
    Ok(String::from_utf8(output).unwrap())
}

/// So many hours from now.
fn hours(hours: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(hours)
}

fn key(number: u8, end: Timestamp) -> String {
    format!("key_{}_{}", format!("{number:02x}").repeat(32), end.as_second())
}

#[tokio::test]
async fn what_no_build_uses_is_deleted_and_nothing_else() {
    let (new, old) = (hours(-2).to_string(), hours(-72).to_string());
    // A second apart: each is an image of its own.
    let made = |seconds| (hours(-72) + SignedDuration::from_secs(seconds)).to_string();
    let (valid, over, both) = (made(1), made(2), made(3));
    let keys = [key(1, hours(3)), key(2, hours(-5)), key(3, hours(-5)), key(4, hours(3))];
    let just_over = (key(5, hours(0)), made(4));
    let (registry, deleted) = registry(
        &[
            ("new-step", &new),
            ("old-step", &old),
            (&keys[0], &valid),
            (&keys[1], &over),
            // One image of two keys, of which one is used.
            (&keys[2], &both),
            (&keys[3], &both),
            (&just_over.0, &just_over.1),
            ("of-no-time", "none"),
        ],
        202,
    );
    let text = collect(&registry, true).await.unwrap();
    assert!(text.ends_with("7 images, 2 not used any more, 0 deleted\n"), "{text}");
    assert!(text.contains("would delete") && text.contains("old-step"), "{text}");
    assert!(deleted.lock().unwrap().is_empty());
    let text = collect(&registry, false).await.unwrap();
    assert!(text.ends_with("7 images, 2 not used any more, 2 deleted\n"), "{text}");
    let digest = |created: &str| {
        let config = format!(r#"{{"created":"{created}"}}"#);
        let config = descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes(), "");
        format!(
            "manifests/{}",
            digest_of(format!(r#"{{"schemaVersion":2,"config":{config}}}"#).as_bytes())
        )
    };
    let mut expected = vec![digest(&old), digest(&over)];
    expected.sort();
    assert_eq!(*deleted.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_registry_that_deletes_nothing_is_named() {
    let (registry, _) = registry(&[("old", &hours(-72).to_string())], 405);
    let error = collect(&registry, false).await.unwrap_err();
    assert!(matches!(&error, GcError::DeletesNothing { host } if *host == registry.host));
    assert!(collect(&registry, true).await.is_ok());
}

#[tokio::test]
async fn a_repository_that_was_never_pushed_to_is_empty() {
    let (registry, _) = registry(&[], 202);
    assert_eq!(
        collect(&registry, false).await.unwrap(),
        "0 images, 0 not used any more, 0 deleted\n"
    );
}
