//! What may be opened, and what is said of what may not.

use super::*;

#[test]
fn a_dockerfile_may_lie_elsewhere_beneath_the_roots() {
    let place = place();
    let elsewhere = place.work.join("files");
    std::fs::create_dir(&elsewhere).unwrap();
    let dockerfile = elsewhere.join("My.Dockerfile");
    std::fs::write(&dockerfile, "FROM elsewhere\n").unwrap();
    place.write("a", "");
    place.write("b", "");
    let roots = [place.work.clone()];
    let open = || open_in(&roots, &place.context, &dockerfile).unwrap();
    assert_eq!(open().read_dockerfile(100).unwrap(), b"FROM elsewhere\n");
    assert_eq!(open().dockerfile_name(), "My.Dockerfile");
    let names = |context: &BuildContext| {
        let files = Files::of(context, &plenty());
        ["a", "b"].map(|name| crate::dockerfile::ContextFiles::entry(&files, name).is_some())
    };
    // Rules beside the Dockerfile go before those of the context.
    place.write(".dockerignore", "a\n");
    assert_eq!(names(&open()), [false, true]);
    std::fs::write(elsewhere.join("My.Dockerfile.dockerignore"), "b\n").unwrap();
    assert_eq!(names(&open()), [true, false]);
    for (directory, dockerfile) in [
        (place.outside.as_path(), dockerfile.as_path()),
        (&place.context, &place.outside.join("Dockerfile")),
        (&place.context.join("../../outside"), &dockerfile),
        (Path::new("action"), &dockerfile),
        (&place.context, Path::new("Dockerfile")),
    ] {
        let error = open_in(&roots, directory, dockerfile).unwrap_err();
        assert!(matches!(error, ContextError::Outside { .. }), "{directory:?}: {error}");
    }
}

#[test]
fn a_path_with_dots_is_taken_as_text() {
    let place = place();
    let context = place.open("./none/../action/.//sub/../Dockerfile").unwrap();
    assert_eq!(context.dockerfile_name(), "Dockerfile");
    place.write("docker/Dockerfile.alpine", "FROM alpine\n");
    let context = place.open("action/docker/Dockerfile.alpine").unwrap();
    assert_eq!(context.dockerfile_name(), "Dockerfile.alpine");
    // The root itself may be a context.
    open(std::slice::from_ref(&place.context), &place.context.join("Dockerfile")).unwrap();
}

#[test]
fn dots_do_not_lead_out_of_the_work_directory() {
    let place = place();
    for path in ["../outside/Dockerfile", "action/../../outside/Dockerfile", "../work"] {
        let error = place.open(path).unwrap_err();
        assert!(matches!(error, ContextError::Outside { .. }), "{path}: {error}");
    }
    let error =
        open(std::slice::from_ref(&place.work), Path::new("action/Dockerfile")).unwrap_err();
    assert!(matches!(error, ContextError::Outside { .. }), "{error}");
    // A sibling whose name starts the same.
    std::fs::create_dir(place.work.with_file_name("work2")).unwrap();
    let error = place.open("../work2/Dockerfile").unwrap_err();
    assert!(matches!(error, ContextError::Outside { .. }), "{error}");
}

#[test]
fn each_missing_path_has_its_own_error() {
    let place = place();
    let error = place.open("action/Dockerfile.none").unwrap_err();
    assert!(matches!(&error, ContextError::NotFound { path } if path.ends_with("Dockerfile.none")));
    for path in ["none/Dockerfile", "action/Dockerfile/Dockerfile"] {
        let error = place.open(path).unwrap_err();
        assert!(matches!(error, ContextError::DirectoryMissing { .. }), "{path}: {error}");
    }
    symlink("nowhere", place.work.join("dangling")).unwrap();
    let error = place.open("dangling/Dockerfile").unwrap_err();
    assert!(
        matches!(&error, ContextError::DirectoryMissing { path } if path.ends_with("dangling"))
    );
    symlink("nowhere", place.context.join("Dockerfile.dangling")).unwrap();
    let error = place.open("action/Dockerfile.dangling").unwrap_err();
    assert!(matches!(error, ContextError::NotFound { .. }), "{error}");
    let error = open(&["/none".into()], Path::new("/none/Dockerfile")).unwrap_err();
    assert!(matches!(error, ContextError::Root { .. }), "{error}");
}

#[test]
fn a_dockerfile_is_a_file() {
    let place = place();
    place.write("sub/file", "");
    let error = place.open("action/sub").unwrap_err();
    assert!(matches!(error, ContextError::IsDirectory { .. }), "{error}");
    // No process writes to the pipe: opening it must not wait.
    place.fifo("Dockerfile.pipe");
    let error = place.open("action/Dockerfile.pipe").unwrap_err();
    assert!(matches!(error, ContextError::NotRegular { kind: "named pipe", .. }), "{error}");
    let name = OsString::from_vec(b"\xFF.Dockerfile".into());
    let error = place.open(Path::new("action").join(name)).unwrap_err();
    assert!(matches!(error, ContextError::NameNotUtf8 { .. }), "{error}");
}

