//! Entries of a context.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

/// Names of entries; the last one does not fit the header of an archive.
pub(super) const NAMES: [&str; 10] = [
    "a",
    "ab",
    "a b",
    "b",
    "d/a",
    "d/b",
    "d/e/a",
    "e",
    "z.txt",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
];

/// What an entry of a context is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    File { content: Vec<u8>, mode: u32 },
    Link { target: &'static str },
    Directory { mode: u32 },
}

pub(super) type Tree = BTreeMap<&'static str, Node>;

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        prop::sample::select(vec![b"".to_vec(), b"a".to_vec(), b"ab".to_vec(), vec![0; 512]]),
        // What the next entry of an archive could begin with.
        Just([&b"b"[..], &[0; 99]].concat()),
    ];
    let mode = prop::sample::select(vec![0o644, 0o755, 0o600]);
    prop_oneof![
        4 => (content, mode).prop_map(|(content, mode)| Node::File { content, mode }),
        1 => prop::sample::select(vec!["a", "b"]).prop_map(|target| Node::Link { target }),
        1 => prop::sample::select(vec![0o755, 0o700]).prop_map(|mode| Node::Directory { mode }),
    ]
}

pub(super) fn tree() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), node(), 2..8)
}

/// Writes the tree. Neither its times nor the bit that Kubernetes sets on directories of volumes count.
pub(super) fn write(tree: &Tree, directory: &Path, seconds: u64, has_setgid: bool) {
    let bit = if has_setgid { 0o2000 } else { 0 };
    fs::create_dir_all(directory.join("d/e")).unwrap();
    for (name, node) in tree {
        let path = directory.join(name);
        match node {
            Node::File { content, mode } => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                File::open(&path).unwrap().set_modified(time).unwrap();
            }
            Node::Link { target } => symlink(target, &path).unwrap(),
            Node::Directory { mode } => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode | bit)).unwrap();
            }
        }
    }
    for name in ["d/e", "d"] {
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o755 | bit)).unwrap();
    }
}
