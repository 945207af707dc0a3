//! A release: what it is built with is pinned, and its tag fits the sources (`.ci/release`).
#![allow(clippy::unwrap_used, reason = "a test that cannot read the repository must fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::{files, repository};

/// What is wrong with a reference to an image that is built from.
fn unpinned(image: &str) -> bool {
    let digest = image.split_once("@sha256:").map_or("", |(_, digest)| digest);
    digest.len() != 64 || !digest.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// The images that a Dockerfile begins with, but for its own stages.
fn bases(dockerfile: &str) -> Vec<&str> {
    let arguments: Vec<_> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')).collect();
    let images = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let names = images.map(|image| image.split_whitespace().next().unwrap());
    let value = |name: &str| {
        let is_named = |(argument, _): &&(&str, &str)| name == format!("${{{argument}}}");
        arguments.iter().find(is_named).map(|(_, value)| *value)
    };
    names.map(|name| value(name).unwrap_or(name)).filter(|name| *name != "scratch").collect()
}

/// The actions that a workflow uses, as it writes them.
fn actions(workflow: &str) -> Vec<&str> {
    let steps = workflow.lines().map(|line| line.trim_start().trim_start_matches("- "));
    steps.filter_map(|line| line.strip_prefix("uses: ")).collect()
}

/// An action by its commit, with its version as a comment; or a file of this repository.
fn is_pinned(action: &str) -> bool {
    let Some((_, pin)) = action.split_once('@') else { return action.starts_with("./") };
    let (commit, comment) = pin.split_once(" # v").unwrap_or_default();
    commit.len() == 40
        && commit.chars().all(|digit| digit.is_ascii_hexdigit())
        && !comment.is_empty()
}

#[test]
fn the_image_is_built_from_bases_of_a_digest() {
    let text = fs::read_to_string(repository().join("deploy/Containerfile")).unwrap();
    let found = bases(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found.iter().any(|base| unpinned(base)), "without a digest: {found:?}");
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap();
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let expected = format!("rust:{}-", version.trim_matches('"'));
    assert!(found[0].contains(&expected), "the compiler of rust-toolchain.toml: {expected}");
}

#[test]
fn a_base_without_a_digest_is_found() {
    let text = "ARG A=one:1\nFROM ${A} AS build\nFROM two@sha256:12\nFROM scratch\n";
    assert_eq!(bases(text), ["one:1", "two@sha256:12"]);
    assert!(bases(text).into_iter().all(unpinned));
    assert!(!unpinned(&format!("two:2@sha256:{}", "0a".repeat(32))));
}

/// The images that a workflow gives to a builder or a job.
fn named_images(workflow: &str) -> Vec<&str> {
    let words = workflow.split(|letter: char| letter.is_whitespace() || letter == '"');
    words.filter(|word| word.starts_with("docker.io/") || word.contains("moby/buildkit")).collect()
}

#[test]
fn workflows_name_actions_by_their_commits() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in files(".github/workflows", &[".yaml", ".yml"], 1) {
        let text = fs::read_to_string(&path).unwrap();
        for action in actions(&text) {
            seen += 1;
            if !is_pinned(action) {
                wrong.push(format!("{}: {action}", path.display()));
            }
        }
        for image in named_images(&text) {
            if unpinned(image) {
                wrong.push(format!("{}: {image}", path.display()));
            }
        }
        // A job that needs more says so itself.
        let permits = ["\npermissions: {}\n", "\npermissions:\n  contents: read\n\n"];
        assert!(permits.iter().any(|some| text.contains(some)), "{}", path.display());
    }
    assert!(seen > 10, "{seen} actions");
    assert!(wrong.is_empty(), "not by a commit with its version:\n{}", wrong.join("\n"));
    assert!(!is_pinned("a/b@v4") && !is_pinned(&format!("a/b@{}", "0a".repeat(20))));
}

/// The jobs of a workflow, each with its text.
fn jobs(workflow: &str) -> Vec<(&str, &str)> {
    let (_, jobs) = workflow.split_once("\njobs:\n").unwrap();
    let is_name =
        |line: &str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
    let starts = jobs.match_indices('\n').map(|(at, _)| at + 1);
    let is_start = |at: &usize| jobs[*at..].lines().next().is_some_and(is_name);
    let starts: Vec<_> = [0].into_iter().chain(starts).filter(is_start).collect();
    let ends = starts.iter().skip(1).copied().chain([jobs.len()]);
    let texts = starts.iter().zip(ends).map(|(begin, end)| &jobs[*begin..end]);
    texts.map(|text| text.trim_start().split_once(":\n").unwrap()).collect()
}

