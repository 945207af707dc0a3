//! Finds a step's program as `docker exec` does: on the step's PATH, in the container, without a
//! shell.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// PATH of a container whose image sets none, as docker has it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program cannot be started. The codes are those of `docker exec`.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ProgramError {
    /// There is no such file.
    #[error("{0:?} does not exist in the container")]
    NotFound(String),
    /// It stands in no directory of PATH.
    #[error("{program:?} is not on the PATH of the container ({path})")]
    NotOnPath {
        /// The program.
        program: String,
        /// The directories looked at.
        path: String,
    },
    /// It is there and may not be executed.
    #[error("{0:?} in the container is not an executable file")]
    NotExecutable(String),
    /// The directory that it is to run in.
    #[error("the working directory {0:?} does not exist in the container")]
    NoDirectory(String),
    /// The kernel does not take it.
    #[error("{program:?} cannot be executed: {why}")]
    Refused {
        /// The program.
        program: String,
        /// The kernel's words.
        why: String,
    },
}

impl ProgramError {
    /// The exit code of a step that has not begun.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::NotFound(_) | Self::NotOnPath { .. } | Self::NoDirectory(_) => 127,
            Self::NotExecutable(_) | Self::Refused { .. } => 126,
        }
    }

    /// What the kernel said to the execution of `program`.
    pub(crate) fn refused(program: &str, error: &io::Error) -> Self {
        Self::Refused { program: program.to_owned(), why: error.to_string() }
    }
}

/// The file to execute for `program`, looked for from `directory` on.
pub(crate) fn find(program: &str, path: &str, directory: &Path) -> Result<PathBuf, ProgramError> {
    if !directory.is_dir() {
        return Err(ProgramError::NoDirectory(directory.display().to_string()));
    }
    if program.contains('/') {
        let file = directory.join(program);
        return match is_executable(&file) {
            Some(true) => Ok(file),
            Some(false) => Err(ProgramError::NotExecutable(program.to_owned())),
            None => Err(ProgramError::NotFound(program.to_owned())),
        };
    }
    let mut found = None;
    for entry in path.split(':') {
        // An empty entry is the current directory.
        let file = directory.join(entry).join(program);
        match is_executable(&file) {
            Some(true) => return Ok(file),
            Some(false) => found = Some(file),
            None => {}
        }
    }
    let not_on_path =
        ProgramError::NotOnPath { program: program.to_owned(), path: path.to_owned() };
    Err(found.map_or(not_on_path, |file| ProgramError::NotExecutable(file.display().to_string())))
}

/// None: there is no such file.
fn is_executable(file: &Path) -> Option<bool> {
    let metadata = file.metadata().ok()?;
    let bytes = OsStr::as_bytes(file.as_os_str());
    Some(metadata.is_file() && access(bytes, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("a/plain", 0o644)] {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        root
    }

    #[test]
    fn the_first_executable_on_the_path_is_taken() {
        let root = tree();
        let path = format!("{0}/none:{0}/a:{0}/b", root.path().display());
        assert_eq!(find("tool", &path, root.path()).unwrap(), root.path().join("b/tool"));
        assert_eq!(find("tool", "a:b", root.path()).unwrap(), root.path().join("b/tool"));
    }

    #[test]
    fn what_cannot_be_started_has_the_codes_of_docker_exec() {
        let root = tree();
        let code = |program: &str, path: &str| find(program, path, root.path()).unwrap_err().code();
        assert_eq!(code("nowhere", "/bin-none"), 127);
        assert_eq!(code("./a/none", ""), 127);
        assert_eq!(code("plain", "a"), 126);
        assert_eq!(code("./a", ""), 126);
        let error = find("tool", "", Path::new("/no/such/directory")).unwrap_err();
        assert_eq!(error.code(), 127);
        assert!(error.to_string().contains("/no/such/directory"));
    }
}
