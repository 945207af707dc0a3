//! The build context: a Dockerfile's directory, read safely and sent as a tar.gz stream.
//!
//! hookd holds a Kubernetes token and reads what a job has put on a disk that both share, so the
//! tree is hostile input, also while it is read. Whatever is opened is opened beneath a directory
//! that is allowed or beneath the context's own descriptor, never again by its absolute path;
//! symlinks in the context are sent as symlinks, and what is no file, directory or symlink is
//! refused. The stream depends on the content only: the same tree gives the same bytes on every
//! runner, so that layers that copy from it are found in the cache.

mod archive;
mod bounds;
mod dockerignore;
mod entries;
mod error;
mod files;
mod glob;
mod listing;
mod walk;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use rustix::fs::{self, FileType, OFlags};
use rustix::io::Errno;

use crate::beneath::{self, Refused};
use crate::dockerfile::BuilderFile;

pub use crate::beneath::normalised;
pub use bounds::Bounds;
use dockerignore::{LONGEST_PATTERN, MOST_RULES, Rules, Unfit};
pub use entries::ContextEntry;
pub use error::ContextError;
#[cfg(test)]
pub(crate) use error::examples;
pub use files::Files;

/// Bytes that a `.dockerignore` file may have.
const RULES_LIMIT: u64 = 256 << 10;
/// Bytes that a Dockerfile may have.
pub const DOCKERFILE_LIMIT: u64 = 1 << 20;
/// How files are opened: a named pipe or a terminal in a file's place must not hold hookd up.
const READ_FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// A context that is open: its directory cannot be exchanged any more, only its content.
#[derive(Debug)]
pub struct BuildContext {
    /// For messages only.
    path: PathBuf,
    directory: OwnedFd,
    dockerfile: File,
    /// For messages only.
    dockerfile_path: PathBuf,
    /// Its name.
    name: String,
    rules: Rules,
    /// What the builder gets beside the context.
    added: Vec<BuilderFile>,
}

/// SHA-256 of a context's entries, in their order, as they are sent and before compression: of the hashes
/// of their names, modes, targets of links and contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextDigest([u8; 32]);

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSummary {
    /// Files and symlinks.
    pub files: u64,
    /// Bytes of the archive before compression.
    pub bytes: u64,
    /// Of all that was sent.
    pub digest: ContextDigest,
    /// The first entries.
    pub entries: Vec<ContextEntry>,
    /// There are no others.
    pub has_all_entries: bool,
    /// SHA-256 of the entries without their contents.
    pub names: [u8; 32],
}

/// Opens the directory of a Dockerfile as a build context.
///
/// The Dockerfile's absolute path, which may contain `.` and `..`, must lie beneath one of the
/// `roots`. Symlinks on the way to it are followed as long as they lead beneath one of the roots,
/// so an action's directory may be a symlink into an action cache that is a root as well.
///
/// # Errors
/// A Dockerfile that does not exist, is not a file, may not be read or lies elsewhere; a
/// `.dockerignore` file that cannot be understood.
pub fn open(roots: &[PathBuf], dockerfile: &Path) -> Result<BuildContext, ContextError> {
    let outside = || ContextError::Outside { path: dockerfile.into(), roots: roots.into() };
    let file = normalised(dockerfile).ok_or_else(outside)?;
    let opened = open_in(roots, file.parent().ok_or_else(outside)?, dockerfile);
    // Of an action the Dockerfile is what was named.
    opened.map_err(|error| match error {
        ContextError::Outside { .. } => outside(),
        error => error,
    })
}

