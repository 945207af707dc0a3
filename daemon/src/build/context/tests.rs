//! Contexts on a real file system.

mod ignoring;
mod limits;
mod opening;
mod racing;
mod sending;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;

use flate2::read::GzDecoder;
use rustix::fs::{CWD, Mode};
use tempfile::TempDir;

use super::*;
use crate::error::Explain;

/// No limit that a test meets by accident.
fn plenty() -> Bounds {
    within(1 << 30)
}

/// So many bytes.
fn within(bytes: u64) -> Bounds {
    let timeout = std::time::Duration::from_secs(600);
    Bounds { bytes, timeout, cancelled: Default::default() }
}

/// A work directory with a context `action` that has a Dockerfile, and a place outside of it.
struct Place {
    _temporary: TempDir,
    work: PathBuf,
    context: PathBuf,
    outside: PathBuf,
}

fn place() -> Place {
    let temporary = TempDir::new().unwrap();
    let base = temporary.path().canonicalize().unwrap();
    let (work, outside) = (base.join("work"), base.join("outside"));
    let context = work.join("action");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM scratch\n").unwrap();
    std::fs::write(outside.join("Dockerfile"), "FROM secret\n").unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    Place { _temporary: temporary, work, context, outside }
}

impl Place {
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.context.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn fifo(&self, name: &str) {
        let path = self.context.join(name);
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }

    /// Opens a Dockerfile beneath the work directory.
    fn open(&self, dockerfile: impl AsRef<Path>) -> Result<BuildContext, ContextError> {
        open(std::slice::from_ref(&self.work), &self.work.join(dockerfile))
    }

    /// Opens and sends the context.
    fn send(&self) -> Result<Vec<u8>, ContextError> {
        let mut stream = Vec::new();
        self.open("action/Dockerfile")?.write_tar_gz(&mut stream, &plenty())?;
        Ok(stream)
    }

    /// The names that are sent, in order.
    fn sent(&self) -> Vec<String> {
        let entries = entries(&self.send().unwrap());
        entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
    }

    fn refusal(&self) -> ContextError {
        self.send().unwrap_err()
    }
}

/// An entry of an archive.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    kind: tar::EntryType,
    mode: u32,
    target: Option<Vec<u8>>,
    content: Vec<u8>,
}

fn entries(stream: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(GzDecoder::new(stream));
    let entries = archive.entries().unwrap();
    let entries = entries.map(|entry| {
        let mut entry = entry.unwrap();
        let (header, mut content) = (entry.header().clone(), Vec::new());
        entry.read_to_end(&mut content).unwrap();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        Entry {
            name: entry.path_bytes().into_owned(),
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            target: entry.link_name_bytes().map(Into::into),
            content,
        }
    });
    // What every archive begins with.
    let mut entries: Vec<_> = entries.collect();
    for directory in ["./", "context/", "hookd/"] {
        assert_eq!(entries.remove(0).name, directory.as_bytes());
    }
    for entry in &mut entries {
        entry.name.drain(.."context/".len());
    }
    entries
}

fn by_name(stream: &[u8]) -> BTreeMap<Vec<u8>, Entry> {
    entries(stream).into_iter().map(|entry| (entry.name.clone(), entry)).collect()
}

/// Text that does not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn an_error_is_one_line_whatever_the_job_calls_its_files() {
    let place = place();
    place.fifo("a\n::error::b");
    let error = place.refusal();
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(error.to_string().contains(r"action/a\n::error::b"), "{error}");
    assert!(error.help().contains(".dockerignore"));
}
