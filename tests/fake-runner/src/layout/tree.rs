//! Folders and files that end up belonging to the runner's user.

use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::{fs, io};

use super::LayoutError;

const RUNNER_ID: u32 = 1001;

#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    owner: Option<u32>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { owner: rustix::process::geteuid().is_root().then_some(RUNNER_ID) }
    }

    /// Makes `path` and those above it that are not there.
    pub(super) fn make_folder(self, path: &Path) -> Result<(), LayoutError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        match fs::create_dir(path) {
            // Another step made it at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result.and_then(|()| self.give(path)),
        }
        .map_err(LayoutError::of("make the folder", path))
    }

    pub(super) fn write(self, path: &Path, text: &str) -> Result<(), LayoutError> {
        fs::write(path, text).and_then(|()| self.give(path)).map_err(LayoutError::of("write", path))
    }

    /// Removes `path` and all in it, if it is there.
    pub(super) fn remove(self, path: &Path) -> Result<(), LayoutError> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
        .map_err(LayoutError::of("remove", path))
    }

    /// Puts a copy of `source` in place of `target`; a reader sees the old or the new one.
    pub(super) fn replace(self, source: &Path, target: &Path) -> Result<(), LayoutError> {
        let parent = target.parent().unwrap_or(target);
        self.make_folder(parent)?;
        let guid = super::guid()?;
        let (new, old) = (parent.join(format!(".{guid}.new")), parent.join(format!(".{guid}.old")));
        let source = source.canonicalize().map_err(LayoutError::of("read", source))?;
        self.copy(&source, &new)?;
        match fs::rename(target, &old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
        .and_then(|()| fs::rename(&new, target))
        .map_err(LayoutError::of("replace", target))?;
        self.remove(&old)
    }

    fn copy(self, source: &Path, target: &Path) -> Result<(), LayoutError> {
        let kind = fs::symlink_metadata(source).map_err(LayoutError::of("read", source))?;
        if kind.is_dir() {
            self.make_folder(target)?;
            for entry in fs::read_dir(source).map_err(LayoutError::of("read", source))? {
                let entry = entry.map_err(LayoutError::of("read", source))?;
                self.copy(&entry.path(), &target.join(entry.file_name()))?;
            }
            return Ok(());
        }
        let made = if kind.is_symlink() {
            fs::read_link(source).and_then(|link| symlink(link, target))
        } else if kind.is_file() {
            fs::copy(source, target).map(|_| ())
        } else {
            Err(io::Error::other("it is neither a file, a folder nor a link"))
        };
        made.and_then(|()| self.give(target)).map_err(LayoutError::of("copy", source))
    }

    fn give(self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |id| lchown(path, Some(id), Some(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_copy_keeps_modes_and_links_and_belongs_to_the_runner() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("x/b"));
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/run.sh"), "exit").unwrap();
        fs::set_permissions(source.join("sub/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("sub/run.sh", source.join("link")).unwrap();
        let tree = Tree::new();
        tree.replace(&source, &target).unwrap();
        let copied = fs::metadata(target.join("sub/run.sh")).unwrap();
        assert_eq!(copied.mode() & 0o777, 0o755);
        assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("sub/run.sh"));
        if let Some(owner) = tree.owner {
            assert_eq!((copied.uid(), copied.gid()), (owner, owner));
        }
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }
}
