//! What people read about a build that was needed.

use std::fs;

use super::*;
use crate::build::context::{self, Bounds};
use crate::registry::base_images::ResolvedImage;

fn job(image: &str, argument: &str) -> Job {
    serde_json::from_value(serde_json::json!({"spec": {"template": {"spec": {"containers": [
        {"name": "kaniko", "image": image, "args": [argument, "--destination=a/b:c"]}
    ]}}}}))
    .unwrap()
}

fn base(name: &str, digest: &str) -> ResolvedImage {
    ResolvedImage { reference: name.parse().unwrap(), digest: digest.to_owned() }
}

fn made_of(files: &[(&str, &str)], bases: &[ResolvedImage], job: &Job) -> MadeOf {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("Dockerfile"), "FROM a\n").unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let opened = context::open(&[directory.path().into()], &directory.path().join("Dockerfile"));
    let timeout = std::time::Duration::from_secs(60);
    let bounds = Bounds { bytes: 1 << 20, timeout, cancelled: Default::default() };
    let summary = opened.unwrap().survey(&bounds).unwrap();
    MadeOf::new(&Ingredients { context: &summary.digest, bases, job }, &summary).unwrap()
}

fn since(one: &MadeOf, other: &MadeOf) -> String {
    let text = other.since(one, Path::new("/w/Dockerfile"));
    text.strip_prefix("since its last build changed: ").unwrap_or(&text).to_owned()
}

#[test]
fn each_thing_that_changed_is_named() {
    let (job_1, bases) =
        (job("kaniko:1", "--a"), [base("a:1", "sha256:0"), base("b:1", "sha256:1")]);
    let first = made_of(&[("a", "1"), ("b", "1")], &bases, &job_1);
    let changed = |files: &[(&str, &str)]| since(&first, &made_of(files, &bases, &job_1));
    assert_eq!(changed(&[("a", "2"), ("b", "1")]), "a");
    assert_eq!(changed(&[("a", "1"), ("b", "1"), ("c\n", "1")]), "c?");
    assert_eq!(changed(&[("a", "1")]), "1 files less");
    assert_eq!(changed(&[("a", "1"), ("b", "1"), ("Dockerfile", "FROM b")]), "the Dockerfile");
    let many: Vec<_> = ["c", "d", "e", "f", "g"].map(|name| (name, "1")).into();
    let all = [&[("a", "1"), ("b", "1")], &many[..]].concat();
    assert_eq!(changed(&all), "c, d, e, 2 more files");
    assert!(changed(&[("a", "1"), ("b", "1")]).starts_with("nothing has changed"));
    let files = [("a", "1"), ("b", "1")];
    let moved = [base("a:1", "sha256:0"), base("b:1", "sha256:2")];
    assert_eq!(
        since(&first, &made_of(&files, &moved, &job("kaniko:2", "--b"))),
        "base image index.docker.io/library/b:1, the builder's image, the builder's arguments"
    );
}

#[test]
fn what_a_note_says_is_not_shown() {
    let (job, bases) = (job("kaniko:1", "--a"), [base("a:1", "sha256:0")]);
    let now = made_of(&[("a", "1")], &bases, &job);
    let mut theirs = now.clone();
    theirs.context = "x".into();
    theirs.entries.insert("context/secret-name".into(), "0".into());
    theirs.bases.insert("secret/image".into(), "0".into());
    assert_eq!(since(&theirs, &now), "1 files less");
}
