//! What `.dockerignore` files leave out.

use super::*;

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
    let kept =
        [".dockerignore", "Dockerfile", "docs/", "docs/a/", "docs/a/keep.md", "src/", "src/x"];
    assert_eq!(place.sent(), kept);
}

#[test]
fn the_builders_own_files_are_sent_even_if_they_are_ignored() {
    let place = place();
    place.write(".dockerignore", "**\n");
    place.write("sub/Dockerfile", "");
    assert_eq!(place.sent(), [".dockerignore", "Dockerfile"]);
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
