//! The files of an image: its layers laid upon each other, as containerd does it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use tar::EntryType;

/// Larger files are not kept; those that are compared have some bytes.
const LARGEST_CONTENT: u64 = 16 << 10;
/// Links on the way to one file; more are a circle.
const MOST_LINKS: usize = 40;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// A file of any type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// "uid:gid".
    pub(crate) owner: String,
    /// It has a file capability.
    pub(crate) has_caps: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With its content, unless it is large.
    File(Option<Vec<u8>>),
    Dir,
    /// With its target.
    Link(String),
    Char,
    Block,
    Fifo,
}

impl Kind {
    /// As expectations call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Dir => "dir",
            Self::Link(_) => "link",
            Self::Char => "char",
            Self::Block => "block",
            Self::Fifo => "fifo",
        }
    }
}

/// What a layer does at a path.
#[derive(Debug)]
enum Change {
    Add(Arc<Node>),
    HardLink(String),
    Delete,
    /// Hides what lower layers have below a directory.
    Empty,
}

/// A layer: paths and changes, in the archive's order.
#[derive(Debug)]
pub(crate) struct Layer(Vec<(String, Change)>);

impl Layer {
    /// Reads a tar archive.
    pub(crate) fn read(archive: impl Read) -> io::Result<Self> {
        let mut changes = Vec::new();
        for entry in tar::Archive::new(archive).entries()? {
            changes.extend(change(&mut entry?)?);
        }
        Ok(Self(changes))
    }
}

fn change(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<(String, Change)>> {
    let path = clean(&entry.path_bytes());
    let (parent, name) = split(&path);
    if name == OPAQUE {
        return Ok(Some((parent.to_owned(), Change::Empty)));
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        return Ok(Some((join(parent, hidden), Change::Delete)));
    }
    let target = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
    let kind = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(content(entry)?),
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Link(String::from_utf8_lossy(&target).into_owned()),
        EntryType::Char => Kind::Char,
        EntryType::Block => Kind::Block,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Link => return Ok(Some((path, Change::HardLink(clean(&target))))),
        EntryType::XGlobalHeader => return Ok(None),
        other => return Err(io::Error::other(format!("{path} has the type {other:?}"))),
    };
    let header = entry.header();
    let (mode, owner) = (header.mode()? & 0o7777, format!("{}:{}", header.uid()?, header.gid()?));
    let has_caps = has_caps(entry)?;
    Ok(Some((path, Change::Add(Arc::new(Node { kind, mode, owner, has_caps })))))
}

fn content(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Vec<u8>>> {
    if entry.size() > LARGEST_CONTENT {
        return Ok(None);
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    Ok(Some(content))
}

fn has_caps(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        if extension?.key_bytes() == b"SCHILY.xattr.security.capability" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Files by their paths, none of which leads through a link.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Arc<Node>>);

impl Tree {
    /// Lays a layer upon this.
    pub(crate) fn apply(&mut self, layer: &Layer) -> Result<(), String> {
        // They hide files of lower layers only, wherever they stand in the archive.
        for (path, change) in &layer.0 {
            match change {
                Change::Delete => self.remove(&self.place(path)),
                Change::Empty => self.clear(&self.place(path)),
                Change::Add(_) | Change::HardLink(_) => {}
            }
        }
        for (path, change) in &layer.0 {
            match change {
                Change::Add(node) => self.insert(path, Arc::clone(node)),
                Change::HardLink(target) => {
                    let missing = || format!("{path} is a hard link to {target}, which is missing");
                    let node = self.get(target).ok_or_else(missing)?;
                    self.insert(path, Arc::clone(node));
                }
                Change::Delete | Change::Empty => {}
            }
        }
        Ok(())
    }

    /// The file at a path; its last part may be a link, which is not followed.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Node>> {
        self.0.get(&self.place(path))
    }

    fn insert(&mut self, path: &str, node: Arc<Node>) {
        let place = self.place(path);
        if place.is_empty() {
            return;
        }
        let is_dir = |node: &Arc<Node>| node.kind == Kind::Dir;
        // A directory upon a directory keeps what is in it.
        if !(is_dir(&node) && self.0.get(&place).is_some_and(is_dir)) {
            self.remove(&place);
        }
        let (mut parent, _) = split(&place);
        while !parent.is_empty() && !self.0.contains_key(parent) {
            let owner = "0:0".to_owned();
            let made = Node { kind: Kind::Dir, mode: 0o755, owner, has_caps: false };
            self.0.insert(parent.to_owned(), Arc::new(made));
            (parent, _) = split(parent);
        }
        self.0.insert(place, node);
    }

    fn remove(&mut self, place: &str) {
        self.0.remove(place);
        self.clear(place);
    }

    fn clear(&mut self, place: &str) {
        let start = if place.is_empty() { String::new() } else { format!("{place}/") };
        self.0.retain(|path, _| !path.starts_with(&start));
    }

    /// A path without links on the way to its last part.
    fn place(&self, path: &str) -> String {
        let path = path.trim_matches('/');
        let (parent, name) = split(path);
        join(&self.follow("", parent, 0), name)
    }

    /// A path without any links, from the directory `at`.
    fn follow(&self, at: &str, path: &str, links: usize) -> String {
        let start = if path.starts_with('/') { "" } else { at };
        path.split('/').fold(start.to_owned(), |at, part| match part {
            "" | "." => at,
            ".." => split(&at).0.to_owned(),
            _ => {
                let next = join(&at, part);
                match self.0.get(&next).map(|node| &node.kind) {
                    Some(Kind::Link(target)) if links < MOST_LINKS => {
                        self.follow(&at, target, links + 1)
                    }
                    _ => next,
                }
            }
        })
    }
}

/// A path of an archive without "./" and the like.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
