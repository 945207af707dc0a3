//! What is sent.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn chmod(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_directories_and_modes_are_sent() {
    let place = place();
    place.write("sub/run.sh", "#!/bin/sh\n");
    place.write("a", "");
    std::fs::create_dir(place.context.join("empty")).unwrap();
    chmod(place.context.join("sub/run.sh"), 0o4755);
    chmod(place.context.join("a"), 0o640);
    // A volume with an fsGroup has its setgid bit on all directories.
    chmod(place.context.join("sub"), 0o2775);
    chmod(place.context.join("empty"), 0o1700);
    std::fs::hard_link(place.context.join("a"), place.context.join("b")).unwrap();
    assert_eq!(place.sent(), ["Dockerfile", "a", "b", "empty/", "sub/", "sub/run.sh"]);
    let sent = by_name(&place.send().unwrap());
    assert_eq!(sent[&b"sub/run.sh"[..]].content, b"#!/bin/sh\n");
    let modes = ["a", "b", "empty/", "sub/", "sub/run.sh"].map(|name| sent[name.as_bytes()].mode);
    assert_eq!(modes, [0o640, 0o640, 0o1700, 0o775, 0o4755]);
    assert_eq!(sent[&b"b"[..]].kind, tar::EntryType::Regular);
}

#[test]
fn the_summary_counts_what_was_sent() {
    let place = place();
    place.write("sub/a", noise(1000));
    symlink("a", place.context.join("link")).unwrap();
    let mut stream = Vec::new();
    let context = place.open("action/Dockerfile").unwrap();
    let summary = context.write_tar_gz(&mut stream, &plenty()).unwrap();
    let mut archive = Vec::new();
    GzDecoder::new(&stream[..]).read_to_end(&mut archive).unwrap();
    assert_eq!((summary.files, summary.bytes), (3, archive.len() as u64));
    assert_eq!(summary.digest, context.survey(&plenty()).unwrap().digest);
    // A context can be sent again, should the connection break.
    let mut again = Vec::new();
    assert_eq!(context.write_tar_gz(&mut again, &plenty()).unwrap(), summary);
    assert!(stream == again);
}

#[test]
fn the_same_tree_is_the_same_bytes_at_any_time() {
    let places = [place(), place()];
    let names = ["b/x", "b/y", "a", "c"];
    for (place, order) in places.iter().zip([names.to_vec(), names.into_iter().rev().collect()]) {
        order.iter().for_each(|name| place.write(name, name));
        chmod(place.context.join("b"), 0o755);
        order.iter().for_each(|name| chmod(place.context.join(name), 0o644));
        chmod(place.context.join("Dockerfile"), 0o644);
    }
    let changed = std::fs::File::options().write(true).open(places[1].context.join("a")).unwrap();
    changed.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let chown = std::os::unix::fs::chown(places[1].context.join("b/x"), Some(1001), Some(1001));
    assert_eq!(chown.is_ok(), rustix::process::geteuid().is_root());
    assert!(places[0].send().unwrap() == places[1].send().unwrap());
}

#[test]
fn symlinks_are_sent_as_they_are() {
    let place = place();
    let long = "../".repeat(60) + "etc";
    let links = [
        ("abs", "/etc/passwd"),
        ("dangling", "no//where/."),
        ("up", "../../outside"),
        ("l", &long),
    ];
    for (name, target) in links {
        symlink(target, place.context.join(name)).unwrap();
    }
    let sent = by_name(&place.send().unwrap());
    for (name, target) in links {
        let entry = &sent[name.as_bytes()];
        assert_eq!(entry.kind, tar::EntryType::Symlink);
        assert_eq!(entry.target.as_deref(), Some(target.as_bytes()));
        assert!(entry.content.is_empty());
    }
    assert_eq!(sent.len(), 5, "nothing behind a symlink is sent");
}

