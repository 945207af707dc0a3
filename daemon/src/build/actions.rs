//! The Dockerfile actions that the runner has downloaded for a job: those beneath
//! `_actions/<owner>/<repository>/<version>`, whether a step uses them or not.
//!
//! What lies there comes from repositories, and a job may change it meanwhile: all is opened beneath the
//! directories that contexts may lie in, and no more is read than the bounds allow.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, OFlags};
use serde::Deserialize;

use super::context::{self, normalised};
use crate::beneath;
use crate::names::ACTIONS_DIR;
use crate::yaml;

/// Directories between that of all actions and that of an action's version.
const VERSION: usize = 3;
/// Directories beneath that which lead to an action of a repository.
const DEPTH: usize = 5;
/// Directories that are read in all, and entries of them.
const DIRECTORIES: usize = 2_000;
const ENTRIES: usize = 50_000;
/// Definitions that are read in all.
const DEFINITIONS: usize = 500;

#[derive(Deserialize)]
struct Definition {
    runs: Runs,
}

#[derive(Deserialize)]
struct Runs {
    using: Option<String>,
    image: Option<String>,
}

/// A directory to look at.
struct Place {
    path: PathBuf,
    depth: usize,
}

/// At most `limit` Dockerfiles of actions, those in the directories of whole repositories first. Reads
/// files; what cannot be read is passed over.
pub fn dockerfiles(work_dir: &Path, roots: &[PathBuf], limit: usize) -> Vec<PathBuf> {
    let Some(path) = normalised(&work_dir.join(ACTIONS_DIR)) else { return Vec::new() };
    let mut places = VecDeque::from([Place { path, depth: 0 }]);
    let (mut found, mut entries, mut definitions) = (Vec::new(), ENTRIES, DEFINITIONS);
    for _ in 0..DIRECTORIES {
        let Some(place) = places.pop_front() else { break };
        let Some(listed) = list(roots, &place, &mut entries) else { continue };
        for name in ["action.yml", "action.yaml"] {
            let is_definition =
                place.depth >= VERSION && listed.files.iter().any(|file| file == name);
            if !is_definition || definitions == 0 {
                continue;
            }
            definitions -= 1;
            if let Some(dockerfile) = dockerfile_of(roots, &place.path.join(name))
                && !found.contains(&dockerfile)
            {
                found.push(dockerfile);
            }
            break;
        }
        if found.len() >= limit || entries == 0 {
            break;
        }
        let below = listed.directories.into_iter();
        places.extend(
            below.map(|name| Place { path: place.path.join(name), depth: place.depth + 1 }),
        );
    }
    found.truncate(limit);
    found
}

/// Names in a directory, sorted.
#[derive(Default)]
struct Listed {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn list(roots: &[PathBuf], place: &Place, entries: &mut usize) -> Option<Listed> {
    let directory = beneath::open(roots, &place.path, OFlags::DIRECTORY).ok()?;
    let mut listed = Listed::default();
    for entry in Dir::read_from(directory).ok()? {
        *entries = entries.checked_sub(1)?;
        let entry = entry.ok()?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        // `.git` and `.github`, too.
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        match entry.file_type() {
            FileType::RegularFile => listed.files.push(name.into()),
            // The runner makes a version a link into its cache of actions.
            FileType::Symlink if place.depth + 1 == VERSION => listed.directories.push(name.into()),
            FileType::Directory if place.depth < VERSION + DEPTH && name != "node_modules" => {
                listed.directories.push(name.into());
            }
            _ => {}
        }
    }
    listed.directories.sort();
    Some(listed)
}

/// The Dockerfile that a definition names.
fn dockerfile_of(roots: &[PathBuf], definition: &Path) -> Option<PathBuf> {
    let text = match context::read_small(roots, definition, yaml::LIMIT as u64) {
        Ok(text) => text?,
        Err(error) => {
            tracing::debug!(path = %definition.display(), %error, "a definition is passed over");
            return None;
        }
    };
    let runs = match yaml::parse::<Definition>(&text) {
        Ok(definition) => definition.runs,
        Err(error) => {
            tracing::debug!(path = %definition.display(), %error, "a definition is passed over");
            return None;
        }
    };
    let image = runs.image.filter(|image| is_dockerfile(image))?;
    let is_docker = runs.using.is_some_and(|using| using.eq_ignore_ascii_case("docker"));
    let dockerfile = normalised(&definition.parent()?.join(image))?;
    is_docker.then_some(dockerfile)
}

/// As the runner has it: `Dockerfile`, `Dockerfile.<anything>`, `<anything>.Dockerfile`.
fn is_dockerfile(image: &str) -> bool {
    let name = Path::new(image).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let is_image = image.starts_with("docker://");
    !is_image
        && (name == "dockerfile"
            || name.starts_with("dockerfile.")
            || name.ends_with(".dockerfile"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const DOCKER: &str = "runs: {using: docker, image: Dockerfile}";

    fn write(root: &Path, action: &str, text: &str) {
        let directory = root.join(ACTIONS_DIR).join(action);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("action.yml"), text).unwrap();
    }

    fn found(root: &Path, limit: usize) -> Vec<String> {
        let base = root.join(ACTIONS_DIR);
        let all = dockerfiles(root, &[root.to_owned()], limit);
        all.iter().map(|path| path.strip_prefix(&base).unwrap().display().to_string()).collect()
    }

    #[test]
    fn dockerfile_actions_of_all_repositories_are_found() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "o/a/v1", DOCKER);
        write(root.path(), "o/a/v1/sub/of", "runs: {using: Docker, image: ./d/x.Dockerfile}");
        write(root.path(), "o/b/v1", "runs: {using: docker, image: 'docker://busybox:1'}");
        write(root.path(), "o/c/v1", "runs: {using: node20, main: x.js}");
        write(root.path(), "o/d/v1", "runs: [");
        write(root.path(), "o/e/v1/.github/x", DOCKER);
        // Where no action of a repository can be.
        write(root.path(), "o/f", DOCKER);
        assert_eq!(found(root.path(), 9), ["o/a/v1/Dockerfile", "o/a/v1/sub/of/d/x.Dockerfile"]);
        assert_eq!(found(root.path(), 1), ["o/a/v1/Dockerfile"]);
        assert!(found(tempfile::tempdir().unwrap().path(), 9).is_empty());
    }

    #[test]
    fn a_link_is_followed_to_a_version_in_the_cache_only() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(root.path().join("cached")).unwrap();
        for directory in [&root.path().join("cached"), outside.path()] {
            fs::write(directory.join("action.yml"), DOCKER).unwrap();
            symlink(directory, directory.join("again")).unwrap();
        }
        let repository = root.path().join(ACTIONS_DIR).join("o/a");
        fs::create_dir_all(&repository).unwrap();
        symlink(root.path().join("cached"), repository.join("v1")).unwrap();
        symlink(outside.path(), repository.join("v2")).unwrap();
        assert_eq!(found(root.path(), 9), ["o/a/v1/Dockerfile"]);
    }

    #[test]
    fn a_tree_without_end_is_left_unread() {
        let root = tempfile::tempdir().unwrap();
        let deep = format!("o/a/v1/{}", ["d"; DEPTH + 1].join("/"));
        write(root.path(), &deep, DOCKER);
        assert!(found(root.path(), 9).is_empty());
        for number in 0..DIRECTORIES {
            fs::create_dir_all(root.path().join(format!("{ACTIONS_DIR}/o/b/v1/{number}"))).unwrap();
        }
        write(root.path(), "o/b/v1/z", DOCKER);
        assert!(found(root.path(), 9).is_empty());
    }
}
