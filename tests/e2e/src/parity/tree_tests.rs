use super::*;

use tar::{Builder, Header};

/// An archive that is written entry by entry.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header
    }

    fn file(mut self, path: &str, content: &str) -> Self {
        let mut header = Self::header(EntryType::Regular, 0o644, content.len() as u64);
        self.0.append_data(&mut header, path, content.as_bytes()).unwrap();
        self
    }

    fn other(mut self, kind: EntryType, path: &str, mode: u32) -> Self {
        let mut header = Self::header(kind, mode, 0);
        self.0.append_data(&mut header, path, io::empty()).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777, 0);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    fn layer(self) -> Layer {
        Layer::read(self.0.into_inner().unwrap().as_slice()).unwrap()
    }
}

fn tree(layers: impl IntoIterator<Item = Archive>) -> Tree {
    let mut tree = Tree::default();
    layers.into_iter().for_each(|archive| tree.apply(&archive.layer()).unwrap());
    tree
}

fn content(tree: &Tree, path: &str) -> Option<String> {
    match &tree.get(path)?.kind {
        Kind::File(content) => Some(String::from_utf8(content.clone().unwrap()).unwrap()),
        other => Some(format!("<{}>", other.name())),
    }
}

#[test]
fn later_layers_replace_files_and_keep_directories() {
    let base = Archive::new().other(EntryType::Directory, "./d/", 0o755).file("./d/a", "1");
    let over =
        Archive::new().other(EntryType::Directory, "d", 0o700).file("d/b", "2").file("e/f/g", "3");
    let tree = tree([base, over]);
    assert_eq!(content(&tree, "/d/a").as_deref(), Some("1"));
    assert_eq!(content(&tree, "d/b/").as_deref(), Some("2"));
    assert_eq!(tree.get("/d").unwrap().mode, 0o700);
    let made = tree.get("/e/f").unwrap();
    assert_eq!((&made.kind, made.mode, made.owner.as_str()), (&Kind::Dir, 0o755, "0:0"));
}

#[test]
fn whiteouts_hide_files_of_lower_layers_only() {
    let base =
        Archive::new().file("d/a", "1").file("d/ab", "1").file("o/x", "1").file("gone/y", "1");
    let over = Archive::new()
        .file("o/new", "2")
        .file("o/.wh..wh..opq", "")
        .file("d/.wh.a", "")
        .file("gone", "2");
    let tree = tree([base, over]);
    assert_eq!(content(&tree, "/d/a"), None);
    assert_eq!(content(&tree, "/d/ab").as_deref(), Some("1"));
    assert_eq!((content(&tree, "/o/x"), content(&tree, "/o/new").as_deref()), (None, Some("2")));
    assert_eq!((content(&tree, "/gone").as_deref(), content(&tree, "/gone/y")), (Some("2"), None));
    assert!(tree.0.keys().all(|path| !path.contains(".wh.")));
}

#[test]
fn files_below_a_link_go_where_it_leads() {
    let base = Archive::new()
        .other(EntryType::Directory, "usr/bin", 0o755)
        .link(EntryType::Symlink, "bin", "usr/bin")
        .link(EntryType::Symlink, "circle", "circle");
    let over = Archive::new().file("bin/tool", "1").file("circle/x", "2");
    let files = tree([base, over]);
    assert_eq!(content(&files, "/usr/bin/tool").as_deref(), Some("1"));
    assert_eq!(content(&files, "/bin/tool").as_deref(), Some("1"));
    assert_eq!(files.get("/bin").unwrap().kind, Kind::Link("usr/bin".to_owned()));
    // A directory in a link's place is one.
    let base = Archive::new().file("r/f", "1").link(EntryType::Symlink, "l", "/r");
    let over = Archive::new().other(EntryType::Directory, "l/", 0o755).file("l/g", "2");
    let files = tree([base, over]);
    assert_eq!((content(&files, "/l/f"), content(&files, "/l/g").as_deref()), (None, Some("2")));
}

#[test]
fn hard_links_are_one_file_until_one_is_replaced() {
    let base = Archive::new().file("a", "1").link(EntryType::Link, "b", "a");
    let over = Archive::new().link(EntryType::Link, "c", "/a").file("b", "2");
    let files = tree([base, over]);
    let same = |one, other| Arc::ptr_eq(files.get(one).unwrap(), files.get(other).unwrap());
    assert!(same("/a", "/c") && !same("/a", "/b"));
    let broken = Archive::new().link(EntryType::Link, "x", "nowhere").layer();
    assert!(Tree::default().apply(&broken).unwrap_err().contains("nowhere"));
}

#[test]
fn long_names_modes_and_file_capabilities_are_read() {
    let (long, target) = ("n/".repeat(120) + "f", "t".repeat(200));
    let mut archive = Archive::new()
        .file(&long, "long")
        .link(EntryType::Symlink, "link", &target)
        .other(EntryType::Directory, "t", 0o1777)
        .other(EntryType::Char, "null", 0o666)
        .other(EntryType::Fifo, "fifo", 0o644);
    let caps = ("SCHILY.xattr.security.capability", b"\x01\0\0\x02".as_slice());
    archive.0.append_pax_extensions([caps]).unwrap();
    let tree = tree([archive.file("ping", "p")]);
    assert_eq!(content(&tree, &format!("/{long}")).as_deref(), Some("long"));
    assert_eq!(tree.get("/link").unwrap().kind, Kind::Link(target));
    assert_eq!(tree.get("/t").unwrap().mode, 0o1777);
    assert_eq!(tree.get("/null").unwrap().kind, Kind::Char);
    assert_eq!(tree.get("/fifo").unwrap().kind, Kind::Fifo);
    assert!(tree.get("/ping").unwrap().has_caps && !tree.get("/t").unwrap().has_caps);
}
