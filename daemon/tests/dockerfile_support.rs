//! `docs/dockerfile-support.md` is made of the contexts of tests/parity: what each construct becomes, and
//! what the image is with the Kaniko of the development cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data must fail")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd::build::context::{self, Bounds, Files};
use hookd::dockerfile::{self, Builder, ContextFiles, Entry};
use serde_json::Value;

const UPDATE: &str = "UPDATE_SUPPORT=1 cargo test -p hookd --test dockerfile_support";
const HEAD: &str = "\
# Dockerfiles that hookd builds

Kaniko builds some instructions into an image that differs from docker's, without a word. hookd reads each Dockerfile
by docker's own rules first, and sends Kaniko an equal one in the subset that it builds as docker does. Where that is
impossible the build's log has a warning that names the line, or the build fails before it begins. With
`HOOKD_BUILD_STRICT=true` each warning is an error. The Dockerfile in the context stays as it is.

The table is made of the contexts in `tests/parity`, each with what BuildKit makes of it. `make parity` builds all of
them with the Kaniko of the development cluster, 1.24.0, and compares configuration and files; `make parity
BUILDER=buildkit` does with rootless BuildKit. A test compares this page with both results. The rows are in the order of
the contexts.

- **Kaniko gets**: the instructions *as they are*, or *rewritten* into others of the same meaning, with the *warnings*
  that the log has; or the build is *refused* with this message.
- **Its image**: *as docker* (or both fail), *differs*, *fails* (docker builds it), *refused* (before the build), *builds*
  (docker refuses it).
- **BuildKit's image**: the same with `HOOKD_BUILDER=buildkit`, which gets all instructions as they are.

| construct | Kaniko gets | its image | BuildKit's image |
| --- | --- | --- | --- |
";

fn parity() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../tests/parity")
}

/// The recorded outcomes of a builder by the names of contexts.
fn record(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(parity().join(name)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    pairs.map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
}

/// A context of tests/parity, with the files that git does not keep.
struct Laid<'a> {
    files: Files<'a>,
    extra: BTreeMap<String, Entry>,
}

impl ContextFiles for Laid<'_> {
    fn entry(&self, path: &str) -> Option<Entry> {
        self.extra.get(path).cloned().or_else(|| self.files.entry(path))
    }

    fn names(&self, directory: &str) -> Option<Vec<String>> {
        self.files.names(directory)
    }

    fn matches(&self, patterns: &[String], path: &str) -> Option<bool> {
        self.files.matches(patterns, path)
    }

    fn begin(&self, path: &str) -> Vec<u8> {
        self.files.begin(path)
    }
}

/// The entries of tests/parity/attributes for a context.
fn extra(name: &str) -> BTreeMap<String, Entry> {
    let text = fs::read_to_string(parity().join("attributes")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}/")));
    let entry = |line: &str| {
        let (path, rest) = line.split_once(' ')?;
        let entry = match rest.strip_prefix("-> ") {
            Some(target) => Entry::Symlink(target.to_owned()),
            None if rest == "built" || rest.starts_with("= ") => Entry::File(0o755),
            None => return None,
        };
        Some((path.to_owned(), entry))
    };
    lines.filter_map(entry).collect()
}

/// What the builder gets, for a cell of the table.
fn gets(name: &str, file: &str) -> String {
    let directory = parity().join("contexts").join(name).canonicalize().unwrap();
    let context = context::open(std::slice::from_ref(&directory), &directory.join(file)).unwrap();
    let text = context.read_dockerfile(dockerfile::LIMIT).unwrap();
    let digest = format!("@sha256:{}", "0".repeat(64));
    let text = String::from_utf8(text).unwrap().replace("@@BUSYBOX_DIGEST@", &digest);
    let (timeout, cancelled) = (Duration::from_secs(60), Default::default());
    let bounds = Bounds { bytes: 1 << 30, timeout, cancelled };
    let files = Laid { files: Files::of(&context, &bounds), extra: extra(name) };
    let lowered = dockerfile::images(text.as_bytes())
        .and_then(|_| dockerfile::lower(text.as_bytes(), &files, Builder::Original));
    let lowered = match lowered {
        Ok(lowered) => lowered,
        Err(error) => return format!("refused: {}", error.problem),
    };
    let is_same = lowered.rewritten.is_empty();
    let mut cell = if is_same { "as they are" } else { "rewritten" }.to_owned();
    for warning in &lowered.warnings {
        write!(cell, "; warning: {}", warning.problem).unwrap();
    }
    cell
}

fn page() -> String {
    let (record, buildkit) = (record("expected-1.24"), record("expected-buildkit"));
    let mut names: Vec<_> = record.keys().collect();
    let number = |name: &str| name.split('-').next().and_then(|number| number.parse::<u32>().ok());
    names.sort_by_key(|name| number(name));
    let mut page = HEAD.to_owned();
    for name in names {
        let expected = fs::read(parity().join(format!("expect/{name}.json"))).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let file = expected["dockerfile"].as_str().unwrap();
        let shown = |outcome: &str| outcome.replace("wrong", "differs");
        let kaniko = shown(&record[name]);
        let buildkit = buildkit.get(name).map_or("not recorded".to_owned(), |name| shown(name));
        let plain = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        let construct = plain(expected["construct"].as_str().unwrap());
        let gets = plain(&gets(name, file));
        writeln!(page, "| {construct} | {gets} | {kaniko} | {buildkit} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_dockerfiles_is_that_of_the_code() {
    let path = parity().join("../../docs/dockerfile-support.md");
    let page = page();
    if std::env::var_os("UPDATE_SUPPORT").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    let differing = page.lines().zip(known.lines()).find(|(line, known)| line != known);
    assert!(page == known, "it differs, at first in {differing:?}; update it with `{UPDATE}`");
}
