//! Finds a step's program as `docker exec` does: on the step's PATH, in the container, without a
//! shell.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::param::page_size;

/// PATH of a container whose image sets none, as docker has it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of arguments and environment that Linux never takes more of; often it takes less, a quarter
/// of the limit of the stack.
const LARGEST_TOTAL: usize = 6 << 20;
/// Pages that one argument or variable may have, its final null byte among them.
const LARGEST_PAGES: usize = 32;
/// Characters of a name in a message.
const SHOWN: usize = 100;

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
    /// The user that it is to run as.
    #[error("there is no {what} {name:?} in the container's /etc/{file}")]
    NoUser {
        /// "user" or "group".
        what: &'static str,
        /// As the image names it.
        name: String,
        /// Where it is looked for.
        file: &'static str,
    },
    /// The kernel does not take it.
    #[error("{program:?} cannot be executed: {why}")]
    Refused {
        /// The program.
        program: String,
        /// The kernel's message.
        why: String,
    },
    /// The kernel would not take its arguments or its environment.
    #[error("{program:?} cannot be executed: {why}")]
    Unfit {
        /// The program.
        program: String,
        /// What is wrong; it names no value.
        why: String,
    },
}

impl ProgramError {
    /// The exit code of a step that has not begun.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::NotFound(_) | Self::NotOnPath { .. } | Self::NoDirectory(_) => 127,
            Self::NotExecutable(_)
            | Self::NoUser { .. }
            | Self::Refused { .. }
            | Self::Unfit { .. } => 126,
        }
    }

    /// What the kernel said to the execution of `program`.
    pub(crate) fn refused(program: &str, error: &io::Error) -> Self {
        let why = match Errno::from_io_error(error) {
            Some(Errno::TOOBIG) => {
                "its arguments and environment have more bytes together than Linux accepts, which is a \
                 quarter of the limit of the stack (ulimit -s)"
                    .to_owned()
            }
            Some(Errno::NOEXEC) => {
                "it is made for another platform than this node, or is a script without a `#!` line"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self::Refused { program: program.to_owned(), why }
    }
}

/// Finds what no kernel takes, before it is copied anywhere.
///
/// # Errors
/// The argument or the variable that is too large or has a null byte, or the size of all together.
pub(crate) fn check(argv: &[String], environment: &[(String, String)]) -> Result<(), ProgramError> {
    let largest = LARGEST_PAGES * page_size() - 1;
    let unfit = |why| ProgramError::Unfit { program: shown(argv.first()), why };
    let mut total = 0;
    let arguments = argv.iter().enumerate().map(|(at, text)| (None, at, text.len(), [text, text]));
    let variables = environment
        .iter()
        .enumerate()
        .map(|(at, (name, value))| (Some(name), at, name.len() + 1 + value.len(), [name, value]));
    for (name, at, length, texts) in arguments.chain(variables) {
        let what = || match name {
            Some(_) => format!("the variable {:?}", shown(name)),
            None => format!("its argument {at}"),
        };
        if length > largest {
            return Err(unfit(format!("{} has {length} bytes, Linux accepts {largest}", what())));
        }
        if texts.iter().any(|text| text.contains('\0')) {
            return Err(unfit(format!("{} has a null byte", what())));
        }
        total += length + 1 + size_of::<usize>();
    }
    if total > LARGEST_TOTAL {
        return Err(unfit(format!(
            "its arguments and environment have {total} bytes together, Linux accepts at most \
             {LARGEST_TOTAL}"
        )));
    }
    Ok(())
}

fn shown(text: Option<&String>) -> String {
    text.into_iter().flat_map(|text| text.chars()).take(SHOWN).collect()
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
    fn what_no_kernel_takes_is_named_before_it_is_tried() {
        let text = |length: usize| "x".repeat(length);
        let check = |argv: &[&str], variables: &[(&str, &str)]| {
            let argv: Vec<_> = argv.iter().map(|text| (*text).to_owned()).collect();
            let pairs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            check(&argv, &pairs.collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        let most = 32 * page_size() - 1;
        assert_eq!(check(&["a", &text(most)], &[("V", &text(most - 2))]), Ok(()));
        for (argv, variables, words) in [
            (vec!["a", &text(most + 1)], vec![], "its argument 1 has"),
            (vec!["a"], vec![("SECRET", text(most))], "the variable \"SECRET\" has"),
            (vec!["a\0b"], vec![], "its argument 0 has a null byte"),
            (vec!["a"], vec![("A\0", String::new())], "the variable \"A\\0\" has a null byte"),
            (vec!["a"], vec![("V", "x\0".to_owned())], "the variable \"V\" has a null byte"),
        ] {
            let pairs: Vec<_> =
                variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let error = check(&argv, &pairs).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(error.len() < 400, "{error}");
        }
        let many = vec![text(100_000); 70];
        let error = super::check(&many, &[]).unwrap_err();
        assert!(error.to_string().contains("bytes together"), "{error}");
        assert_eq!(error.code(), 126);
        let error = ProgramError::refused("a", &io::Error::from_raw_os_error(7));
        assert!(error.to_string().contains("quarter of the limit of the stack"), "{error}");
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
