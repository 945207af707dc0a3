//! The response file: where the runner reads what a command that succeeded has to say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::report::Explain;

/// An object without `state`: the runner keeps the state that it has.
const CONTENT: &[u8] = b"{}";

/// The response file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("The response file {path} cannot be written")]
pub(crate) struct ResponseError {
    /// The file that the runner named.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// Writes the response to `path`, at once: a reader sees the old content or all of the new.
pub(crate) fn write(path: &Path) -> Result<(), ResponseError> {
    // Where no file can be made or replaced, the runner's own file may still be writable.
    replace(path)
        .or_else(|_| fs::write(path, CONTENT))
        .map_err(|source| ResponseError { path: path.to_owned(), source })
}

/// Writes a file beside `path` and renames it over `path`.
fn replace(path: &Path) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".hook-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let replaced = fs::write(&beside, CONTENT).and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // Best effort: the error that matters is already known.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

impl Explain for ResponseError {
    fn title(&self) -> String {
        "The response file cannot be written".to_owned()
    }

    fn remedy(&self) -> String {
        "The command itself succeeded: check that the runner's temporary directory exists, has \
         space left and is writable for the user of the runner"
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_replaces_what_the_file_held_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        fs::write(&path, "something longer than the response").unwrap();
        write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        let taken = directory.path().join(format!("r.json.hook-{}", std::process::id()));
        fs::create_dir(taken).unwrap();
        write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
    }

    #[test]
    fn an_unwritable_response_names_the_path() {
        let error = write(Path::new("/nonexistent/r.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/r.json"));
    }
}
