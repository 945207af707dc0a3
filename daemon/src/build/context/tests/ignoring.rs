//! What `.dockerignore` files leave out.

use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::dockerfile::{Content, ContextFiles, Entry};

#[test]
fn ignored_files_and_directories_are_left_out() {
    let place = place();
    place.write(".dockerignore", "# mine\n*.log\nnode_modules\n");
    for name in ["a.log", "a.txt", "sub/b.log", "node_modules/x", "sub/node_modules/y"] {
        place.write(name, "");
    }
    let kept = [
        ".dockerignore",
        "Dockerfile",
        "a.txt",
        "sub/",
        "sub/b.log",
        "sub/node_modules/",
        "sub/node_modules/y",
    ];
    assert_eq!(place.sent(), kept);
}

#[test]
fn exceptions_are_found_in_ignored_directories() {
    let place = place();
    place.write(".dockerignore", "*\n!docs/*/keep.md\n!src\nsrc/tmp\n");
    for name in ["docs/a/keep.md", "docs/a/drop.md", "docs/b/drop.md", "src/x", "src/tmp/y", "z/z"]
    {
        place.write(name, "");
    }
    let kept = ["docs/", "docs/a/", "docs/a/keep.md", "src/", "src/x"];
    assert_eq!(place.sent(), kept);
}

#[test]
fn a_dockerfile_that_is_ignored_is_not_sent() {
    let place = place();
    place.write(".dockerignore", "**\n!.dockerignore\n");
    place.write("sub/Dockerfile", "");
    assert_eq!(place.sent(), [".dockerignore"]);
}

#[test]
fn what_the_builder_gets_is_not_in_the_context() {
    let place = place();
    place.write(".dockerignore", "*\n!kept\n");
    place.write("kept", "kept");
    place.write("Dockerfile", "FROM x\n");
    let mut context = place.open("action/Dockerfile").unwrap();
    let file = |path: &str, mode, content| BuilderFile { path: path.to_owned(), mode, content };
    context.add(vec![
        file("copy-1/again", 0o4755, Content::Copy("kept".to_owned())),
        file("copy-1/same", 0o644, Content::Link("kept".to_owned())),
        file("copy-1/to", 0o777, Content::Symlink("same".to_owned())),
        file("copy-2", 0o700, Content::Directory),
        file("Dockerfile", 0o644, Content::Bytes(b"FROM y\n".to_vec())),
    ]);
    let mut stream = Vec::new();
    context.write_tar_gz(&mut stream, &plenty()).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(&stream[..]));
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let shown = |mut entry: tar::Entry<'_, _>| {
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let to = entry.link_name().unwrap().map(|to| to.display().to_string()).unwrap_or_default();
        let (path, mode) = (entry.path().unwrap().display().to_string(), entry.header().mode());
        format!("{path} {:o} {to}{}", mode.unwrap(), text.trim_end())
    };
    let sent: Vec<_> = entries.map(shown).collect();
    let expected = [
        "./ 755 ",
        "context/ 755 ",
        "hookd/ 755 ",
        "hookd/copy-1/ 755 ",
        "hookd/copy-2/ 700 ",
        "hookd/Dockerfile 644 FROM y",
        "context/kept 644 kept",
        "hookd/copy-1/again 4755 kept",
        "hookd/copy-1/same 644 context/kept",
        "hookd/copy-1/to 777 same",
    ];
    assert_eq!(sent, expected);
}

#[test]
fn files_are_looked_at_beneath_the_context_only() {
    let place = place();
    place.write(".dockerignore", "ignored\n*.log\n");
    for name in ["ignored", "a.log", "dir/file"] {
        place.write(name, name);
    }
    symlink(&place.outside, place.context.join("out")).unwrap();
    symlink("file", place.context.join("dir/link")).unwrap();
    place.fifo("pipe");
    let context = place.open("action/Dockerfile").unwrap();
    let files = Files::of(&context, &plenty());
    assert_eq!(files.entry("dir/file"), Some(Entry::File(0o644)));
    assert_eq!(files.entry("dir"), Some(Entry::Directory(0o755)));
    assert_eq!(files.entry("dir/link"), Some(Entry::Symlink("file".to_owned())));
    for hidden in ["ignored", "a.log", "none", "pipe", "out/secret", "../outside/secret"] {
        assert_eq!(files.entry(hidden), None, "{hidden}");
        assert_eq!(files.begin(&format!("{hidden}/x")), b"");
    }
    assert_eq!(files.begin("out/secret"), b"");
    assert_eq!(files.begin("dir/file"), b"dir/file");
    assert_eq!(files.names("dir"), Some(vec!["file".to_owned(), "link".to_owned()]));
    place.write("odd/x", "");
    let odd = std::ffi::OsStr::from_bytes(b"odd/\xff");
    std::fs::write(place.context.join(odd), "").unwrap();
    assert_eq!(files.names("odd"), None);
    assert_eq!(files.matches(&["*.md".to_owned()], "a.md"), Some(true));
    assert_eq!(files.matches(&["[".to_owned()], "a.md"), None);
}

#[test]
fn a_dockerfiles_own_file_goes_before_the_common_one() {
    let place = place();
    place.write(".dockerignore", "a\n");
    place.write("Dockerfile.dockerignore", "b\n.dockerignore\n");
    place.write("a", "");
    place.write("b", "");
    assert_eq!(place.sent(), ["Dockerfile", "Dockerfile.dockerignore", "a"]);
}

#[test]
fn what_cannot_be_sent_can_be_ignored() {
    let place = place();
    place.write(".dockerignore", "run\npipe\n!run/keep\n");
    place.write("run/keep", "");
    place.fifo("pipe");
    place.fifo("run/pipe");
    let socket = std::os::unix::net::UnixListener::bind(place.context.join("run/socket"));
    assert_eq!(place.sent(), [".dockerignore", "Dockerfile", "run/", "run/keep"]);
    drop(socket);
}

#[test]
fn a_file_that_is_not_understood_is_told_by_its_line() {
    let place = place();
    place.write(".dockerignore", "ok\n\n[a\n");
    let error = place.refusal();
    let ContextError::InvalidRule { path, line, rule } = &error else { panic!("{error}") };
    assert_eq!((path, *line, &**rule), (&place.context.join(".dockerignore"), 3, "[a"));
    place.write(".dockerignore", "x".repeat(2 << 20));
    assert!(matches!(place.refusal(), ContextError::FileTooLarge { .. }));
    std::fs::remove_file(place.context.join(".dockerignore")).unwrap();
    std::fs::create_dir(place.context.join(".dockerignore")).unwrap();
    assert!(matches!(place.refusal(), ContextError::IsDirectory { .. }));
}

#[test]
fn a_symlink_out_of_the_work_directory_is_refused() {
    let place = place();
    symlink(place.outside.join("secret"), place.context.join(".dockerignore")).unwrap();
    assert!(matches!(place.refusal(), ContextError::Escapes { .. }));
}
