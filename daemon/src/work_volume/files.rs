//! The runner's files that a step is to use: directories exist, and what the step writes to is
//! writable for the image's user, whichever that is.
//!
//! All of it lies in the work directory, which the steps of the job write to: nothing is followed,
//! and what a job did to its own files ends no later step. Where hookd cannot put something right,
//! it says so, and the step runs with what is there, as in docker mode.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use hookd_api::v1::Mount;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::beneath::{Kept, Tree, Widened};
use crate::error::Failure;
use crate::objects::mounts::beneath;
use crate::work_volume::error::VolumeError;

/// Bytes of a path that Linux opens, its NUL included.
const LONGEST_PATH: usize = 4096;
/// Where the runner's file commands (GITHUB_OUTPUT and the others) are mounted.
pub(super) const FILE_COMMANDS: &str = "/github/file_commands";
/// ... and where the job container sees them.
pub(super) const JOB_FILE_COMMANDS: &str = "/__w/_temp/_runner_file_commands";
/// Their directory in the work directory.
pub(super) const FILE_COMMANDS_DIR: &str = "_temp/_runner_file_commands";
/// The step's HOME.
const HOME: &str = "/github/home";
/// Its directory in the work directory.
const HOME_DIR: &str = "_temp/_github_home";

/// Makes the directories beneath the work directory that are to be mounted, as the runner's user:
/// the kubelet would make them as root. Returns warnings for the user.
///
/// # Errors
/// `VOLUME_FULL`, `VOLUME_READ_ONLY` or `CLAIM_UNUSABLE`: a volume that takes no directory, whatever
/// the job did.
pub fn make_directories(work_dir: &Path, directories: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let tree = Tree::open(work_dir).map_err(|error| unusable(work_dir, error))?;
    let mut warnings = Vec::new();
    for directory in directories {
        let inside = beneath(directory, work_dir).unwrap_or_default();
        match make(&tree, &inside) {
            Ok(None) => {}
            Ok(Some(kind)) => warnings.push(format!(
                "{} was a {}: hookd replaced it with an empty directory",
                directory.display(),
                name(kind)
            )),
            Err(error) if is_the_jobs_doing(error) => warnings.push(format!(
                "{} cannot be made ready for the step: {}; the step starts with what is there",
                directory.display(),
                io::Error::from(error)
            )),
            Err(error) => return Err(unusable(directory, error)),
        }
    }
    Ok(warnings)
}

/// What was replaced by the directory, if something was.
fn make(tree: &Tree, inside: &Path) -> Result<Option<FileType>, Errno> {
    // The runner's own directories have names like _temp.
    let own = inside.as_os_str().as_encoded_bytes().starts_with(b"_");
    match tree.kind(inside) {
        Ok(FileType::Directory) => return Ok(None),
        // Files can be mounted too.
        Ok(_) if !own => return Ok(None),
        _ => {}
    }
    let kept = if own { Kept::Nothing } else { Kept::Files };
    tree.directory(inside, kept).map(|(_, replaced)| replaced)
}

/// What permissions and types of files answer; all else is the volume's.
fn is_the_jobs_doing(error: Errno) -> bool {
    matches!(
        error,
        Errno::ACCESS
            | Errno::PERM
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NOENT
            | Errno::AGAIN
            | Errno::NOTEMPTY
            | Errno::BUSY
    )
}

/// Opens HOME and this step's file-command files to every user, as far as they are the runner's. A
/// HOME that its owner has closed to others stays closed.
pub fn open_to_all(mounts: &[Mount], environment: &BTreeMap<String, String>, work_dir: &Path) {
    if let Some(home) = source(HOME, mounts, work_dir) {
        widen(work_dir, &home, FileType::Directory, true);
    }
    let Some(directory) = mounted_file_commands(mounts, work_dir) else { return };
    for name in file_commands(environment, FILE_COMMANDS) {
        widen(work_dir, &directory.join(name), FileType::RegularFile, false);
    }
}

/// Opens the file-command files that a script step's environment names, as the job container sees
/// them beneath /__w.
pub fn open_file_commands(environment: &BTreeMap<String, String>, work_dir: &Path) {
    for name in file_commands(environment, JOB_FILE_COMMANDS) {
        let file = Path::new(FILE_COMMANDS_DIR).join(name);
        widen(work_dir, &file, FileType::RegularFile, false);
    }
}

/// Opens the job's HOME to every user if it is among these directories.
pub fn open_home(work_dir: &Path, directories: &[PathBuf]) {
    let home = Path::new(HOME_DIR);
    if directories.contains(&work_dir.join(home)) {
        widen(work_dir, home, FileType::Directory, false);
    }
}

/// The variables that can name a file: not those whose values are longer than a path.
pub fn paths(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short =
        |(_, value): &(&String, &String)| value.len() < LONGEST_PATH && value.starts_with('/');
    let paths = environment.iter().filter(short);
    paths.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What is mounted at a path of a container step, beneath the work directory.
fn source(target: &str, mounts: &[Mount], work_dir: &Path) -> Option<PathBuf> {
    let mount = mounts.iter().find(|mount| mount.target_volume_path == target)?;
    beneath(Path::new(&mount.source_volume_path), work_dir)
}

/// The directory of a container step's file commands, beneath the work directory.
pub(super) fn mounted_file_commands(mounts: &[Mount], work_dir: &Path) -> Option<PathBuf> {
    source(FILE_COMMANDS, mounts, work_dir)
}

/// Names of the files in `directory` that variables name.
fn file_commands<'a>(
    environment: &'a BTreeMap<String, String>,
    directory: &'a str,
) -> impl Iterator<Item = &'a Path> {
    environment.values().filter_map(move |value| file_command(value, directory))
}

/// The name of a file in `directory`. A workflow may set any variable to any path: no other file is one.
pub(super) fn file_command<'a>(value: &'a str, directory: &str) -> Option<&'a Path> {
    let name = Path::new(value).strip_prefix(directory).ok()?;
    let mut components = name.components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        .then_some(name)
}

/// Lets every user write to what the runner made. What a job did to it is the job's affair.
fn widen(work_dir: &Path, inside: &Path, kind: FileType, keep_private: bool) {
    let bits = if kind == FileType::Directory { 0o777 } else { 0o666 };
    let changed = Tree::open(work_dir)
        .and_then(|tree| tree.widen(inside, kind, Mode::from_raw_mode(bits), keep_private));
    match changed {
        Ok(Widened::Done) | Err(Errno::NOENT) => {}
        Ok(left) => tracing::info!(path = %inside.display(), ?left, "mode left as the job made it"),
        Err(error) => {
            let error = io::Error::from(error);
            tracing::warn!(path = %inside.display(), %error, "the mode cannot be changed");
        }
    }
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "symlink",
        FileType::RegularFile => "file",
        _ => "special file",
    }
}

fn unusable(path: &Path, error: Errno) -> Failure {
    let what = format!("{} cannot be made ready for the step", path.display());
    VolumeError::new(what, error.into()).into()
}

#[cfg(test)]
mod tests;
