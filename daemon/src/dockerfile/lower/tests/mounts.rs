//! `RUN --mount`.

use super::*;

fn of_original(text: &str) -> Lowered {
    lower(text.as_bytes(), &files(), Builder::Original).unwrap()
}

#[test]
fn mounts_become_arguments_of_a_script() {
    let script = "/kaniko/buildcontext/hookd/with-mounts";
    let run = |mounts: &str| {
        format!("RUN [\"/bin/sh\",\"{script}\",{mounts},\"--\",\"/bin/sh\",\"-c\",\"x\"]")
    };
    for (flags, mounts) in [
        ("--mount=type=tmpfs,target=/t", r#""tmpfs","/t""#),
        ("--mount=target=/s,rw", r#""context","/","/s""#),
        ("--mount=type=bind,from=context,src=a,dst=b,rw=true", r#""context","a","b""#),
        ("--mount=type=cache,target=/c", r#""cache","facd442ef6304543","/c","-","-""#),
    ] {
        let lowered = of_original(&format!("FROM a\nRUN {flags} x\n"));
        assert_eq!(lowered.dockerfile, format!("FROM a\n{}\n", run(mounts)), "{flags}");
        assert_eq!(lowered.files.len(), 1);
        assert_eq!(lowered.warnings, []);
    }
}

#[test]
fn a_cache_has_its_id_mode_and_owner() {
    let arguments = |flag: &str| {
        let text = format!("FROM a\nRUN --mount=type=cache,{flag} [\"x\"]\n");
        let lowered = of_original(&text);
        let (_, list) = lowered.dockerfile.split_once("RUN ").unwrap();
        serde_json::from_str::<Vec<String>>(list).unwrap()[2..].to_vec()
    };
    let [one, same, other] =
        ["target=/a,id=x", "target=/b,id=x,sharing=locked", "target=/x"].map(arguments);
    assert_eq!(one[1], same[1]);
    assert_ne!(one[1], other[1]);
    assert_eq!(arguments("target=/a,mode=0700,uid=5")[3..5], ["0700", "5:0"]);
    assert_eq!(arguments("target=/a,gid=6")[3..], ["-", "0:6", "--", "x"]);
}

#[test]
fn a_mount_of_a_stage_or_image_is_copied_first() {
    let text = "FROM a AS s\nFROM b\nRUN --mount=from=s,source=/o,target=/m,rw --mount=from=c:1,target=/n,rw x\n";
    let expected = "FROM a AS s\nFROM b\nCOPY --from=s [\"/o\",\"/tmp/apt-key-gpghome.hookd-1\"]\n\
                    COPY --from=c:1 [\"/\",\"/tmp/apt-key-gpghome.hookd-2\"]\n";
    let lowered = of_original(text);
    assert!(lowered.dockerfile.starts_with(expected), "{}", lowered.dockerfile);
    assert!(lowered.dockerfile.contains(r#""moved","/tmp/apt-key-gpghome.hookd-2","/n","--""#));
}

#[test]
fn the_fork_mounts_what_it_can() {
    for same in [
        "RUN --mount=type=cache,target=/c,uid=5 --mount=target=/s,rw x",
        "RUN --mount=type=cache,target=/c [\"x\"]",
    ] {
        assert_body(same, same);
    }
    assert_body(
        "RUN --mount=type=cache,target=/c <<E\nx\nE",
        "RUN --mount=type=cache,target=/c [\"/bin/sh\",\"-c\",\"x\\n\"]",
    );
    for mount in
        ["type=tmpfs,target=/t", "type=cache,target=c", "from=b,target=/x,rw", "target=$X,rw"]
    {
        let text = format!("FROM a\nRUN --mount={mount} x\n");
        assert!(lowered(&text).dockerfile.contains("with-mounts"), "{mount}");
    }
}

/// A program under the script, in a directory of its own.
fn run(directory: &std::path::Path, arguments: &[&str]) -> String {
    let script = include_str!("../with-mounts.sh");
    let root = directory.display();
    let script = script
        .replace("/kaniko/hookd-mounts", &format!("{root}/state"))
        .replace("/kaniko/buildcontext/context", &format!("{root}/context"));
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &script, "with-mounts"]).args(arguments);
    command.current_dir(directory.join("work")).env("target", "release").env("T", "sub");
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && error.is_empty(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_script_mounts_and_takes_away() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["work", "context/dir"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    std::fs::write(root.path().join("work/own"), "").unwrap();
    std::fs::write(root.path().join("context/dir/file"), "content\n").unwrap();
    let run = |arguments: &[&str]| run(root.path(), arguments);
    let names = || {
        let all = std::fs::read_dir(root.path().join("work")).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    // The directory that it is in, as `--mount=target=.` has it.
    let program = "ls; cat file; echo x > new; echo $target";
    let seen = run(&["context", "dir", ".", "--", "sh", "-c", program]);
    assert_eq!(seen, "file\ncontent\nrelease\n");
    assert_eq!(names(), ["own"]);
    // A cache keeps what a program has put there, and its new directories go.
    let cache = |program: &str| run(&["cache", "1", "a/$T/c", "-", "-", "--", "sh", "-c", program]);
    assert_eq!(cache("echo 1 > a/sub/c/f; ls a/sub/c"), "f\n");
    assert_eq!(cache("cat a/sub/c/f; echo 2 > a/kept"), "1\n");
    assert_eq!(run(&["tmpfs", "own", "--", "sh", "-c", "ls -d own/; ls own"]), "own/\n");
    assert_eq!(std::fs::read_dir(root.path().join("work/a")).unwrap().count(), 1);
    assert!(root.path().join("work/own").is_file());
}

#[test]
fn a_cache_may_begin_with_files_of_a_stage() {
    let text = "FROM a AS s\nFROM b\nRUN --mount=type=cache,from=s,source=/o,target=/c x\n";
    let lowered = of_original(text).dockerfile;
    assert!(
        lowered.contains("COPY --from=s [\"/o\",\"/tmp/apt-key-gpghome.hookd-1\"]\n"),
        "{lowered}"
    );
    assert!(lowered.contains("\"/tmp/apt-key-gpghome.hookd-1\",\"cache\""), "{lowered}");
}

#[test]
fn the_fields_of_a_mount_have_their_variables() {
    let run = |text: &str| of_original(text).dockerfile.lines().last().unwrap().to_owned();
    let given = run("FROM a\nRUN --mount=type=cache,id=x-1,target=/c/1 x\n");
    let variable = "FROM a\nARG V=1\nRUN --mount=type=cache,id=x-$V,target=/c/${V} x\n";
    assert_eq!(run(variable), given);
    let secret = "FROM a\nRUN --mount=type=secret,id=tok,env=TOK x\n";
    assert!(run(secret).contains("\"variable\",\"TOK\""), "{}", run(secret));
    assert_eq!(refused("FROM a\nFROM b\nRUN --mount=from=0,target=/m x\n").0, 3);
}
