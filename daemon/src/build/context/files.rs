//! The context's files for instructions that name them, read as safely as when they are sent.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{self, FileType, OFlags, ResolveFlags};

use super::bounds::Meter;
use super::dockerignore::{Matched, Rules};
use super::listing::{self, Window};
use super::{Bounds, BuildContext, ContextError, READ_FLAGS};
use crate::beneath;
use crate::dockerfile::{ContextFiles, Entry};

/// Bytes of names of one directory that are read: some thousand files.
const NAMES: usize = 1 << 20;
/// Bytes at the begin of a file that tell what it is.
const BEGIN: usize = 4096;

/// A context whose files are looked at.
pub struct Files<'a> {
    context: &'a BuildContext,
    meter: Meter,
}

impl<'a> Files<'a> {
    /// The bounds are those of all that is looked at.
    pub fn of(context: &'a BuildContext, bounds: &Bounds) -> Self {
        Self { context, meter: Meter::new(context.path.clone(), bounds) }
    }

    /// Fails once the time is up: what was looked at since seemed not to be there.
    ///
    /// # Errors
    /// [`ContextError::TimedOut`], or that it was cancelled.
    pub fn in_time(&self) -> Result<(), ContextError> {
        self.meter.spend(1)
    }

    /// Whether the rules name the path, given what they say of the directories that it lies in.
    fn is_named_by(&self, rules: &Rules, path: &str) -> Option<bool> {
        let (mut is_named, mut matched) = (false, Matched::default());
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let evaluated = rules.evaluate(&path.as_bytes()[..end], &matched, &self.meter);
            (is_named, matched) = evaluated.ok()?;
        }
        Some(is_named)
    }

    fn open(&self, path: &str, flags: OFlags) -> Option<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW;
        let path = Path::new(if path.is_empty() { "." } else { path });
        beneath::openat2(&self.context.directory, path, flags, ResolveFlags::NO_SYMLINKS).ok()
    }
}

impl ContextFiles for Files<'_> {
    fn entry(&self, path: &str) -> Option<Entry> {
        let found = self.open(path, OFlags::PATH)?;
        let stat = fs::fstat(&found).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let rules = &self.context.rules;
        let is_ignored = !path.is_empty() && self.is_named_by(rules, path)?;
        // What lies in an ignored directory may be none of the ignored.
        if is_ignored
            && (kind != FileType::Directory
                || !rules.may_except_below(path.as_bytes(), &self.meter).ok()?)
        {
            return None;
        }
        match kind {
            FileType::RegularFile => Some(Entry::File(stat.st_mode & 0o7777)),
            FileType::Directory => Some(Entry::Directory(stat.st_mode & 0o1777)),
            FileType::Symlink => {
                let target = fs::readlinkat(&found, "", Vec::new()).ok()?;
                Some(Entry::Symlink(target.to_str().ok()?.to_owned()))
            }
            _ => None,
        }
    }

    fn names(&self, directory: &str) -> Option<Vec<String>> {
        let open = self.open(directory, OFlags::DIRECTORY)?;
        let Window { names, more } = listing::window(&open, None, NAMES, &self.meter).ok()?;
        if more {
            return None;
        }
        names.into_iter().map(|name| name.into_string().ok()).collect()
    }

    fn matches(&self, patterns: &[String], path: &str) -> Option<bool> {
        let rules = Rules::parse(patterns.join("\n").as_bytes()).ok()?;
        self.is_named_by(&rules, path)
    }

    fn begin(&self, path: &str) -> Vec<u8> {
        let mut bytes = vec![0; BEGIN];
        let read = self.open(path, READ_FLAGS).map(|file| {
            let file = std::fs::File::from(file);
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if is_file { file.read_at(&mut bytes, 0).unwrap_or_default() } else { 0 }
        });
        bytes.truncate(read.unwrap_or_default());
        bytes
    }
}
