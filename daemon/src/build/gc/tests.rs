//! Against a registry of a few lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::registry::client::fake::{FakeRegistry, Reply};
use crate::registry::digest::digest_of;

mod passes;

const REPOSITORY: &str = "/v2/hookd/build/";

type Deleted = Arc<Mutex<Vec<String>>>;

/// Tags with what they name: the same words are the same image. One without words cannot be read.
fn registry(tags: &[(&str, &str)], deletes: u16) -> (FakeRegistry, Deleted) {
    failing_registry(tags, deletes, |_, _| None)
}

/// One that answers with this status instead: by what is asked for, and how often it was before.
fn failing_registry(
    tags: &[(&str, &str)],
    deletes: u16,
    fails: impl Fn(&str, usize) -> Option<u16> + Send + Sync + 'static,
) -> (FakeRegistry, Deleted) {
    let deleted = Deleted::default();
    let log = deleted.clone();
    let asked = Mutex::new(HashMap::<String, usize>::new());
    let own = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    let images: Vec<_> = tags.iter().map(own).collect();
    let started = FakeRegistry::start(move |_, arrived| {
        let path = arrived.path.strip_prefix(REPOSITORY).unwrap_or_default();
        if arrived.method == "DELETE" {
            log.lock().unwrap().push(path.to_owned());
            return Reply::new(deletes, "");
        }
        let mut asked = asked.lock().unwrap();
        let before = asked.entry(path.to_owned()).or_default();
        *before += 1;
        if let Some(status) = fails(path, *before - 1) {
            return Reply::new(status, "");
        }
        match path.strip_prefix("tags/list?n=1000") {
            Some(query) => page(&images, query.strip_prefix("&last=")),
            None if arrived.method == "PUT" => Reply::new(201, ""),
            None => named(&images, path.strip_prefix("manifests/").unwrap_or_default()),
        }
    });
    (started, deleted)
}

/// Two tags, behind the last of the page before.
fn page(images: &[(String, String)], last: Option<&str>) -> Reply {
    let from = images.iter().position(|(tag, _)| Some(&**tag) == last).map_or(0, |at| at + 1);
    let page: Vec<_> = images[from..].iter().take(2).map(|(tag, _)| tag).collect();
    let reply = Reply::ok(serde_json::json!({"tags": page}).to_string());
    match page.last().filter(|_| from + 2 < images.len()) {
        Some(last) => {
            let link = format!("link: <{REPOSITORY}tags/list?n=1000&last={last}>; rel=\"next\"");
            reply.with(link)
        }
        None => reply,
    }
}

fn named(images: &[(String, String)], name: &str) -> Reply {
    let is_named = |(tag, words): &&(String, String)| name == tag || name == digest(words);
    match images.iter().find(is_named) {
        Some((_, words)) if words.is_empty() => Reply::new(500, ""),
        Some((_, words)) => Reply::ok(words.clone()),
        None => Reply::new(404, ""),
    }
}

fn digest(words: &str) -> String {
    digest_of(words.as_bytes())
}

async fn collect(registry: &FakeRegistry, dry_run: bool) -> Result<String, GcError> {
    collect_keeping(registry, dry_run, 0).await
}

async fn collect_keeping(
    registry: &FakeRegistry,
    dry_run: bool,
    keep_last: usize,
) -> Result<String, GcError> {
    let mut output = Vec::new();
    run(&config(&registry.host, dry_run, keep_last), &mut output).await?;
    Ok(String::from_utf8(output).unwrap())
}

fn config(host: &str, dry_run: bool, keep_last: usize) -> GcConfig {
    GcConfig {
        dry_run,
        credentials_file: None,
        tls_dir: TLS_DIR.into(),
        keep_last,
        registry: RegistryConfig {
            host: Some(host.to_owned()),
            insecure: vec![host.to_owned()],
            // As a template leaves them.
            port: Some(String::new()),
            node_port: Some(String::new()),
            repository: Some(String::new()),
            ..RegistryConfig::default()
        },
        cache: CacheConfig::default(),
    }
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
    let mut expected = ["over", "step"].map(|words| format!("manifests/{}", digest(words)));
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
    let mut config = config(&registry.host, true, 0);
    config.cache.repository = Some("hookd/cache".into());
    run(&config, &mut Vec::new()).await.unwrap();
    let paths: Vec<_> = registry.arrived().iter().map(|one| asked(&one.path)).collect();
    assert_eq!(paths, ["/v2/hookd/build", "/v2/hookd/cache", "/v2/hookd/cache-untrusted"]);
}

