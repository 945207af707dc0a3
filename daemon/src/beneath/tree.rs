//! Makes and changes files beneath a directory whose tree a job may change at the same moment.
//!
//! Every step of a path is opened by its own name in the directory that was opened before, and a
//! symlink is never followed. What is there is looked at through a descriptor that neither reads
//! nor writes (O_PATH), so that a device or a named pipe in a file's place has no effect, and what
//! was looked at is what is changed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{TRIES, openat2};

/// Looks without opening.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// A directory that a job may change while hookd works in it.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

/// What lies in place of a directory on the way, and stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Files that are none of hookd's; a symlink is replaced.
    Files,
    /// Nothing: the path is the runner's own.
    Nothing,
}

/// What [`Tree::widen`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Widened {
    /// The mode has the bits now, or had them.
    Done,
    /// It is another user's: only its owner may change it.
    OtherOwner,
    /// It is of another type, or a file that has a second name.
    OtherKind,
    /// Its owner has closed it to all others.
    Private,
}

/// What [`Tree::append`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The text stands at the end of the file.
    Done,
    /// It is another user's.
    OtherOwner,
    /// It is no file, or one that has a second name.
    OtherKind,
    /// The text does not fit.
    Full,
}

impl Tree {
    /// Opens the directory itself. The administrator chose it: symlinks on the way are followed.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(path, flags, Mode::empty()).map(Self)
    }

    /// The type of what lies at a path; symlinks are followed as long as they stay beneath.
    pub(crate) fn kind(&self, path: &Path) -> Result<FileType, Errno> {
        let found = available(openat2(&self.0, path, OFlags::PATH, ResolveFlags::empty()))?;
        Ok(kind(&fs::fstat(found)?))
    }

    /// Opens the directory at a path and makes what is missing of it. What else lies there is
    /// replaced, unless it is `kept`; the second value says what was replaced last.
    pub(crate) fn directory(
        &self,
        path: &Path,
        kept: Kept,
    ) -> Result<(OwnedFd, Option<FileType>), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut current = fs::openat(&self.0, ".", flags, Mode::empty())?;
        let mut replaced = None;
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(Errno::INVAL) };
            let (next, other) = enter(&current, name, kept)?;
            (current, replaced) = (next, other.or(replaced));
        }
        Ok((current, replaced))
    }

    /// Adds `bits` to the mode of a file or directory of this process's user.
    pub(crate) fn widen(
        &self,
        path: &Path,
        wanted: FileType,
        bits: Mode,
        keep_private: bool,
    ) -> Result<Widened, Errno> {
        let found = available(openat2(&self.0, path, LOOK, ResolveFlags::NO_SYMLINKS))?;
        let stat = fs::fstat(&found)?;
        let second_name = wanted == FileType::RegularFile && stat.st_nlink > 1;
        if kind(&stat) != wanted || second_name {
            return Ok(Widened::OtherKind);
        }
        if !is_ours(&stat) {
            return Ok(Widened::OtherOwner);
        }
        let now = Mode::from_raw_mode(stat.st_mode & 0o7777);
        if keep_private && !now.intersects(Mode::RWXG | Mode::RWXO) {
            return Ok(Widened::Private);
        }
        if !now.contains(bits) {
            // fchmod refuses a descriptor that only looks; its name in /proc is the very same file.
            let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
            fs::chmodat(CWD, itself, now | bits, AtFlags::empty())?;
        }
        Ok(Widened::Done)
    }

    /// Writes to the end of a file of this process's user, up to `most` bytes.
    pub(crate) fn append(&self, path: &Path, content: &[u8], most: u64) -> Result<Appended, Errno> {
        let found = available(openat2(&self.0, path, LOOK, ResolveFlags::NO_SYMLINKS))?;
        let stat = fs::fstat(&found)?;
        if kind(&stat) != FileType::RegularFile || stat.st_nlink > 1 {
            return Ok(Appended::OtherKind);
        }
        if !is_ours(&stat) {
            return Ok(Appended::OtherOwner);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size.saturating_add(content.len() as u64) > most {
            return Ok(Appended::Full);
        }
        // As in `widen`.
        let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let mut file = File::from(fs::open(itself, flags, Mode::empty())?);
        let written = file.write_all(content);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Appended::Done)
    }

    /// Writes a file into a directory of this process's user, made if need be: a directory that is
    /// another user's, or cannot be written to, is moved out of the way.
    pub(crate) fn install(
        &self,
        directory: &str,
        name: &str,
        content: &[u8],
        mode: u32,
    ) -> Result<(), Errno> {
        let put = || {
            let (made, _) = self.directory(Path::new(directory), Kept::Nothing)?;
            let stat = fs::fstat(&made)?;
            if is_ours(&stat) { put(&made, name, content, mode) } else { Err(Errno::PERM) }
        };
        match put() {
            Err(Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::NOTDIR) => {
                let aside = random_name(directory, "replaced")?;
                fs::renameat(&self.0, directory, &self.0, aside)?;
                put()
            }
            done => done,
        }
    }

    /// Makes a symlink in the directory itself, in place of what has its name.
    pub(crate) fn link(&self, name: &str, target: &str) -> Result<(), Errno> {
        if fs::readlinkat(&self.0, name, Vec::new())
            .is_ok_and(|to| to.to_bytes() == target.as_bytes())
        {
            return Ok(());
        }
        let new = random_name(name, "new")?;
        fs::symlinkat(target, &self.0, &new)?;
        fs::renameat(&self.0, &new, &self.0, name)
    }

    /// Writes a file into the directory itself, in place of what has its name.
    pub(crate) fn put(&self, name: &str, content: &[u8], mode: u32) -> Result<(), Errno> {
        put(&self.0, name, content, mode)
    }
}