/// As [`open`], of a context whose Dockerfile may lie elsewhere beneath the roots.
///
/// # Errors
/// As [`open`].
pub fn open_in(
    roots: &[PathBuf],
    directory: &Path,
    dockerfile: &Path,
) -> Result<BuildContext, ContextError> {
    let outside = |path: &Path| ContextError::Outside { path: path.into(), roots: roots.into() };
    let file = normalised(dockerfile).ok_or_else(|| outside(dockerfile))?;
    let name = file.file_name().ok_or_else(|| outside(dockerfile))?;
    let name = name.to_str().ok_or_else(|| ContextError::NameNotUtf8 { path: file.clone() })?;
    let path = normalised(directory).ok_or_else(|| outside(directory))?;
    let path = path.as_path();
    let directory = match beneath::open(roots, path, OFlags::DIRECTORY) {
        Err(Refused::Outside) => return Err(outside(path)),
        Err(Refused::Kernel(Errno::NOENT | Errno::NOTDIR)) => {
            return Err(ContextError::DirectoryMissing { path: path.into() });
        }
        opened => opened.map_err(|refused| refused_at(path, roots, refused))?,
    };
    let found = regular_file(roots, &file)?;
    let found = found.ok_or_else(|| ContextError::NotFound { path: file.clone() })?;
    let stat = fs::fstat(&found).map_err(|cause| failed_at(&file, cause))?;
    if u64::try_from(stat.st_size).is_ok_and(|size| size > DOCKERFILE_LIMIT) {
        return Err(ContextError::FileTooLarge { path: file, limit: DOCKERFILE_LIMIT });
    }
    let mut rules = Rules::default();
    for file in [file.with_file_name(format!("{name}.dockerignore")), path.join(".dockerignore")] {
        if let Some(found) = regular_file(roots, &file)? {
            rules = read_rules(&file, &found)?;
            break;
        }
    }
    let (path, name, added) = (path.into(), name.to_owned(), Vec::new());
    let (dockerfile, dockerfile_path) = (found, file);
    Ok(BuildContext { path, directory, dockerfile, dockerfile_path, name, rules, added })
}

impl ContextDigest {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl BuildContext {
    /// The Dockerfile's name.
    pub fn dockerfile_name(&self) -> &str {
        &self.name
    }

    /// Adds files for the builder, which no instruction takes for the context's own.
    pub fn add(&mut self, files: Vec<BuilderFile>) {
        self.added.extend(files);
    }

    /// Reads the Dockerfile.
    ///
    /// # Errors
    /// A file that may not be read, or has more than `limit` bytes.
    pub fn read_dockerfile(&self, limit: u64) -> Result<Vec<u8>, ContextError> {
        let path = self.dockerfile_path.clone();
        let file = &self.dockerfile;
        let mut text = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            let length = file
                .read_at(&mut chunk, text.len() as u64)
                .map_err(|source| ContextError::Read { path: path.clone(), source })?;
            text.extend_from_slice(&chunk[..length]);
            if text.len() as u64 > limit {
                return Err(ContextError::TooLarge { path, limit });
            }
            if length == 0 {
                return Ok(text);
            }
        }
    }

    /// Sends the context as a tar.gz stream: the builder's files in [`BUILDER_DIR`](crate::dockerfile::BUILDER_DIR), the context in
    /// [`CONTEXT_DIR`](crate::dockerfile::CONTEXT_DIR).
    ///
    /// What the `.dockerignore` file names is left out, as docker does it: the Dockerfile, too, if it is
    /// named. `<Dockerfile>.dockerignore` goes before `.dockerignore`. Entries come sorted,
    /// directories before what they hold. Permissions stay as they are, but for the setgid bit of
    /// directories, which Kubernetes sets on volumes with an fsGroup; owner, group and time are
    /// the same for all. Hard links are sent as files of their own; extended attributes are not
    /// sent.
    ///
    /// # Errors
    /// A file that may not be read, is not one, or changes meanwhile; more bytes of archive before
    /// compression or more time than the bounds allow; a path that is too long for the builder; an
    /// output that fails. The stream is then cut off, so that its reader cannot take it for a whole one.
    pub fn write_tar_gz<W: Write>(
        &self,
        out: W,
        bounds: &Bounds,
    ) -> Result<ContextSummary, ContextError> {
        // Most of a context is small texts, and the network is fast.
        walk::send(self, out, Compression::fast(), bounds)
    }

