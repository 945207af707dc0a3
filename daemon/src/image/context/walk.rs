//! Sends the entries of a context, in an order that depends on their names only.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::archive::{Archive, Content, Fault};
use super::dockerignore::Matched;
use super::{BuildContext, ContextError, ContextSummary, READ, failed_at, kind};
use crate::beneath;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A directory that is to be sent: only its path is kept, so that a deep tree needs neither stack
/// nor descriptors.
#[derive(Default)]
struct Pending {
    /// Relative to the context's root.
    path: PathBuf,
    ignored: bool,
    matched: Matched,
}

struct Walk<'a, W: Write> {
    context: &'a BuildContext,
    archive: Archive<W>,
    /// Ignored directories on the way to the present one, with their modes: they are sent if
    /// something in them is.
    withheld: Vec<(PathBuf, u32)>,
    piece: Vec<u8>,
    files: u64,
    limit: u64,
}

/// Sends all of a context.
pub(super) fn send<W: Write>(
    context: &BuildContext,
    output: W,
    limit: u64,
) -> Result<ContextSummary, ContextError> {
    let mut walk = Walk {
        context,
        archive: Archive::new(output, limit),
        withheld: Vec::new(),
        piece: vec![0; PIECE],
        files: 0,
        limit,
    };
    let mut pending = vec![Pending::default()];
    while let Some(directory) = pending.pop() {
        let below = walk.directory(&directory)?;
        pending.extend(below.into_iter().rev());
    }
    let bytes = walk.archive.finish().map_err(|source| ContextError::Output { source })?;
    Ok(ContextSummary { files: walk.files, bytes })
}

impl<W: Write> Walk<'_, W> {
    /// Sends a directory and the files in it; returns the directories in it.
    fn directory(&mut self, directory: &Pending) -> Result<Vec<Pending>, ContextError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let path = &directory.path;
        let open =
            beneath::openat2(&self.context.directory, path, flags, ResolveFlags::NO_SYMLINKS);
        let open = match open {
            // Docker leaves it out as well: whatever an exception would find is out of reach.
            Err(Errno::ACCESS) if directory.ignored => return Ok(Vec::new()),
            open => open.map_err(|cause| self.failed(path, cause))?,
        };
        let root = path.as_os_str().is_empty();
        if !root {
            let stat = fs::fstat(&open).map_err(|cause| self.failed(path, cause))?;
            self.withheld.retain(|(above, _)| path.starts_with(above));
            // Kubernetes sets setgid on all directories of a volume with an fsGroup.
            self.withheld.push((path.clone(), mode(&stat) & !Mode::SGID.bits()));
            if !directory.ignored {
                self.release()?;
            }
        }
        let mut names = names(&open).map_err(|cause| self.failed(path, cause))?;
        if root {
            names.extend(self.context.needed.iter().map(|(name, _)| name.into()));
        }
        let mut below = Vec::new();
        for name in names {
            below.extend(self.entry(directory, &open, &name)?);
        }
        Ok(below)
    }

    /// Sends what is no directory; returns a directory.
    fn entry(
        &mut self,
        parent: &Pending,
        directory: &OwnedFd,
        name: &OsStr,
    ) -> Result<Option<Pending>, ContextError> {
        let path = parent.path.join(name);
        let needed = self.context.needed.iter().find(|(needed, _)| path == Path::new(needed));
        if let Some((_, file)) = needed {
            self.file(&path, file)?;
            return Ok(None);
        }
        let rules = &self.context.rules;
        let (ignored, matched) = rules.judge(path.as_os_str().as_bytes(), &parent.matched);
        if ignored && !rules.may_except_below(path.as_os_str().as_bytes()) {
            return Ok(None);
        }
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::ACCESS | Errno::NOENT) if ignored => return Ok(None),
            stat => stat.map_err(|cause| self.failed(&path, cause))?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Some(Pending { path, ignored, matched })),
            _ if ignored => {}
            FileType::RegularFile => {
                let flags = READ | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(directory, name, flags, Mode::empty())
                    .map_err(|cause| self.failed(&path, cause))?;
                self.file(&path, &file.into())?;
            }
            FileType::Symlink => {
                let target = fs::readlinkat(directory, name, Vec::new())
                    .map_err(|cause| self.failed(&path, cause))?;
                self.begin(&path, 0o777, &Content::Symlink(&target))?;
                self.files += 1;
            }
            other => {
                let path = self.context.path.join(path);
                return Err(ContextError::SpecialFile { path, kind: kind(other) });
            }
        }
        Ok(None)
    }

    /// Sends an open file, which may be anything by now.
    fn file(&mut self, path: &Path, file: &File) -> Result<(), ContextError> {
        let stat = fs::fstat(file).map_err(|cause| self.failed(path, cause))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.changed(path));
        }
        let size = stat.st_size as u64;
        self.begin(path, mode(&stat), &Content::File(size))?;
        let mut sent = 0;
        while sent < size {
            let length = (size - sent).min(PIECE as u64) as usize;
            let read = file.read_exact_at(&mut self.piece[..length], sent);
            read.map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => self.changed(path),
                _ => ContextError::Read { path: self.context.path.join(path), source },
            })?;
            let data = self.archive.data(&self.piece[..length]);
            data.map_err(|fault| self.fault(fault))?;
            sent += length as u64;
        }
        if file.read_at(&mut [0], size).is_ok_and(|more| more > 0) {
            return Err(self.changed(path));
        }
        self.files += 1;
        self.archive.pad().map_err(|fault| self.fault(fault))
    }

    /// Begins an entry, once the directories that it lies in are there.
    fn begin(&mut self, path: &Path, mode: u32, content: &Content<'_>) -> Result<(), ContextError> {
        self.release()?;
        self.archive.entry(path, mode, content).map_err(|fault| self.fault(fault))
    }

    /// Sends the directories that were withheld.
    fn release(&mut self) -> Result<(), ContextError> {
        for (path, mode) in std::mem::take(&mut self.withheld) {
            let entry = self.archive.entry(&path, mode, &Content::Directory);
            entry.map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// Why something that is in the context cannot be read.
    fn failed(&self, path: &Path, cause: Errno) -> ContextError {
        match cause {
            // It was there and of the right type when its name was read.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL => {
                self.changed(path)
            }
            _ => failed_at(&self.context.path.join(path), cause),
        }
    }

    fn changed(&self, path: &Path) -> ContextError {
        ContextError::Changed { path: self.context.path.join(path) }
    }

    fn fault(&self, fault: Fault) -> ContextError {
        match fault {
            Fault::Full => {
                ContextError::TooLarge { path: self.context.path.clone(), limit: self.limit }
            }
            Fault::Output(source) => ContextError::Output { source },
        }
    }
}

/// The names in a directory, sorted by their bytes.
fn names(directory: &OwnedFd) -> Result<BTreeSet<OsString>, Errno> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_owned();
        if name != b"." && name != b".." {
            names.insert(OsString::from_vec(name));
        }
    }
    Ok(names)
}

/// The permissions, setuid, setgid and sticky bit.
fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}
