//! The directories of a context: which come next, in memory that grows neither with their number nor with
//! their depth.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Walk, mode};
use crate::beneath;
use crate::build::context::ContextError;
use crate::build::context::dockerignore::Matched;
use crate::build::context::listing::{self, OVERHEAD, Window};

/// Bytes of names that are sorted at a time.
const WINDOW: usize = 2 << 20;
/// Bytes of names of directories that are still to be entered, of all levels.
const PENDING: usize = 1 << 20;

/// A directory that is being sent, and those that it lies in. None is open, so that a deep tree needs
/// neither stack nor descriptors.
pub(super) struct Level {
    /// Bytes of its path.
    pub(super) length: usize,
    pub(super) matched: Matched,
    /// Its mode, until it is sent: an ignored one is sent if something in it is.
    pub(super) withheld: Option<u32>,
    /// The next directories in it, the first one last.
    pub(super) below: Vec<OsString>,
    /// After this one there may be more.
    pub(super) more_after: Option<OsString>,
    /// Bytes of names that it may still note.
    room: usize,
}

impl<W: Write> Walk<'_, W> {
    /// Enters a directory of the present one, or the root: sends it and the files in it.
    pub(super) fn enter(&mut self, name: Option<&OsStr>) -> Result<(), ContextError> {
        let root = name.is_none();
        let (mut ignored, mut matched) = (false, Matched::default());
        if let (Some(name), Some(parent)) = (name, self.levels.last()) {
            self.path.push(name);
            let rules = &self.context.rules;
            let path = self.path.as_os_str().as_bytes();
            (ignored, matched) = rules.evaluate(path, &parent.matched, &self.meter)?;
        }
        self.levels.push(Level {
            length: self.path.as_os_str().len(),
            matched,
            withheld: None,
            below: Vec::new(),
            more_after: None,
            room: self.room(),
        });
        let open = match self.open() {
            // Docker leaves it out as well: whatever an exception would find is out of reach.
            Err(Errno::ACCESS) if ignored => {
                self.leave();
                return Ok(());
            }
            open => open.map_err(|cause| self.failed(&self.path, cause))?,
        };
        if !root {
            let stat = fs::fstat(&open).map_err(|cause| self.failed(&self.path, cause))?;
            if let Some(level) = self.levels.last_mut() {
                // Kubernetes sets setgid on all directories of a volume with an fsGroup.
                level.withheld = Some(mode(&stat) & !Mode::SGID.bits());
            }
            if !ignored {
                self.release()?;
            }
        }
        self.contents(&open)
    }

    /// Goes back to the directory above.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
        let length = self.levels.last().map_or(0, |level| level.length);
        let path = std::mem::take(&mut self.path).into_os_string();
        self.path = OsStr::from_bytes(&path.as_bytes()[..length]).into();
    }

    /// Opens the present directory.
    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        beneath::openat2(&self.context.directory, &self.path, flags, ResolveFlags::NO_SYMLINKS)
    }

    /// Sends all in the present directory but directories, which are noted.
    fn contents(&mut self, open: &OwnedFd) -> Result<(), ContextError> {
        let mut after = None;
        loop {
            let Window { names, more } = self.window(open, after.as_deref())?;
            for name in &names {
                if self.entry(open, name)? {
                    self.note(name);
                }
            }
            after = names.into_iter().next_back();
            if !more {
                break;
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.below.reverse();
        }
        Ok(())
    }

    /// Notes more directories of the present one, which there was no room for.
    pub(super) fn list_more(&mut self, last: OsString) -> Result<(), ContextError> {
        let open = self.open().map_err(|cause| self.failed(&self.path, cause))?;
        let (room, mut after) = (self.room(), last);
        if let Some(level) = self.levels.last_mut() {
            level.room = room;
        }
        loop {
            let Window { names, more } = self.window(&open, Some(&after))?;
            for name in &names {
                let stat = fs::statat(&open, name, AtFlags::SYMLINK_NOFOLLOW);
                let is = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if stat.is_ok_and(is) && !self.is_left_out(&self.path.join(name))?.0 {
                    self.note(name);
                }
            }
            let full = self.levels.last().is_some_and(|level| level.more_after.is_some());
            match names.into_iter().next_back() {
                Some(name) if more && !full => after = name,
                _ => break,
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.below.reverse();
        }
        Ok(())
    }

    /// Notes a directory of the present one, if there is room for its name. One name always has.
    fn note(&mut self, name: &OsStr) {
        let Some(level) = self.levels.last_mut() else { return };
        let length = name.len() + OVERHEAD;
        match level.below.last() {
            _ if level.more_after.is_some() => {}
            Some(last) if length > level.room => level.more_after = Some(last.clone()),
            _ => {
                level.room = level.room.saturating_sub(length);
                level.below.push(name.to_owned());
                self.pending += length;
            }
        }
    }

    /// Half of what is left, so that the levels below have some, too.
    fn room(&self) -> usize {
        PENDING.saturating_sub(self.pending) / 2
    }

    fn window(&self, open: &OwnedFd, after: Option<&OsStr>) -> Result<Window, ContextError> {
        listing::window(open, after, WINDOW, &self.meter).map_err(|fault| match fault {
            listing::Fault::Kernel(cause) => self.failed(&self.path, cause),
            listing::Fault::Bounds(error) => error,
        })
    }
}
