//! The documents: each block of shell lines is run or says why not, and the contents name every page.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the documents must fail")]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::blocks::{self, Mark, ShellBlock, blocks_of, documents, run_by, shell_blocks};
use rules::{files, repository};

/// What runs the commands of the README.
const CI: &str = ".ci/run";
/// Words that a reason has at least.
const SHORTEST_REASON: usize = 3;
/// How a line begins that a reader pastes into a shell.
const COMMANDS: [&str; 8] =
    ["kubectl ", "helm ", "make ", "podman ", "docker ", "kind ", "cargo ", "$ "];

/// They find their blocks by these names, and fail for one that they cannot run.
const RUNNERS: [&str; 3] = [CI, "daemon/tests/examples.rs", "tests/e2e/tests/cluster/documents.rs"];

/// What is wrong with the mark of a block.
fn wrong_mark(block: &ShellBlock) -> Option<String> {
    match &block.mark {
        Mark::None => Some(
            "say `run-by: <test or script>` or `not-run: <why>` behind the block's language".into(),
        ),
        Mark::NotRun(why) if why.split_whitespace().count() < SHORTEST_REASON => {
            Some(format!("{why:?} is no reason"))
        }
        Mark::NotRun(_) => None,
        Mark::RunBy(runner) => (!RUNNERS.contains(&runner.as_str()))
            .then(|| format!("{runner} does not take blocks from documents")),
    }
}

#[test]
fn every_shell_block_is_run_or_says_why_not() {
    let blocks = shell_blocks();
    let wrong = |block: &ShellBlock| {
        wrong_mark(block).map(|why| format!("{}:{}: {why}", block.document, block.line))
    };
    let wrong: Vec<_> = blocks.iter().filter_map(wrong).collect();
    assert!(blocks.len() > 15, "{} blocks", blocks.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_block_without_a_mark_or_a_reason_is_found() {
    let text = "```sh\na\n```\n  ```bash not-run: later\n  b\n   c\n  ```\n```yaml\nd: e\n```\n\
                ````console run-by: nowhere/x.rs\n```\n````\n```sh not-run: needs a cluster of yours\n# f\ng\n h\n```\n";
    let blocks = blocks_of("x.md", text);
    let lines: Vec<_> = blocks.iter().map(|block| block.line).collect();
    assert_eq!(lines, [1, 4, 11, 14]);
    assert_eq!(blocks[1].text, "b\n c\n");
    assert_eq!(blocks[3].commands(), ["g\n h"]);
    let wrong: Vec<_> = blocks.iter().map(wrong_mark).collect();
    assert!(wrong[0].as_deref().is_some_and(|why| why.contains("not-run: <why>")), "{wrong:?}");
    assert!(wrong[1].as_deref().is_some_and(|why| why.contains("\"later\"")), "{wrong:?}");
    assert!(wrong[2].as_deref().is_some_and(|why| why.contains("nowhere/x.rs")), "{wrong:?}");
    assert_eq!(wrong[3], None);
}

#[test]
fn commands_of_a_line_of_their_own_stand_in_a_block() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for (index, line) in outside_of_shell_blocks(&text) {
            let is_command = COMMANDS.iter().any(|begin| line.trim_start().starts_with(begin));
            if is_command {
                wrong.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "put them between ```sh and ```:\n{}", wrong.join("\n"));
}

#[test]
fn a_command_in_a_block_of_no_shell_is_found() {
    let text = "```sh\na\n```\nb\n    c\n```text\nd\n```\n```\ne\n```\n";
    let lines = outside_of_shell_blocks(text).into_iter().map(|(_, line)| line);
    assert_eq!(lines.collect::<Vec<_>>(), ["    c", "d", "e"]);
}

/// Lines that Markdown shows as they are, but for those of shell blocks.
fn outside_of_shell_blocks(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_shell: Option<bool> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), is_shell) {
            (Some(info), None) => is_shell = Some(blocks::is_shell(info)),
            (Some(_), Some(_)) => is_shell = None,
            (None, Some(true)) => {}
            (None, Some(false)) => found.push((index, line)),
            (None, None) if line.starts_with("    ") => found.push((index, line)),
            (None, None) => {}
        }
    }
    found
}

/// A directory for PATH in which `make` writes down what it is asked for.
fn with_a_make_that_notes(notes: &Path) -> PathBuf {
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("make-{}", std::process::id()));
    fs::create_dir_all(&bin).unwrap();
    let make = bin.join("make");
    fs::write(&make, format!("#!/bin/sh\necho \"make $*\" >>'{}'\n", notes.display())).unwrap();
    fs::set_permissions(&make, fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// The rest of the repository is what these commands start.
#[test]
fn ci_runs_the_commands_of_the_readme() {
    let name = format!("made-{}", std::process::id());
    let notes = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let bin = with_a_make_that_notes(&notes);
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap());
    let ran = Command::new(repository().join(CI)).env("PATH", path).output().unwrap();
    let made = fs::read_to_string(&notes).unwrap_or_default();
    fs::remove_dir_all(&bin).unwrap();
    fs::remove_file(&notes).unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let asked: Vec<_> = run_by(CI).iter().flat_map(ShellBlock::commands).collect();
    let without_comments = asked.iter().map(|line| line.split('#').next().unwrap().trim());
    let expected: Vec<_> = without_comments.chain(["make cluster-down"]).collect();
    assert_eq!(made.lines().collect::<Vec<_>>(), expected);
    assert!(expected.contains(&"make test"), "{expected:?}");
}

#[test]
fn the_contents_name_every_page() {
    let contents = fs::read_to_string(repository().join("docs/README.md")).unwrap();
    let mut missing = Vec::new();
    for page in files("docs", &[".md"], 1) {
        let name = page.file_name().unwrap().to_str().unwrap();
        if name != "README.md" && !contents.contains(&format!("]({name})")) {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "docs/README.md does not name {missing:?}");
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.contains("](docs/README.md)"), "README.md does not link to the contents");
}

#[test]
fn troubleshooting_leads_to_every_reason() {
    let read = |page: &str| fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let (errors, symptoms) = (read("errors.md"), read("troubleshooting.md"));
    let reasons: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix("## `")).collect();
    let link =
        |reason: &str| format!("](errors.md#{})", reason.trim_end_matches('`').to_lowercase());
    let missing: Vec<_> =
        reasons.iter().filter(|reason| !symptoms.contains(&link(reason))).collect();
    assert!(reasons.len() > 25 && missing.is_empty(), "no symptom leads to {missing:?}");
}
