//! The contexts, and how each is laid into the work volume.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::attributes::{Attribute, Attributes};
use super::image;
use test_support::cluster::{repository, run};
use test_support::{RUNNER_ID, RunnerPod, WORK};

/// Longest name of a step.
const LONGEST_STEP_ID: usize = 40;
/// In a Dockerfile: the digest of busybox:1 in the cluster's registry.
const DIGEST: &str = "@BUSYBOX_DIGEST@";

/// A folder with contexts and what docker makes of each.
#[derive(Clone, Debug)]
pub struct Suite {
    folder: PathBuf,
    attributes: Attributes,
}

/// A build context.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of its folder: "01-hello".
    pub name: String,
    folder: PathBuf,
    /// What BuildKit makes of it.
    pub(crate) expected: Value,
}

impl Suite {
    /// That of tests/parity.
    pub fn of_repository() -> Self {
        Self::open(repository("tests/parity"))
    }

    /// That of a folder with `contexts`, `expect` and, unless no context needs it, `attributes`.
    pub fn open(folder: PathBuf) -> Self {
        let text = fs::read_to_string(folder.join("attributes")).unwrap_or_default();
        Self { folder, attributes: Attributes::parse(&text) }
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The contexts that one of these words selects, or all if there are no words: a number, a name
    /// or its beginning.
    ///
    /// # Panics
    /// If a word selects none.
    pub fn contexts(&self, only: &[&str]) -> Vec<Context> {
        let folder = self.folder.join("contexts");
        let entries = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{} has no contexts: {error}", folder.display()));
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_by_key(|name| (number(name).parse::<u32>().unwrap_or(u32::MAX), name.clone()));
        for word in only {
            assert!(names.iter().any(|name| selects(word, name)), "{word:?} is no context");
        }
        names.retain(|name| only.is_empty() || only.iter().any(|word| selects(word, name)));
        names.into_iter().map(|name| self.context(name)).collect()
    }

    fn context(&self, name: String) -> Context {
        let file = self.folder.join("expect").join(format!("{name}.json"));
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let expected = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Context { folder: self.folder.join("contexts").join(&name), name, expected }
    }
}

fn number(name: &str) -> &str {
    name.split_once('-').map_or(name, |(number, _)| number)
}

fn selects(word: &str, name: &str) -> bool {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { number(name) == word } else { name.starts_with(word) }
}

impl Context {
    /// Name of the Dockerfile.
    pub(crate) fn dockerfile(&self) -> &str {
        self.expected["dockerfile"].as_str().unwrap()
    }

    /// True if docker builds it.
    pub(crate) fn docker_builds(&self) -> bool {
        self.expected["build"] == "ok"
    }

    /// What docker says of a context that it refuses.
    pub(crate) fn dockers_error(&self) -> String {
        format!("docker: {}", self.expected["error"].as_str().unwrap_or_default())
    }

    pub(crate) fn step_id(&self) -> String {
        let end = self.name.len().min(LONGEST_STEP_ID);
        self.name[..end].trim_end_matches('-').to_owned()
    }

    /// Puts it where the runner downloads actions to; the path of its Dockerfile there.
    pub(crate) fn lay_out(&self, suite: &Suite, runner: &RunnerPod) -> String {
        let path = format!("{WORK}/_actions/test/{}/v1/{}", self.name, self.dockerfile());
        // With the folders above it.
        runner.write(&path, "");
        self.copy_to(runner.local(&path).parent().unwrap(), suite);
        path
    }

    fn copy_to(&self, folder: &Path, suite: &Suite) {
        copy(&self.folder, folder);
        for (name, attribute) in suite.attributes.of(&self.name) {
            apply(suite, folder, name, &attribute);
        }
    }
}

/// Copies a folder's files with the modes that git keeps.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            make_folder(&to);
            copy(&entry.path(), &to);
            continue;
        }
        let is_executable = entry.metadata().unwrap().permissions().mode() & 0o111 != 0;
        fs::write(&to, filled(fs::read(entry.path()).unwrap())).unwrap();
        give(&to, if is_executable { 0o755 } else { 0o644 });
    }
}

/// The content with the digest in its place.
fn filled(content: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(content) {
        Ok(text) if text.contains(DIGEST) => {
            text.replace(DIGEST, &image::digest("library/busybox:1")).into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn apply(suite: &Suite, context: &Path, name: &str, attribute: &Attribute) {
    let path = context.join(name);
    match attribute {
        Attribute::Mode(mode) => {
            if !path.exists() {
                make_folder(&path);
            }
            give(&path, *mode);
        }
        Attribute::Link(target) => {
            symlink(target, &path).unwrap();
            lchown(&path, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
        }
        Attribute::HardLink(other) => fs::hard_link(context.join(other), &path).unwrap(),
        Attribute::Built => {
            let source = path.file_name().unwrap().to_str().unwrap();
            let source = suite.file(&format!("programs/{source}.c"));
            let mut cc = Command::new("cc");
            cc.args(["-static", "-O2", "-s", "-o"]).arg(&path).arg(&source);
            run(&mut cc, None).unwrap_or_else(|error| panic!("cc {}: {error}", source.display()));
            give(&path, 0o755);
        }
    }
}

fn make_folder(path: &Path) {
    fs::create_dir(path).unwrap();
    give(path, 0o755);
}

/// Gives a file to the runner; a mode with special bits comes after the owner, who would lose them.
fn give(path: &Path, mode: u32) {
    chown(path, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_selects_by_number_or_by_the_beginning_of_a_name() {
        assert!(selects("10", "10-heredoc-run") && !selects("10", "100-user-numbers"));
        assert!(selects("10-heredoc", "10-heredoc-run") && !selects("heredoc", "10-heredoc-run"));
    }

    #[test]
    fn each_context_has_an_expectation_and_its_dockerfile() {
        let suite = Suite::of_repository();
        let contexts = suite.contexts(&[]);
        assert!(contexts.len() > 100);
        for context in contexts {
            assert!(context.folder.join(context.dockerfile()).is_file(), "{}", context.name);
            assert!(context.step_id().len() <= LONGEST_STEP_ID);
        }
    }
}
