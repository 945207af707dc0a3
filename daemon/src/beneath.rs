//! Opens paths that other people chose, never outside of the directories that are allowed.
//!
//! The kernel does the checking: every open is an openat2 beneath one allowed directory, so that
//! what the job does to the tree meanwhile cannot lead it out. The kernel refuses absolute
//! symlinks that way, also harmless ones, and knows of one directory only; the runner, however,
//! makes an action's directory an absolute symlink into its action cache. So where the kernel
//! refuses, the first symlink on the way is read, and what it stands for is tried from the start
//! like any other path.
//!
//! What hookd makes or changes in such a directory goes through [`Tree`], which follows no symlink.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

mod tree;

pub(crate) use tree::{Appended, Kept, Tree, Widened};

/// As many symlinks as Linux follows.
const MAX_LINKS: usize = 40;
/// Tries of one openat2: it asks for another one when something was renamed meanwhile.
const TRIES: usize = 32;

/// Why a path was not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It lies in none of the directories.
    Outside,
    /// A symlink leads out of them.
    Escapes { link: PathBuf, target: PathBuf },
    /// The directory that it lies in cannot be opened itself.
    Root { root: PathBuf, cause: Errno },
    /// The kernel refuses.
    Kernel(Errno),
}

/// The path without `.`, `..` and doubled slashes, as text; nothing for a relative one.
pub fn normalised(path: &Path) -> Option<PathBuf> {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = result.pop(),
            Component::CurDir => {}
            _ => result.push(component),
        }
    }
    result.is_absolute().then_some(result)
}

/// Opens a normalised path beneath one of the roots, following symlinks as long as they stay
/// beneath one.
pub(crate) fn open(roots: &[PathBuf], path: &Path, flags: OFlags) -> Result<OwnedFd, Refused> {
    let mut path = path.to_owned();
    let mut followed = None;
    for _ in 0..MAX_LINKS {
        let Some((root, rest)) = containing(roots, &path) else {
            return Err(match followed {
                Some((link, target)) => Refused::Escapes { link, target },
                None => Refused::Outside,
            });
        };
        // The administrator chose the root: symlinks on the way to it are no concern.
        let top =
            fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|cause| Refused::Root { root: root.clone(), cause })?;
        match openat2(&top, &rest, flags, ResolveFlags::empty()) {
            Err(Errno::XDEV) => {}
            opened => return opened.map_err(Refused::Kernel),
        }
        let step = first_link(&top, &rest).map_err(Refused::Kernel)?;
        let target = step.target(&root);
        path.clone_from(&target);
        path.extend(&step.after);
        followed = Some((root.join(&step.link), target));
    }
    Err(Refused::Kernel(Errno::LOOP))
}

/// openat2 beneath `dir`, which no magic link of /proc leads out of either.
pub(crate) fn openat2(
    dir: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    // An empty path is an error; it is meant for the directory itself.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match fs::openat2(&dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// The root that the path lies beneath, and the rest of the path.
fn containing(roots: &[PathBuf], path: &Path) -> Option<(PathBuf, PathBuf)> {
    roots.iter().filter_map(|root| normalised(root)).find_map(|root| {
        let rest = path.strip_prefix(&root).ok()?.to_owned();
        Some((root, rest))
    })
}

/// A symlink on the way: relative to the root, what it contains, and what comes after it.
struct Link {
    link: PathBuf,
    content: PathBuf,
    after: PathBuf,
}

impl Link {
    /// Where it leads. Exact as text, since no symlink comes before this one.
    fn target(&self, root: &Path) -> PathBuf {
        let parent = self.link.parent().unwrap_or(Path::new(""));
        let target = root.join(parent).join(&self.content);
        normalised(&target).unwrap_or(target)
    }
}

fn first_link(top: &OwnedFd, rest: &Path) -> Result<Link, Errno> {
    let mut link = PathBuf::new();
    let mut components = rest.components();
    while let Some(component) = components.next() {
        link.push(component);
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = openat2(top, &link, flags, ResolveFlags::NO_SYMLINKS)?;
        // Reads what the descriptor stands for; an error means that it is no symlink.
        if let Ok(content) = fs::readlinkat(&found, "", Vec::new()) {
            let content = PathBuf::from(OsString::from_vec(content.into_bytes()));
            return Ok(Link { link, content, after: components.as_path().to_owned() });
        }
    }
    // It was there a moment ago.
    Err(Errno::XDEV)
}