    /// Reads the context without sending it.
    ///
    /// # Errors
    /// As [`BuildContext::write_tar_gz`].
    pub fn survey(&self, bounds: &Bounds) -> Result<ContextSummary, ContextError> {
        walk::send(self, io::sink(), Compression::none(), bounds)
    }
}

/// Reads a small file as safely as a context; nothing if there is none.
///
/// # Errors
/// A file that may not be read, lies elsewhere or has more than `limit` bytes.
pub fn read_small(
    roots: &[PathBuf],
    path: &Path,
    limit: u64,
) -> Result<Option<Vec<u8>>, ContextError> {
    let found = regular_file(roots, path)?;
    found.map(|file| read_limited(path, &file, limit)).transpose()
}

/// Opens a file; nothing if there is none.
fn regular_file(roots: &[PathBuf], path: &Path) -> Result<Option<File>, ContextError> {
    // Looked at first: to open a device can have effects.
    for flags in [OFlags::PATH, READ_FLAGS] {
        let found = match beneath::open(roots, path, flags) {
            Err(Refused::Kernel(Errno::NOENT | Errno::NAMETOOLONG)) => return Ok(None),
            opened => opened.map_err(|refused| refused_at(path, roots, refused))?,
        };
        let stat = fs::fstat(&found).map_err(|cause| failed_at(path, cause))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if flags == READ_FLAGS => return Ok(Some(found.into())),
            FileType::RegularFile => {}
            FileType::Directory => return Err(ContextError::IsDirectory { path: path.into() }),
            other => {
                return Err(ContextError::NotRegular { path: path.into(), kind: kind(other) });
            }
        }
    }
    Ok(None)
}

fn read_limited(path: &Path, file: &File, limit: u64) -> Result<Vec<u8>, ContextError> {
    let mut text = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut text);
    read.map_err(|source| ContextError::Read { path: path.into(), source })?;
    if text.len() as u64 > limit {
        return Err(ContextError::FileTooLarge { path: path.into(), limit });
    }
    Ok(text)
}

fn read_rules(path: &Path, file: &File) -> Result<Rules, ContextError> {
    let text = read_limited(path, file, RULES_LIMIT)?;
    let path = path.to_owned();
    Rules::parse(&text).map_err(|unfit| match unfit {
        Unfit::Malformed { line, rule } => ContextError::InvalidRule { path, line, rule },
        Unfit::TooLong { line } => ContextError::RuleTooLong { path, line, limit: LONGEST_PATTERN },
        Unfit::TooMany => ContextError::TooManyRules { path, limit: MOST_RULES },
    })
}

fn refused_at(path: &Path, roots: &[PathBuf], refused: Refused) -> ContextError {
    let path = path.to_owned();
    match refused {
        Refused::Outside => ContextError::Outside { path, roots: roots.into() },
        Refused::Escapes { link, target } => ContextError::Escapes { path, link, target },
        Refused::Root { root, cause } => ContextError::Root { root, source: cause.into() },
        // Profiles of before openat2 answer EPERM, which an openat2 that only reads never does.
        Refused::Kernel(cause @ (Errno::NOSYS | Errno::PERM)) => {
            ContextError::NoOpenat2 { source: cause.into() }
        }
        Refused::Kernel(cause) => failed_at(&path, cause),
    }
}

fn failed_at(path: &Path, cause: Errno) -> ContextError {
    let (path, source) = (path.to_owned(), io::Error::from(cause));
    match cause {
        Errno::ACCESS => ContextError::Unreadable { path, source },
        // It was moved away on the way to it.
        Errno::XDEV | Errno::AGAIN => ContextError::Changed { path },
        _ => ContextError::Read { path, source },
    }
}

/// What a file that is not one is called.
fn kind(file_type: FileType) -> &'static str {
    match file_type {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "file of unknown type",
    }
}

#[cfg(test)]
mod tests;