#[test]
fn a_job_that_signs_runs_no_file_of_the_sources() {
    let text = fs::read_to_string(repository().join(".github/workflows/release.yaml")).unwrap();
    let signs = |job: &&(&str, &str)| job.1.contains("id-token: write");
    let signing: Vec<_> = jobs(&text).iter().filter(signs).copied().collect();
    let names: Vec<_> = signing.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["publish", "chart", "pages"]);
    for (name, job) in signing {
        assert!(!job.contains("actions/checkout") && !job.contains(".ci/"), "{name}");
    }
}

/// Sources of a release 1.2.3 with this changelog, below a directory of the build.
fn sources_of_a_release(name: &str, changelog: &str) -> PathBuf {
    let root =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    for directory in [".ci", "deploy/chart/hookd", "docs"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy(repository().join(".ci/release"), root.join(".ci/release")).unwrap();
    let cargo = "[workspace.package]\nversion = \"1.2.3\"\nrepository = \"https://git.test/a\"\n\n\
                 [package]\nversion = \"9.9.9\"\n";
    let chart = "name: hookd\nversion: 1.2.3\nappVersion: \"1.2.3\"\n";
    let texts = [
        ("Cargo.toml", cargo),
        ("deploy/chart/hookd/Chart.yaml", chart),
        ("CHANGELOG.md", changelog),
        ("docs/upgrades.md", "# Upgrades\n"),
        ("SECURITY.md", "# Security\n"),
    ];
    for (path, text) in texts {
        fs::write(root.join(path), text).unwrap();
    }
    root
}

/// What `.ci/release` prints for a tag, or why it fails.
fn notes(root: &Path, tag: &str) -> Result<String, String> {
    // By bash: another thread that forks may still have the copy open for writing, so that it is busy.
    let script = root.join(".ci/release");
    let ran = Command::new("bash").arg(script).arg(tag).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
}

#[test]
fn notes_of_a_release_are_its_part_of_the_changelog() {
    let changelog =
        "# Changelog\n\n## Unreleased\n\n## 1.2.3\n\n- New.\n\n  More.\n\n## 1.2.2\n\n- Old.\n";
    let root = sources_of_a_release("notes", changelog);
    assert_eq!(notes(&root, "v1.2.3").as_deref(), Ok("- New.\n\n  More.\n"));
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn links_of_the_notes_lead_to_the_tag() {
    let root = sources_of_a_release(
        "links",
        "## 1.2.3\n\n[a](docs/a.md#b), [c](https://c.test/), [d](SECURITY.md), (docs/e.md)\n",
    );
    let blob = "https://git.test/a/blob/v1.2.3";
    let expected = format!(
        "[a]({blob}/docs/a.md#b), [c](https://c.test/), [d]({blob}/SECURITY.md), (docs/e.md)\n"
    );
    assert_eq!(notes(&root, "v1.2.3"), Ok(expected));
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_release_is_refused_while_a_document_denies_it() {
    for document in ["docs/upgrades.md", "SECURITY.md"] {
        let name = format!("denied-{}", document.len());
        let root = sources_of_a_release(&name, "## 1.2.3\n\n- New.\n");
        assert!(notes(&root, "v1.2.3").is_ok());
        fs::write(root.join(document), "Nothing is released yet: wait.\n").unwrap();
        let why = notes(&root, "v1.2.3").unwrap_err();
        assert!(why.contains(&format!("{document} says")), "{why}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn a_tag_that_does_not_fit_the_sources_is_refused() {
    let root = sources_of_a_release("refused", "# Changelog\n\n## Unreleased\n\n- New.\n");
    let why = |tag: &str| notes(&root, tag).unwrap_err();
    assert!(why("v1.2.3").contains("no section \"## 1.2.3\""), "{}", why("v1.2.3"));
    assert!(why("v1.2.4").contains("Cargo.toml has version 1.2.3"), "{}", why("v1.2.4"));
    assert!(why("1.2.3").contains("no tag of a release"), "{}", why("1.2.3"));
    let chart = root.join("deploy/chart/hookd/Chart.yaml");
    fs::write(&chart, "version: 1.2.3\nappVersion: 1.2.2\n").unwrap();
    assert!(why("v1.2.3").contains("appVersion of deploy/chart"), "{}", why("v1.2.3"));
    fs::remove_dir_all(&root).unwrap();
}
