//! Against a registry of a few lines.

use std::sync::{Arc, Mutex};

use super::*;
use crate::registry::client::fake::{FakeRegistry, Reply};
use crate::registry::digest::digest_of;

const REPOSITORY: &str = "/v2/hookd/build/";

/// Tags with what they name: the same words are the same image. One without words cannot be read.
fn registry(tags: &[(&str, &str)], deletes: u16) -> (FakeRegistry, Arc<Mutex<Vec<String>>>) {
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let log = deleted.clone();
    let own = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    let images: Vec<_> = tags.iter().map(own).collect();
    let started = FakeRegistry::start(move |_, arrived| {
        let path = arrived.path.strip_prefix(REPOSITORY).unwrap_or_default();
        if arrived.method == "DELETE" {
            log.lock().unwrap().push(path.to_owned());
            return Reply::new(deletes, "");
        }
        // Two a page.
        if let Some(query) = path.strip_prefix("tags/list?n=1000") {
            let last = query.strip_prefix("&last=").unwrap_or_default();
            let from = images.iter().position(|(tag, _)| tag == last).map_or(0, |at| at + 1);
            let page: Vec<_> = images[from..].iter().take(2).map(|(tag, _)| tag).collect();
            let reply = Reply::ok(serde_json::json!({"tags": page}).to_string());
            return match from + 2 < images.len() {
                true => reply.with("link: </v2/elsewhere>; rel=\"next\""),
                false => reply,
            };
        }
        if arrived.method == "PUT" {
            return Reply::new(201, "");
        }
        let found = images.iter().find(|(tag, words)| {
            let name = path.strip_prefix("manifests/").unwrap_or_default();
            name == tag || name == digest_of(words.as_bytes())
        });
        match found {
            Some((_, words)) if words.is_empty() => Reply::new(500, ""),
            Some((_, words)) => Reply::ok(words.clone()),
            None => Reply::new(404, ""),
        }
    });
    (started, deleted)
}

async fn collect(registry: &FakeRegistry, dry_run: bool) -> Result<String, GcError> {
    collect_keeping(registry, dry_run, 0).await
}

async fn collect_keeping(
    registry: &FakeRegistry,
    dry_run: bool,
    keep_last: usize,
) -> Result<String, GcError> {
    let registry = RegistryConfig {
        host: Some(registry.host.clone()),
        insecure: vec![registry.host.clone()],
        // As a template leaves them.
        port: Some(String::new()),
        node_port: Some(String::new()),
        ..RegistryConfig::default()
    };
    let mut output = Vec::new();
    run(
        &GcConfig {
            dry_run,
            credentials_file: None,
            tls_dir: TLS_DIR.into(),
            keep_last,
            registry,
            cache: CacheConfig::default(),
        },
        &mut output,
    )
    .await?;
    Ok(String::from_utf8(output).unwrap())
}

/// So many hours from now.
fn hours(hours: i64) -> i64 {
    Timestamp::now().as_second() + hours * 3600
}

fn key(number: u8, end: i64) -> String {
    format!("key_{}_{end}", format!("{number:02x}").repeat(32))
}

