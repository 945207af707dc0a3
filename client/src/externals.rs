//! Node.js for job containers in the runner pod: they see the runner's externals in a volume, into which
//! a version is copied when the first step of the pod needs it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use hookd_api::transport::{AGENTS_DIR, EXTERNALS_DIR};

/// Where a job container sees the externals.
const IN_CONTAINER: &str = "/__e";
/// Where the runner has them.
const OF_RUNNER: &str = "/home/runner/externals";
/// Another directory of the runner's externals.
const SETTING: &str = "HOOK_EXTERNALS";
/// Another directory for the volume.
const VOLUME: &str = "HOOK_EXTERNALS_VOLUME";

/// A version cannot be copied.
#[derive(Debug, thiserror::Error)]
#[error("{from:?} cannot be copied to {to:?} for the job container: {source}")]
pub(crate) struct CopyError {
    from: PathBuf,
    to: PathBuf,
    source: io::Error,
}

/// The externals of the runner, and the volume of the job containers.
#[derive(Debug, PartialEq)]
pub(crate) struct Externals {
    from: PathBuf,
    volume: PathBuf,
}

impl Externals {
    /// Those of this runner pod; none if its jobs run in pods of their own.
    pub(crate) fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let from = set(SETTING).unwrap_or_else(|| OF_RUNNER.into());
        let volume = set(VOLUME).unwrap_or_else(|| Path::new(AGENTS_DIR).join(EXTERNALS_DIR));
        volume.is_dir().then_some(Self { from, volume })
    }

    /// Copies what a program needs that lies in the externals, unless it was copied before.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub(crate) fn provide(&self, program: &str) -> Result<(), CopyError> {
        let Some(version) = version(Path::new(program)) else { return Ok(()) };
        let (from, to) = (self.from.join(version), self.volume.join(version));
        // A program that the runner does not have is not found in the container either.
        if to.exists() || !from.is_dir() {
            return Ok(());
        }
        // Several steps may need it at once: each copies, and the first to end gives its copy the name.
        let new = self.volume.join(format!(".{version}.{}", std::process::id()));
        let copied = copy(&from, &new).and_then(|()| match fs::rename(&new, &to) {
            Err(_) if to.exists() => Ok(()),
            renamed => renamed,
        });
        // What was not renamed.
        let _ = fs::remove_dir_all(&new);
        copied.map_err(|source| CopyError { from, to, source })
    }
}

/// The directory of the externals that a program lies in.
fn version(program: &Path) -> Option<&str> {
    match program.strip_prefix(IN_CONTAINER).ok()?.components().next()? {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn externals(root: &Path) -> Externals {
        let externals = Externals { from: root.join("of-runner"), volume: root.join("volume") };
        let bin = externals.from.join("node20/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("node"), "program").unwrap();
        std::os::unix::fs::symlink("node", bin.join("nodejs")).unwrap();
        fs::create_dir(&externals.volume).unwrap();
        externals
    }

    #[test]
    fn one_version_is_copied_once_with_its_links() {
        let root = tempfile::tempdir().unwrap();
        let externals = externals(root.path());
        externals.provide("/__e/node20/bin/node").unwrap();
        let copied = externals.volume.join("node20/bin");
        assert_eq!(fs::read_to_string(copied.join("nodejs")).unwrap(), "program");
        fs::write(copied.join("node"), "in use").unwrap();
        externals.provide("/__e/node20/bin/node").unwrap();
        assert_eq!(fs::read_to_string(copied.join("node")).unwrap(), "in use");
        assert_eq!(fs::read_dir(&externals.volume).unwrap().count(), 1);
    }

    #[test]
    fn programs_of_the_image_and_unknown_versions_copy_nothing() {
        let root = tempfile::tempdir().unwrap();
        let externals = externals(root.path());
        for program in ["sh", "/bin/sh", "/__e", "/__e/../x", "/__e/node99/bin/node", ""] {
            externals.provide(program).unwrap();
        }
        assert_eq!(fs::read_dir(&externals.volume).unwrap().count(), 0);
    }

    #[test]
    fn a_runner_whose_jobs_have_pods_of_their_own_has_no_volume() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("volume");
        let variable = |name: &str| (name == VOLUME).then(|| volume.clone().into());
        assert_eq!(Externals::find(variable), None);
        fs::create_dir_all(&volume).unwrap();
        let found = Externals::find(variable).unwrap();
        assert_eq!(found.from, Path::new(OF_RUNNER));
    }
}
