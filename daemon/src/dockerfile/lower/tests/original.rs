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
        ("USER app\nWORKDIR /w\nCOPY --from=b /x .", 2),
        ("WORKDIR /w\nCOPY --from=b --chown=1:1 /x .", 1),
        ("WORKDIR /w\nCOPY --from=b /x .", 0),
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