#[tokio::test]
async fn what_no_build_uses_is_deleted_and_nothing_else() {
    let over = hours(-6 * 24);
    let steps = [format!("step_a-b_d_{over}"), format!("step_b_d_{}", hours(1))];
    let note = format!("note_{}_{}", "3f".repeat(32), hours(3));
    let keys =
        [key(1, hours(3)), key(2, over), key(3, over), key(4, hours(3)), key(5, hours(-4 * 24))];
    let (registry, deleted) = registry(
        &[
            (&keys[0], "valid"),
            (&keys[1], "over"),
            // One image of two keys, of which one is used.
            (&keys[2], "both"),
            (&keys[3], "both"),
            (&keys[4], "a job may use it"),
            (&steps[0], "step"),
            (&steps[1], "new step"),
            (&note, "note"),
            // One of a job that deletes its images itself.
            ("1a2b", "of no end"),
        ],
        202,
    );
    let text = collect(&registry, true).await.unwrap();
    let rest = "2 stay for builds, 2 for jobs that may run them, 1 as notes about Dockerfiles, 1 for tags that \
                are not hookd's\n";
    assert!(text.starts_with("would delete ") && text.contains(&steps[0]), "{text}");
    assert!(text.contains("8 images and notes: 2 not used any more, 0 deleted;"), "{text}");
    assert!(text.ends_with(rest), "{text}");
    assert!(deleted.lock().unwrap().is_empty());
    let text = collect(&registry, false).await.unwrap();
    assert!(text.contains("8 images and notes: 2 not used any more, 2 deleted;"), "{text}");
    let mut expected =
        ["over", "step"].map(|words| format!("manifests/{}", digest_of(words.as_bytes())));
    expected.sort();
    assert_eq!(*deleted.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_image_that_cannot_be_read_keeps_no_other() {
    let over = hours(-6 * 24);
    let (registry, deleted) = registry(&[(&key(1, over), ""), (&key(2, over), "over")], 202);
    let error = collect(&registry, false).await.unwrap_err();
    assert!(matches!(error, GcError::Incomplete { failed: 1, all: 2 }), "{error}");
    assert_eq!(deleted.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_deletion_that_is_refused_keeps_no_other() {
    let over = hours(-6 * 24);
    let (registry, deleted) = registry(&[(&key(1, over), "one"), (&key(2, over), "other")], 403);
    let error = collect(&registry, false).await.unwrap_err();
    let GcError::MayNotDelete { status, .. } = error else { panic!("{error}") };
    assert_eq!((status, deleted.lock().unwrap().len()), (StatusCode::FORBIDDEN, 2));
}

/// With its status as GitHub's, and as ECR, which says that there is no such image.
#[tokio::test]
async fn a_registry_that_deletes_nothing_is_named() {
    for status in [405, 404, 501] {
        let (registry, _) = registry(&[(&key(1, hours(-6 * 24)), "over")], status);
        let error = collect(&registry, false).await.unwrap_err();
        let GcError::DeletesNothing { host, status: answered } = error else { panic!("{error}") };
        assert_eq!((host, answered.as_u16()), (registry.host.clone(), status));
        assert!(collect(&registry, true).await.is_ok());
    }
}

#[tokio::test]
async fn an_image_that_newer_ones_replace_stays_for_jobs() {
    let end = hours(48);
    let (old, new) = (format!("step_a_d_{}", end - 60), format!("step_b_d_{end}"));
    let keys = [key(1, end), key(2, end)];
    let tags = [(&*keys[0], "old"), (&old, "old"), (&keys[1], "new"), (&new, "new")];
    let (registry, deleted) = registry(&tags, 202);
    let text = collect_keeping(&registry, true, 1).await.unwrap();
    assert!(text.starts_with("would withdraw "), "{text}");
    assert!(text.contains(": 1 newer images of its Dockerfile; it is deleted in 5 days"), "{text}");
    assert!(registry.arrived().iter().all(|one| one.method == "GET"));
    let text = collect_keeping(&registry, false, 1).await.unwrap();
    assert!(text.starts_with("withdrew ") && text.contains(&old), "{text}");
    let puts: Vec<_> = registry.arrived().into_iter().filter(|one| one.method == "PUT").collect();
    let [kept, taken] = &puts[..] else { panic!("{} requests", puts.len()) };
    assert!(kept.path.starts_with(&format!("{REPOSITORY}manifests/old_")), "{}", kept.path);
    assert_eq!(kept.body, b"old");
    assert_eq!(taken.path, format!("{REPOSITORY}manifests/{}", keys[0]));
    assert!(String::from_utf8_lossy(&taken.body).ends_with("\"manifests\":[]}"));
    // The image itself is not deleted: what is, is what the tag names by then.
    assert_eq!(*deleted.lock().unwrap(), [format!("manifests/{}", digest_of(&taken.body))]);
}

#[tokio::test]
async fn cached_layers_are_collected_too() {
    let asked = |path: &str| path.split("/tags/").next().unwrap_or_default().to_owned();
    let (registry, _) = registry(&[], 202);
    let config = RegistryConfig {
        host: Some(registry.host.clone()),
        insecure: vec![registry.host.clone()],
        ..RegistryConfig::default()
    };
    let cache = CacheConfig { repository: Some("hookd/cache".into()), ..CacheConfig::default() };
    let config = GcConfig {
        dry_run: true,
        credentials_file: None,
        tls_dir: TLS_DIR.into(),
        keep_last: 0,
        registry: config,
        cache,
    };
    run(&config, &mut Vec::new()).await.unwrap();
    let paths: Vec<_> = registry.arrived().iter().map(|one| asked(&one.path)).collect();
    assert_eq!(paths, ["/v2/hookd/build", "/v2/hookd/cache", "/v2/hookd/cache-untrusted"]);
}

#[tokio::test]
async fn a_repository_that_was_never_pushed_to_is_empty() {
    let (registry, _) = registry(&[], 202);
    let text = collect(&registry, false).await.unwrap();
    assert!(
        text.contains("hookd/build: 0 images and notes: 0 not used any more, 0 deleted;"),
        "{text}"
    );
}