#[tokio::test]
async fn a_repository_without_tags_has_no_images() {
    let (registry, _) = registry(&[], 202);
    let text = collect(&registry, false).await.unwrap();
    assert!(
        text.contains("hookd/build: 0 images and notes: 0 not used any more, 0 deleted;"),
        "{text}"
    );
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_told() {
    let (registry, _) = failing_registry(&[], 202, |_, _| Some(404));
    let text = collect(&registry, false).await.unwrap();
    assert!(text.contains("hookd/build: the registry has no such repository."), "{text}");
    assert!(text.contains("HOOKD_BUILD_REPOSITORY"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn a_tag_that_is_read_later_keeps_its_image() {
    for status in [404, 429, 500, 503] {
        let (registry, deleted) = failing_registry(
            &[
                (&key(1, hours(-6 * 24)), "kept"),
                (&key(2, hours(-6 * 24)), "over"),
                ("release", "kept"),
            ],
            202,
            move |path, before| (path == "manifests/release" && before < 3).then_some(status),
        );
        collect(&registry, false).await.unwrap();
        assert_eq!(*deleted.lock().unwrap(), [format!("manifests/{}", digest("over"))]);
    }
}

#[tokio::test]
async fn a_tag_that_is_never_read_keeps_all_images() {
    let over = hours(-6 * 24);
    let (valid, old) = (hours(48), hours(24));
    let steps = [format!("step_a_d_{old}"), format!("step_b_d_{valid}")];
    let others = [key(3, valid), key(4, hours(-4 * 24)), "release".to_owned()];
    for unread in &others {
        let path = format!("manifests/{unread}");
        let (registry, deleted) = failing_registry(
            &[
                (unread, "image"),
                (&key(1, over), "image"),
                (&steps[0], "replaced"),
                (&steps[1], "newest"),
            ],
            202,
            move |asked, _| (asked == path).then_some(503),
        );
        let mut output = Vec::new();
        let error = run(&config(&registry.host, false, 1), &mut output).await.unwrap_err();
        let text = String::from_utf8(output).unwrap();
        assert!(text.contains("would delete ") && text.contains("would withdraw "), "{text}");
        assert!(report(&error).contains("503"), "{}", report(&error));
        let GcError::UnreadTag { tag, unread: 1, .. } = error else { panic!("{error}") };
        assert_eq!(tag, *unread);
        assert!(deleted.lock().unwrap().is_empty());
        assert!(registry.arrived().iter().all(|one| one.method == "GET"));
    }
}

#[tokio::test]
async fn tags_are_listed_again_where_that_may_pass() {
    let over = key(1, hours(-6 * 24));
    let (registry, deleted) = failing_registry(&[(&over, "over")], 202, |path, before| {
        (path.starts_with("tags/") && before < 3).then_some(502)
    });
    collect(&registry, false).await.unwrap();
    assert_eq!(deleted.lock().unwrap().len(), 1);
    let (registry, _) = failing_registry(&[], 202, |_, _| Some(500));
    let error = collect(&registry, false).await.unwrap_err();
    assert!(matches!(error, GcError::NotListed { .. }), "{error}");
}

#[tokio::test]
async fn a_part_of_the_tags_deletes_nothing() {
    let over = key(1, hours(-6 * 24));
    let tags = [(&*over, "over"), ("a", "over"), ("release", "over")];
    let (registry, deleted) =
        failing_registry(&tags, 202, |path, _| path.contains("&last=").then_some(404));
    let error = collect(&registry, false).await.unwrap_err();
    assert!(matches!(error, GcError::NotListed { .. }), "{error}");
    assert!(deleted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_may_not_be_listed_is_told_with_the_settings() {
    for status in [401, 403] {
        let (registry, _) = failing_registry(&[], 202, move |_, _| Some(status));
        let error = collect(&registry, false).await.unwrap_err();
        assert!(matches!(error, GcError::MayNotList { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("--credentials-file") && text.contains(&status.to_string()),
            "{text}"
        );
    }
    // Nothing listens there.
    let error = run(&config("127.0.0.1:1", false, 0), &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, GcError::NoAnswer { .. }), "{error}");
    let text = report(&error);
    for part in
        ["REGISTRY_HOST", "REGISTRY_PORT", "HOOKD_REGISTRY_TLS", "127.0.0.1:1 cannot be reached"]
    {
        assert!(text.contains(part), "{text}");
    }
}