/// Opens the directory `name` of a directory, and makes it if it is missing.
fn enter(parent: &OwnedFd, name: &OsStr, kept: Kept) -> Result<(OwnedFd, Option<FileType>), Errno> {
    let (name, mut replaced) = (Path::new(name), None);
    for _ in 0..TRIES {
        let found = match available(openat2(parent, name, LOOK, ResolveFlags::empty())) {
            Err(Errno::NOENT) => match fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => continue,
                Err(error) => return Err(error),
            },
            found => found?,
        };
        let kind = kind(&fs::fstat(&found)?);
        match kind {
            FileType::Directory => return Ok((found, replaced)),
            FileType::Symlink => {}
            _ if kept == Kept::Nothing => {}
            _ => return Err(Errno::NOTDIR),
        }
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            // Something else has its name by now.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => replaced = Some(kind),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::AGAIN)
}

/// Writes a file under a name that no other process knows and renames it: a file in use is never
/// written to, nor one that another user has put there.
fn put(directory: impl AsFd, name: &str, content: &[u8], mode: u32) -> Result<(), Errno> {
    let directory = directory.as_fd();
    let new = random_name(name, "new")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(directory, &new, flags, Mode::from_raw_mode(0o600))?;
    let write = || {
        let mut file = File::from(file);
        file.write_all(content)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        fs::renameat(directory, &new, directory, name)
    };
    write().inspect_err(|_| {
        // Best effort: the error that matters is known.
        let _ = fs::unlinkat(directory, &new, AtFlags::empty());
    })
}

fn random_name(name: &str, suffix: &str) -> Result<String, Errno> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!("{name}.{:016x}.{suffix}", u64::from_ne_bytes(random)))
}

/// An openat2 that only looks never answers EPERM; seccomp profiles that do not know it do.
fn available<T>(opened: Result<T, Errno>) -> Result<T, Errno> {
    opened.map_err(|error| if error == Errno::PERM { Errno::NOSYS } else { error })
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
