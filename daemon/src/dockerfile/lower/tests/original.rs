//! What the original Kaniko alone wants otherwise.

use super::*;

fn lowered(text: &str) -> Lowered {
    lower(text.as_bytes(), &files(), Builder::Original)
        .unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn warnings(text: &str) -> Vec<String> {
    lowered(text).warnings.into_iter().map(|warning| warning.problem).collect()
}

#[test]
fn a_directory_is_copied_without_its_own_mode_and_owner() {
    let copied = lowered("FROM a\nCOPY . /app\nCOPY --chown=1:1 src/two f /new/\n");
    let expected = "FROM a\nCOPY [\"../hookd/up-1/context\",\"/app\"]\n\
                    COPY --chown=1:1 [\"../hookd/up-2/context/src/two\",\"f\",\"/new/\"]\n";
    assert_eq!(copied.dockerfile, expected);
    let expected = [
        "**/up-1/context",
        "!**/up-1/context/*",
        "**/up-2/context/src/two",
        "!**/up-2/context/src/two/*",
    ];
    assert_eq!(copied.ignored, expected);
    let link = |file: &BuilderFile| file.content == Content::Symlink("..".to_owned());
    assert!(copied.files.iter().all(link));
    let own = copied.into_files();
    let Content::Bytes(ignored) = &own[1].content else { panic!("{own:?}") };
    assert!(ignored.starts_with(b"**/up-1/context\n"), "{ignored:?}");
    assert_eq!(warnings("FROM a\nCOPY . /app\n"), [] as [&str; 0]);
}

#[test]
fn what_makes_a_new_target_otherwise_keeps_the_directory() {
    // A directory comes first in it: the builder would make the target by its owner.
    let text = "FROM a\nCOPY --chown=1:1 src /app\n";
    assert_eq!(lowered(text).dockerfile, text);
    assert!(warnings(text)[0].starts_with("/app has the owner of --chown"));
    let there = lowered("FROM a\nWORKDIR /app\nCOPY --chown=1:1 src .\n");
    assert!(there.dockerfile.contains("up-1/context/src"), "{}", there.dockerfile);
    assert_eq!(there.warnings, []);
    let text = "FROM a\nWORKDIR /app\nCOPY --chmod=700 src .\n";
    assert!(warnings(text)[0].contains("--chmod"));
}

#[test]
fn odd_directories_of_other_stages_are_a_warning() {
    let stages = "FROM a AS b\nRUN mkdir /out && chmod 700 /out; touch /x\nFROM a\n";
    for (copy, count) in [
        ("COPY --from=b /out /out", 1),
        ("COPY --from=b /x /usr/bin/", 0),
        ("COPY --from=b /x/ /tmp/", 1),
        ("COPY --from=b /x.jar /tmp/", 0),
        ("USER app\nWORKDIR /new/w\nCOPY --from=b /x .", 2),
        ("WORKDIR /w\nCOPY --from=b --chown=1:1 /x .", 1),
        ("WORKDIR /w\nCOPY --from=b /x .", 0),
        ("COPY --from=b --chown=1:1 /x /new/x", 1),
        ("COPY --from=b --chown=1:1 /x /home/app/x", 0),
        ("RUN mkdir /new\nCOPY --from=b --chown=1:1 /x /new/x", 0),
        ("RUN chown 1:1 /w\nCOPY --from=b /x /w/", 1),
        ("COPY --from=node:1 /usr/local/bin/npm /usr/local/bin/npm", 1),
    ] {
        let found = warnings(&format!("{stages}{copy}\n"));
        assert_eq!(found.len(), count, "{copy}: {found:?}");
    }
    let error = lower(b"FROM a AS b\nFROM a\nCOPY --from=b / /\n", &files(), Builder::Original);
    assert_eq!(error.unwrap_err().line, 3);
}

#[test]
fn each_stage_has_its_own_arguments() {
    let text = "ARG W=w\nFROM a AS b\nARG X=1\nARG W=stage\nFROM a AS c\nRUN $X\nFROM b\n\
                COPY --from=c /f /f\nRUN $X\nFROM a\nARG W\nCOPY --from=2 /f /f\nRUN $W\n";
    let expected = "ARG W=w\nFROM a AS b\nARG X=1\nARG W=stage\nFROM a AS c\nARG X=\nRUN $X\n\
                    FROM b\nARG X=1\nCOPY --from=c /f /f\nRUN $X\nFROM a\nARG W=\nARG W=w\n\
                    COPY --from=2 /f /f\nRUN $W\n";
    assert_eq!(lowered(text).dockerfile, expected);
    let asked = "FROM a AS b\nARG X=1\nFROM a\nCOPY --from=b /f /f\nRUN echo ${X-none}\n";
    assert!(warnings(asked)[0].contains("ARG X"));
}

#[test]
fn a_user_matters_where_a_program_runs() {
    let problem = "programs have the user's number as their group, in place of docker's choice";
    for (text, expected) in [
        ("FROM a\nUSER 65532:65532\nENTRYPOINT [\"x\"]\n", None),
        ("FROM a AS b\nUSER 1:2\nFROM b\nCMD x\n", None),
        ("FROM a\nUSER 1:2\nUSER 0\nRUN x\n", None),
        ("FROM a\nUSER app:app\nRUN x\n", None),
        ("FROM a\nUSER root:root\nRUN x\n", None),
        ("FROM a\nUSER 1:1\nRUN x\n", Some(problem)),
        ("FROM a\nUSER app:web\nRUN x\n", Some(problem)),
        ("FROM a AS b\nUSER 1:2\nFROM b\nRUN x\n", Some(problem)),
        ("FROM a\nUSER 1\nWORKDIR /w\n", Some(problem)),
    ] {
        assert_eq!(warnings(text).first().map(String::as_str), expected, "{text}");
    }
}

#[test]
fn directories_above_a_workdir_that_are_there_are_no_warning() {
    for (body, count) in [
        ("USER app\nWORKDIR /app", 0),
        ("USER app\nWORKDIR /home/app", 0),
        ("USER app\nWORKDIR /w\nWORKDIR x", 0),
        ("USER app\nWORKDIR /home/app/src", 1),
        ("USER app\nWORKDIR /srv/app", 1),
        ("WORKDIR /srv/app\nUSER app\nWORKDIR /srv/web", 0),
    ] {
        assert_eq!(warnings(&format!("FROM a\n{body}\n")).len(), count, "{body}");
    }
    assert_eq!(warnings("FROM scratch\nUSER app\nWORKDIR /home/app\n").len(), 1);
}

#[test]
fn a_mode_of_new_directories_is_a_warning_if_they_differ() {
    for (image, copy, count) in [
        ("a", "--chmod=755 a /srv/x/", 0),
        ("a", "--chmod=+x a /srv/x/", 0),
        ("a", "--chmod=600 a /srv/x/", 1),
        ("a", "--chmod=600 a /opt/x", 0),
        ("busybox:1", "--chmod=600 a /opt/x", 1),
        ("busybox:1", "--chmod=600 a /usr/bin/x", 0),
        ("a", "--chmod=$M a /srv/x", 1),
    ] {
        let text = format!("FROM {image}\nCOPY {copy}\n");
        assert_eq!(warnings(&text).len(), count, "{text}");
    }
    let text = "FROM a\nWORKDIR /w/x\nCOPY --chmod=600 a ./\nCOPY --chmod=600 a etc/\n";
    let lines: Vec<_> = lowered(text).warnings.iter().map(|one| one.line).collect();
    assert_eq!(lines, [4]);
}

#[test]
fn what_the_builder_takes_for_its_own_is_a_warning() {
    for (body, count) in [
        ("RUN ln -sf /proc/mounts /etc/mtab", 1),
        ("COPY f /etc/mtab", 1),
        ("RUN cat /etc/mtab.bak; echo example.com/kaniko-project", 0),
        ("WORKDIR /workspace", 1),
        ("WORKDIR /workspace\nCOPY f .", 0),
        ("RUN mkdir -p /workspace && x", 1),
        ("RUN mkdir /workspace/x", 0),
    ] {
        assert_eq!(warnings(&format!("FROM a\n{body}\n")).len(), count, "{body}");
    }
}

#[test]
fn symlinks_in_what_is_copied_have_no_owner() {
    let problem = "symlinks in / are root's: --chown has no effect on them";
    assert!(warnings("FROM a\nCOPY --chown=1:1 . /all/\n").contains(&problem.to_owned()));
    assert_eq!(warnings("FROM a\nCOPY --chown=1:1 src/two /two/\n"), [] as [&str; 0]);
    assert_eq!(warnings("FROM a\nCOPY --chown=1:1 link /x\n"), [] as [&str; 0]);
}

#[test]
fn a_mount_in_the_root_needs_root() {
    let error = |text: &str| lower(text.as_bytes(), &files(), Builder::Original).err();
    let user = "FROM a\nUSER app\nWORKDIR /home/app\n";
    let refused = error(&format!("{user}RUN --mount=type=cache,target=/cache x\n")).unwrap();
    assert!(refused.line == 4 && refused.problem.contains("/cache"), "{refused}");
    for mount in ["cache,target=.cache", "cache,target=/tmp/c", "secret,id=x,env=TOKEN"] {
        assert_eq!(error(&format!("{user}RUN --mount=type={mount} x\n")), None, "{mount}");
    }
    assert_eq!(error("FROM a\nRUN --mount=type=cache,target=/cache x\n"), None);
}