#[test]
fn a_symlinked_directory_in_the_work_directory_is_followed() {
    let place = place();
    symlink("action", place.work.join("relative")).unwrap();
    symlink(&place.context, place.work.join("absolute")).unwrap();
    symlink("../work/absolute", place.work.join("chain")).unwrap();
    for name in ["relative", "absolute", "chain"] {
        let context = place.open(Path::new(name).join("Dockerfile")).unwrap();
        let mut stream = Vec::new();
        context.write_tar_gz(&mut stream, &plenty()).unwrap();
        assert_eq!(entries(&stream)[0].content, b"FROM scratch\n", "{name}");
    }
}

#[test]
fn a_symlink_out_of_the_work_directory_is_refused_and_named() {
    let place = place();
    for (name, target) in [("absolute", place.outside.as_path()), ("dots", Path::new("../outside"))]
    {
        symlink(target, place.work.join(name)).unwrap();
        let error = place.open(Path::new(name).join("Dockerfile")).unwrap_err();
        let ContextError::Escapes { path, link, target } = &error else { panic!("{error}") };
        assert_eq!(*path, place.work.join(name));
        assert_eq!(*link, place.work.join(name));
        assert_eq!(*target, place.outside);
        assert!(error.help().contains("HOOKD_CONTEXT_DIRS"));
    }
    symlink("../../outside/Dockerfile", place.context.join("Dockerfile.out")).unwrap();
    let error = place.open("action/Dockerfile.out").unwrap_err();
    assert!(matches!(error, ContextError::Escapes { .. }), "{error}");
}

#[test]
fn a_symlink_into_an_allowed_action_cache_is_followed() {
    let place = place();
    // As the runner does with ACTIONS_RUNNER_SYMLINK_CACHED_ACTIONS.
    symlink(&place.outside, place.work.join("v1")).unwrap();
    symlink("secret", place.outside.join("data")).unwrap();
    let roots = [place.work.clone(), place.outside.clone()];
    let context = open(&roots, &place.work.join("v1/Dockerfile")).unwrap();
    let mut stream = Vec::new();
    context.write_tar_gz(&mut stream, &plenty()).unwrap();
    assert_eq!(by_name(&stream)[&b"Dockerfile"[..]].content, b"FROM secret\n");
}

#[test]
fn a_loop_of_symlinks_ends() {
    let place = place();
    symlink(place.work.join("b"), place.work.join("a")).unwrap();
    symlink(place.work.join("a"), place.work.join("b")).unwrap();
    let error = place.open("a/Dockerfile").unwrap_err();
    assert!(matches!(error, ContextError::Read { .. }), "{error}");
}

#[test]
fn proc_does_not_lead_out() {
    // Every process's root is a magic link there.
    let error = open(&["/proc/self".into()], Path::new("/proc/self/root/etc/passwd")).unwrap_err();
    assert!(matches!(error, ContextError::Read { .. }), "{error}");
}

#[test]
fn a_dockerfile_may_be_a_symlink() {
    let place = place();
    std::fs::write(place.work.join("common"), "FROM common\n").unwrap();
    symlink("../common", place.context.join("Dockerfile.link")).unwrap();
    let mut stream = Vec::new();
    let context = place.open("action/Dockerfile.link").unwrap();
    assert_eq!(context.read_dockerfile(100).unwrap(), b"FROM common\n");
    context.write_tar_gz(&mut stream, &plenty()).unwrap();
    // An instruction that copies it copies what it is.
    assert_eq!(by_name(&stream)[&b"Dockerfile.link"[..]].kind, tar::EntryType::Symlink);
}

#[test]
fn each_cause_has_its_own_error() {
    let path = Path::new("/w");
    for (cause, wanted) in [
        (Errno::ACCESS, "may not be read"),
        (Errno::IO, "cannot be read"),
        (Errno::NOSYS, "openat2"),
        (Errno::PERM, "openat2"),
    ] {
        let error = refused_at(path, &[], Refused::Kernel(cause));
        assert!(error.to_string().contains(wanted), "{error}");
        let source = std::error::Error::source(&error).unwrap();
        assert!(!error.to_string().contains(&source.to_string()));
    }
}

#[test]
fn permissions_are_respected() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    let path = place.context.join("Dockerfile");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let opened = place.open("action/Dockerfile");
    // They do not hold for root.
    match rustix::process::geteuid().is_root() {
        true => assert!(opened.is_ok()),
        false => assert!(matches!(opened, Err(ContextError::Unreadable { .. }))),
    }
}
