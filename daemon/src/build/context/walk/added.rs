//! What the builder gets beside the context.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ResolveFlags};

use super::Walk;
use crate::beneath::openat2;
use crate::build::context::archive::Content;
use crate::build::context::{ContextError, READ_FLAGS};
use crate::dockerfile::{BUILDER_DIR, CONTEXT_DIR, Content as Added};

impl<W: Write> Walk<'_, W> {
    /// Sends what the builder gets beside the context, and the context's root.
    pub(super) fn added(&mut self) -> Result<(), ContextError> {
        let root = |path: &str| (PathBuf::from(path), 0o755);
        // Kaniko lets root only into the directory that it unpacks into, unless it has an entry of its own.
        let mut directories = BTreeMap::from([root("."), root(CONTEXT_DIR), root(BUILDER_DIR)]);
        for file in &self.context.added {
            let path = Path::new(BUILDER_DIR).join(&file.path);
            if let Some(parent) = path.parent() {
                directories.entry(parent.to_owned()).or_insert(0o755);
            }
            if file.content == Added::Directory {
                directories.insert(path, file.mode);
            }
        }
        for (directory, mode) in directories {
            let sent = self.archive.entry(&directory, mode, &Content::Directory);
            sent.map_err(|fault| self.fault(fault))?;
        }
        for file in &self.context.added {
            let path = Path::new(BUILDER_DIR).join(&file.path);
            // Links need what they lead to, and come last.
            if let Added::Bytes(bytes) = &file.content {
                let content = Content::File(bytes.len() as u64);
                let sent = self.archive.entry(&path, file.mode, &content);
                let sent = sent.and_then(|()| self.archive.data(bytes));
                sent.and_then(|()| self.archive.pad()).map_err(|fault| self.fault(fault))?;
            }
        }
        Ok(())
    }

    /// Sends what the builder gets of the context's files a second time.
    pub(super) fn added_again(&mut self) -> Result<(), ContextError> {
        for file in &self.context.added {
            let path = Path::new(BUILDER_DIR).join(&file.path);
            let target = |path: String| CString::new(path).unwrap_or_default();
            let sent = match &file.content {
                Added::Bytes(_) | Added::Directory => continue,
                Added::Copy(from) => {
                    self.copy(Path::new(from), &path, file.mode)?;
                    continue;
                }
                Added::Link(to) => {
                    let to = target(format!("{CONTEXT_DIR}/{to}"));
                    self.archive.entry(&path, file.mode, &Content::Link(&to))
                }
                Added::Symlink(to) => {
                    let to = target(to.clone());
                    self.archive.entry(&path, file.mode, &Content::Symlink(&to))
                }
            };
            sent.map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// Sends a file of the context once more, under another path and with other permissions.
    fn copy(&mut self, from: &Path, path: &Path, mode: u32) -> Result<(), ContextError> {
        let flags = READ_FLAGS | OFlags::NOFOLLOW;
        let file = openat2(&self.context.directory, from, flags, ResolveFlags::NO_SYMLINKS);
        let file = file.map_err(|cause| self.failed(from, cause))?.into();
        let size = self.stat(from, &file)?.st_size as u64;
        let begun = self.archive.entry(path, mode, &Content::File(size));
        begun.map_err(|fault| self.fault(fault))?;
        self.bytes(from, &file, size)
    }
}
