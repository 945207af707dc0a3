//! Sends the entries of a context, in an order that depends on their names only.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::archive::{Archive, Content, Fault, Finished};
use super::bounds::{Bounds, Meter};
use super::listing::OVERHEAD;
use super::{BuildContext, ContextError, ContextSummary, READ_FLAGS, failed_at, kind};
use crate::dockerfile::CONTEXT_DIR;
use directories::Level;

mod added;
mod directories;

/// Bytes read at a time.
const CHUNK_SIZE: usize = 64 << 10;
/// Steps that a chunk counts for.
const CHUNK_STEPS: u64 = 512;
/// Bytes that a path may have: the kernel takes 4095, and the builder's own directory comes before it.
const LONGEST_PATH: usize = 4000;

struct Walk<'a, W: Write> {
    context: &'a BuildContext,
    archive: Archive<W>,
    meter: Meter,
    /// From the root to the present directory.
    levels: Vec<Level>,
    /// The present directory's, relative to the context's root.
    path: PathBuf,
    /// Bytes of the names in all levels.
    pending: usize,
    chunk: Vec<u8>,
    files: u64,
    limit: u64,
}

/// Sends all of a context.
pub(super) fn send<W: Write>(
    context: &BuildContext,
    output: W,
    compression: Compression,
    bounds: &Bounds,
) -> Result<ContextSummary, ContextError> {
    let mut walk = Walk {
        context,
        archive: Archive::new(output, bounds.bytes, compression),
        meter: Meter::new(context.path.clone(), bounds),
        levels: Vec::new(),
        path: PathBuf::new(),
        pending: 0,
        chunk: vec![0; CHUNK_SIZE],
        files: 0,
        limit: bounds.bytes,
    };
    walk.added()?;
    walk.enter(None)?;
    while let Some(level) = walk.levels.last_mut() {
        if let Some(name) = level.below.pop() {
            walk.pending -= name.len() + OVERHEAD;
            walk.enter(Some(&name))?;
        } else if let Some(last) = level.more_after.take() {
            walk.list_more(last)?;
        } else {
            walk.leave();
        }
    }
    walk.added_again()?;
    let finished = walk.archive.finish().map_err(|source| ContextError::Output { source })?;
    let Finished { bytes, digest, entries, has_all, names } = finished;
    let files = walk.files;
    Ok(ContextSummary { files, bytes, digest, entries, has_all_entries: has_all, names })
}

impl<W: Write> Walk<'_, W> {
    /// Whether the path in the present directory is left out with all that it may hold; and whether it
    /// is ignored.
    fn is_left_out(&self, path: &Path) -> Result<(bool, bool), ContextError> {
        let (rules, bytes) = (&self.context.rules, path.as_os_str().as_bytes());
        let Some(parent) = self.levels.last() else { return Ok((false, false)) };
        let (ignored, _) = rules.evaluate(bytes, &parent.matched, &self.meter)?;
        let left_out = ignored && !rules.may_except_below(bytes, &self.meter)?;
        if !left_out && bytes.len() > LONGEST_PATH {
            let path = OsStr::from_bytes(&bytes[..200]).into();
            return Err(ContextError::PathTooLong { path, limit: LONGEST_PATH });
        }
        Ok((left_out, ignored))
    }

    /// Sends what is no directory; true for a directory that is to be entered.
    fn entry(&mut self, directory: &OwnedFd, name: &OsStr) -> Result<bool, ContextError> {
        let path = self.path.join(name);
        let (left_out, ignored) = self.is_left_out(&path)?;
        if left_out {
            return Ok(false);
        }
        let stat = match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::ACCESS | Errno::NOENT) if ignored => return Ok(false),
            stat => stat.map_err(|cause| self.failed(&path, cause))?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(true),
            _ if ignored => {}
            FileType::RegularFile => {
                let flags = READ_FLAGS | OFlags::NOFOLLOW | OFlags::CLOEXEC;
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
        Ok(false)
    }

    /// Sends an open file, which may be anything by now.
    fn file(&mut self, path: &Path, file: &File) -> Result<(), ContextError> {
        let stat = self.stat(path, file)?;
        self.begin(path, mode(&stat), &Content::File(stat.st_size as u64))?;
        self.bytes(path, file, stat.st_size as u64)
    }

    fn stat(&self, path: &Path, file: &File) -> Result<Stat, ContextError> {
        let stat = fs::fstat(file).map_err(|cause| self.failed(path, cause))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(stat),
            _ => Err(self.changed(path)),
        }
    }

    /// Sends the bytes of an entry.
    fn bytes(&mut self, path: &Path, file: &File, size: u64) -> Result<(), ContextError> {
        let mut sent = 0;
        while sent < size {
            let length = (size - sent).min(CHUNK_SIZE as u64) as usize;
            self.meter.spend(CHUNK_STEPS)?;
            let read = file.read_exact_at(&mut self.chunk[..length], sent);
            read.map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => self.changed(path),
                _ => ContextError::Read { path: self.context.path.join(path), source },
            })?;
            let data = self.archive.data(&self.chunk[..length]);
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
        let path = Path::new(CONTEXT_DIR).join(path);
        self.archive.entry(&path, mode, content).map_err(|fault| self.fault(fault))
    }

    /// Sends the directories that were withheld on the way to the present one.
    fn release(&mut self) -> Result<(), ContextError> {
        // Where one is sent, those that it lies in are.
        let withheld =
            self.levels.iter().rev().take_while(|level| level.withheld.is_some()).count();
        let first = self.levels.len() - withheld;
        for level in &mut self.levels[first..] {
            let Some(mode) = level.withheld.take() else { continue };
            let path =
                Path::new(OsStr::from_bytes(&self.path.as_os_str().as_bytes()[..level.length]));
            let path = &Path::new(CONTEXT_DIR).join(path);
            if let Err(fault) = self.archive.entry(path, mode, &Content::Directory) {
                return Err(self.fault(fault));
            }
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

/// The permissions, setuid, setgid and sticky bit.
fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}