#[test]
fn odd_names_survive() {
    let place = place();
    let deep = format!("{0}/{0}/{0}", "d".repeat(200));
    place.write(&format!("{deep}/f"), "deep");
    place.write(&format!("{deep}/{}", "n".repeat(255)), "long");
    for length in 98..=101 {
        place.write(&"l".repeat(length), length.to_string());
    }
    place.write("new\nline", "newline");
    place.write(" -x ", "spaces");
    let invalid = OsString::from_vec(b"in\xFFvalid".into());
    std::fs::write(place.context.join(&invalid), "bytes").unwrap();
    symlink(&invalid, place.context.join("to invalid")).unwrap();
    let sent = by_name(&place.send().unwrap());
    let content = |name: &[u8]| String::from_utf8_lossy(&sent[name].content).into_owned();
    assert_eq!(content(format!("{deep}/f").as_bytes()), "deep");
    assert_eq!(content(format!("{deep}/{}", "n".repeat(255)).as_bytes()), "long");
    for length in 98..=101 {
        assert_eq!(content("l".repeat(length).as_bytes()), length.to_string());
    }
    assert!(sent.contains_key(format!("{deep}/").as_bytes()));
    assert_eq!(content(b"new\nline"), "newline");
    assert_eq!(content(b" -x "), "spaces");
    assert_eq!(content(b"in\xFFvalid"), "bytes");
    assert_eq!(sent[&b"to invalid"[..]].target.as_deref(), Some(&b"in\xFFvalid"[..]));
}

#[test]
fn a_deep_tree_needs_no_stack_and_no_descriptors() {
    let place = place();
    place.write(&format!("{}f", "d/".repeat(1500)), "deep");
    assert_eq!(place.sent().len(), 1502);
}

#[test]
fn pipes_sockets_and_devices_are_refused() {
    let place = place();
    let path = place.context.join("sub");
    std::fs::create_dir(&path).unwrap();
    let special = path.join("special");
    let refused = |wanted: &str| {
        let error = place.refusal();
        let ContextError::SpecialFile { path, kind } = &error else { panic!("{error}") };
        assert_eq!((path, *kind), (&special, wanted));
        std::fs::remove_file(&special).unwrap();
    };
    place.fifo("sub/special");
    refused("named pipe");
    let socket = std::os::unix::net::UnixListener::bind(&special).unwrap();
    refused("socket");
    drop(socket);
    let null = rustix::fs::makedev(1, 3);
    match rustix::fs::mknodat(CWD, &special, FileType::CharacterDevice, Mode::RWXU, null) {
        Ok(()) => refused("character device"),
        Err(cause) => assert_eq!(cause, Errno::PERM, "a device cannot be made here"),
    }
}

#[test]
fn a_sparse_file_is_sent_with_its_holes_as_zeros() {
    let place = place();
    let file = std::fs::File::create(place.context.join("sparse")).unwrap();
    file.set_len(1_000_001).unwrap();
    let sent = by_name(&place.send().unwrap());
    assert!(sent[&b"sparse"[..]].content == vec![0; 1_000_001]);
}

#[test]
fn a_context_above_the_limit_is_refused() {
    let place = place();
    place.write("sub/file", noise(10_000));
    let context = place.open("action/Dockerfile").unwrap();
    let mut stream = Vec::new();
    let ContextSummary { bytes, .. } = context.write_tar_gz(&mut stream, &plenty()).unwrap();
    // The end of an archive does not count.
    assert!(context.write_tar_gz(&mut stream, &within(bytes - 1024)).is_ok());
    for limit in [0, 511, 5_000, bytes - 1025] {
        let error = context.write_tar_gz(&mut stream, &within(limit)).unwrap_err();
        let ContextError::TooLarge { path, limit: named } = &error else { panic!("{error}") };
        assert_eq!((path, *named), (&place.context, limit));
        assert!(error.help().contains("HOOKD_BUILD_CONTEXT_LIMIT_BYTES"));
    }
    let sparse = std::fs::File::create(place.context.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(matches!(place.refusal(), ContextError::TooLarge { .. }));
}

#[test]
fn a_stream_that_was_broken_off_does_not_pass_for_a_whole_one() {
    let place = place();
    for noise in [noise(10), noise(1 << 20)] {
        place.write("a", noise);
        place.fifo("z");
        let mut stream = Vec::new();
        let context = place.open("action/Dockerfile").unwrap();
        assert!(context.write_tar_gz(&mut stream, &plenty()).is_err());
        let read = GzDecoder::new(&stream[..]).read_to_end(&mut Vec::new());
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::remove_file(place.context.join("z")).unwrap();
    }
}

#[test]
fn a_failed_output_differs_from_a_failed_context() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = place().open("action/Dockerfile").unwrap().write_tar_gz(Closed, &plenty());
    assert!(matches!(error, Err(ContextError::Output { .. })));
}
