//! The runner's files that a step is to use: directories exist, and what the step writes to is
//! writable for the image's user, whoever that is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hookd_api::v1::Mount;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Failure, Reason, report};

/// Where the runner's file commands (GITHUB_OUTPUT and the others) are mounted.
const FILE_COMMANDS: &str = "/github/file_commands";
/// The step's HOME.
const HOME: &str = "/github/home";

/// Makes the directories that are to be mounted, as the runner's user: the kubelet would make
/// them as root.
///
/// # Errors
/// A directory that cannot be made.
pub fn make_directories(directories: &[PathBuf]) -> Result<(), Failure> {
    directories.iter().try_for_each(|directory| {
        std::fs::create_dir_all(directory).map_err(|error| unusable(directory, &error))
    })
}

/// Opens HOME and this step's file-command files to every user.
///
/// # Errors
/// A file that is there and is not ours to open.
pub fn open_to_all(
    mounts: &[Mount],
    environment: &BTreeMap<String, String>,
    work_dir: &Path,
) -> Result<(), Failure> {
    let source = |target: &str| {
        let mount = mounts.iter().find(|mount| mount.target_volume_path == target);
        mount.map(|mount| Path::new(&mount.source_volume_path))
    };
    if let Some(home) = source(HOME) {
        open(home, work_dir, Mode::from_raw_mode(0o777))?;
    }
    let Some(directory) = source(FILE_COMMANDS) else { return Ok(()) };
    let names =
        environment.values().filter_map(|value| Path::new(value).strip_prefix(FILE_COMMANDS).ok());
    for name in names {
        open(&directory.join(name), work_dir, Mode::from_raw_mode(0o666))?;
    }
    Ok(())
}

/// Opens the file-command files that a script step's environment names, as the job container sees
/// them beneath /__w.
///
/// # Errors
/// A file that is there and is not ours to open.
pub fn open_file_commands(
    environment: &BTreeMap<String, String>,
    work_dir: &Path,
) -> Result<(), Failure> {
    let inside =
        environment.values().filter_map(|value| Path::new(value).strip_prefix("/__w").ok());
    let commands = inside.filter(|path| path.starts_with("_temp/_runner_file_commands"));
    commands
        .map(|path| work_dir.join(path))
        .try_for_each(|path| open(&path, work_dir, Mode::from_raw_mode(0o666)))
}

/// Opens the job's HOME among these directories to every user.
///
/// # Errors
/// When it is not ours to open.
pub fn open_home(directories: &[PathBuf]) -> Result<(), Failure> {
    let home = directories.iter().find(|path| path.ends_with("_temp/_github_home"));
    let Some((home, parent)) = home.and_then(|home| Some((home, home.parent()?))) else {
        return Ok(());
    };
    open(home, parent, Mode::from_raw_mode(0o777))
}

/// Changes the mode without following a link that a job may have put there.
fn open(path: &Path, work_dir: &Path, mode: Mode) -> Result<(), Failure> {
    let change = || -> io::Result<()> {
        let inside = path.strip_prefix(work_dir).map_err(io::Error::other)?;
        let root = rustix::fs::open(work_dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(root, inside, flags, Mode::empty(), resolve)?;
        let now = Mode::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if !now.contains(mode) {
            rustix::fs::fchmod(&file, now | mode)?;
        }
        Ok(())
    };
    match change() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        changed => changed.map_err(|error| unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Reason::InvalidInput,
        format!("{} cannot be made ready for the step: {}", path.display(), report(error)),
        "The runner's user must own its work directory; look at the volume's permissions",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mount(source: &Path, target: &str) -> Mount {
        Mount {
            source_volume_path: source.to_str().unwrap().into(),
            target_volume_path: target.into(),
            ..Mount::default()
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn this_steps_file_commands_and_home_are_opened_and_others_are_not() {
        let work = tempfile::tempdir().unwrap();
        let (commands, home) = (work.path().join("commands"), work.path().join("home"));
        make_directories(&[commands.clone(), home.clone()]).unwrap();
        for name in ["set_output_1", "set_output_0"] {
            std::fs::write(commands.join(name), "").unwrap();
            let closed = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(commands.join(name), closed).unwrap();
        }
        let output = ("GITHUB_OUTPUT".to_owned(), "/github/file_commands/set_output_1".to_owned());
        let gone = ("GITHUB_ENV".to_owned(), "/github/file_commands/gone".to_owned());
        let mounts = [mount(&commands, FILE_COMMANDS), mount(&home, HOME)];
        open_to_all(&mounts, &BTreeMap::from([output, gone]), work.path()).unwrap();
        assert_eq!(mode(&commands.join("set_output_1")), 0o666);
        assert_eq!(mode(&commands.join("set_output_0")), 0o644);
        assert_eq!(mode(&home), 0o777);
    }

    #[test]
    fn a_link_in_place_of_home_is_not_followed() {
        let work = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let home = work.path().join("home");
        std::os::unix::fs::symlink(outside.path(), &home).unwrap();
        let error = open_to_all(&[mount(&home, HOME)], &BTreeMap::new(), work.path()).unwrap_err();
        assert!(error.message.contains("home"), "{error}");
    }
}
