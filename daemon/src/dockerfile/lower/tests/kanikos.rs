//! What each Kaniko wants otherwise.

use super::*;

#[test]
fn platforms_are_given_where_no_argument_is() {
    let arch = BuildOptions::default().of_platform("TARGETARCH").unwrap_or_default();
    let text = "ARG TARGETOS=own\nFROM a\nARG TARGETARCH TARGETOS X\nARG BUILDARCH=b\n";
    let expected = format!(
        "ARG TARGETOS=own\nFROM a\nARG TARGETARCH={arch}\nARG TARGETOS\nARG X\nARG BUILDARCH=b\n"
    );
    assert_lowered(text, &expected);
}

#[test]
fn what_the_copies_of_other_stages_lose_is_a_warning() {
    let stage =
        "FROM a AS b\nRUN chmod 4755 x && setcap y z; ln -s 1 2; ln 3 4\nFROM b AS c\nFROM a\n";
    let found = lowered(&format!("{stage}COPY --from=c /x /x\n")).warnings;
    assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [5; 4]);
    assert_eq!(
        warned("FROM a AS b\nRUN chmod 755 x\nFROM a\nCOPY --from=b /x /x\n"),
        [] as [usize; 0]
    );
}

#[test]
fn the_original_kaniko_differs_in_more() {
    for text in [
        "USER 1000:1000\nRUN x",
        "USER app:team\nRUN x",
        "USER app\nWORKDIR /new/w",
        "ENV X=1\nARG X=2",
        "COPY --chmod=0600 f /new/f",
    ] {
        let text = format!("FROM a\n{text}\n");
        let of = |builder| lower(text.as_bytes(), &files(), builder).unwrap().warnings.len();
        assert_eq!((of(Builder::Original), of(Builder::Fork)), (1, 0), "{text}");
    }
    let text =
        "FROM a AS b\nARG X=1\nARG Y=2\nFROM b AS c\nRUN $X\nFROM a\nCOPY --from=c /f /f\nRUN $X\n";
    let expected = text.replace("FROM a\nCOPY", "FROM a\nARG X=\nCOPY");
    let original = lower(text.as_bytes(), &files(), Builder::Original).unwrap();
    assert_eq!(original.dockerfile, expected);
    assert_lowered(text, text);
}

#[test]
fn the_tag_of_its_image_says_which_kaniko_it_is() {
    use Builder::{Fork, ForkThatReadsTwice, Original, SomeFork, Unknown};
    for (image, builder) in [
        ("ghcr.io/osscontainertools/kaniko:v1.28.3", ForkThatReadsTwice),
        ("mirror:5000/osscontainertools/kaniko:v1.28.3@sha256:0", ForkThatReadsTwice),
        ("ghcr.io/osscontainertools/kaniko:v1.28", ForkThatReadsTwice),
        ("r/kaniko:1.27.4-debug", ForkThatReadsTwice),
        ("r/kaniko:v1.27.3", Fork),
        ("r/builder:1.25.0-slim", Fork),
        ("ghcr.io/osscontainertools/kaniko:v1.24.3", Fork),
        // What comes after the versions that are known may be either.
        ("ghcr.io/osscontainertools/kaniko:v1.29.0", SomeFork),
        ("ghcr.io/osscontainertools/kaniko:v1.27", SomeFork),
        ("ghcr.io/osscontainertools/kaniko:latest", SomeFork),
        ("mirror:5000/osscontainertools/kaniko@sha256:0", SomeFork),
        ("gcr.io/kaniko-project/executor:v1.24.0", Original),
        ("localhost:30500/kaniko-project/executor:latest", Original),
        ("r/kaniko:1.9.2", Original),
        ("r/kaniko:prod", Unknown),
        ("r:1280/kaniko", Unknown),
        ("r/kaniko@sha256:0", Unknown),
        ("r/kaniko:2024", Unknown),
        ("r/kaniko:2026.8", Unknown),
    ] {
        assert_eq!(Builder::of_image(image), builder, "{image}");
    }
}

/// kaniko 1.24.0 and 1.28.3, pkg/commands/label.go: the value that was expanded stays in the instruction.
#[test]
fn a_label_that_may_be_read_twice_is_a_warning() {
    let text =
        "FROM a\nLABEL a=b c=\"d e\"\nLABEL x=1 d=\"it's\" e=\\$F\nLABEL old say \\\"hi\\\"\n";
    for (builder, lines) in [
        (Builder::Original, &[][..]),
        (Builder::Fork, &[]),
        (Builder::ForkThatReadsTwice, &[]),
        (Builder::SomeFork, &[3, 4]),
        (Builder::Unknown, &[3, 4]),
    ] {
        let lowered = lower(text.as_bytes(), &files(), builder).unwrap();
        let found: Vec<_> = lowered.warnings.iter().map(|one| one.line).collect();
        assert_eq!(found, lines, "{builder:?}");
        let is_twice = builder == Builder::ForkThatReadsTwice;
        assert_eq!(lowered.dockerfile == text, !is_twice, "{}", lowered.dockerfile);
        // With a cache the others read it once more.
        assert_eq!(lowered.uncacheable(builder).is_none(), is_twice, "{builder:?}");
        if let Some(first) = lowered.warnings.first() {
            assert!(first.problem.starts_with("LABEL d, e may lose"), "{}", first.problem);
        }
        let plain = lower(b"FROM a\nLABEL a=b c=\"d e\"\n", &files(), builder).unwrap();
        assert_eq!((plain.warnings.len(), plain.uncacheable(builder)), (0, None), "{builder:?}");
    }
}

#[test]
fn an_unknown_kaniko_gets_what_differs_most() {
    let text = "FROM a AS b\nARG X=1\nRUN --mount=type=cache,target=/c x\nFROM a\nUSER app:team\nRUN $X\n\
                COPY --from=b /f /f\n";
    let of = |builder| {
        let lowered = lower(text.as_bytes(), &files(), builder).unwrap();
        (lowered.uncacheable(builder), lowered)
    };
    assert_eq!(of(Builder::Unknown), of(Builder::Original));
    assert_eq!(of(Builder::SomeFork), of(Builder::Fork));
    assert_ne!(of(Builder::Unknown), of(Builder::SomeFork));
}

#[test]
fn the_fork_changes_the_owner_of_a_target_that_is_there() {
    for (text, lines) in [
        ("WORKDIR /w\nCOPY --chown=1:1 src .", &[3][..]),
        ("RUN chown 9:9 /home/u\nCOPY --chown=1:1 src /home/u/", &[3]),
        ("COPY --chown=1:1 src /tmp/", &[2]),
        ("COPY --chown=1:1 src /new/", &[]),
        ("COPY --chown=1:1 a /tmp/", &[]),
        ("WORKDIR /w\nCOPY src .", &[]),
    ] {
        assert_eq!(warned(&format!("FROM a\n{text}\n")), lines, "{text}");
    }
}

/// kaniko 1.28.3, pkg/util/syscall_credentials.go: the group is the user's number, if passwd has no such user.
#[test]
fn a_number_alone_as_user_is_a_warning_with_each_kaniko() {
    for (user, warned) in [("1000", true), ("1000:0", false), ("app", false), ("0", false)] {
        for builder in [Builder::Fork, Builder::ForkThatReadsTwice] {
            let text = format!("FROM a\nUSER {user}\nRUN x\n");
            let warnings = lower(text.as_bytes(), &files(), builder).unwrap().warnings;
            assert_eq!(warnings.iter().any(|one| one.line == 2), warned, "{user}");
        }
    }
    let original = lower(b"FROM a\nUSER 1000\nRUN x\n", &files(), Builder::Original).unwrap();
    assert_eq!(original.warnings.len(), 1);
}

/// kaniko 1.28.3, pkg/executor/build.go: optimize() runs metadata instructions, whose values it changes.
#[test]
fn values_that_are_read_twice_are_quoted_twice() {
    let text = "FROM a\nLABEL a=\"it's\" b='x y' c=\"say \\\"hi\\\"\"\nARG E=\"it's\"\nLABEL d=$E e='$F'\nENV G='$E'\n";
    let twice = lower(text.as_bytes(), &files(), Builder::ForkThatReadsTwice).unwrap();
    let expected = r#"FROM a
LABEL a=it\\\'s b='x y' c=say\ \\\"hi\\\"
ARG E="it's"
LABEL d=it\\\'s e=\\\$F
ENV G='$E'
"#;
    assert_eq!(twice.dockerfile, expected);
    // Without an equals sign the value is the rest of the line.
    let old = lower(b"FROM a\nLABEL a say \\\"hi\\\" $X\n", &files(), Builder::ForkThatReadsTwice);
    assert_eq!(old.unwrap().dockerfile, "FROM a\nLABEL a say \\\"hi\\\" $X\n");
    let old = lower(b"FROM a\nLABEL a say \\\"hi\\\"\n", &files(), Builder::ForkThatReadsTwice);
    assert_eq!(old.unwrap().dockerfile, "FROM a\nLABEL a=say\\ \\\\\\\"hi\\\\\\\"\n");
    assert_lowered(text, text);
}

#[test]
fn hostile_dockerfiles_end_at_limits() {
    let refusal =
        |text: String| lower(text.as_bytes(), &files(), Builder::Original).unwrap_err().problem;
    let many = |line: &str, count: usize| line.repeat(count);
    assert!(refusal(many("FROM a\n", 2000)).contains("stages"));
    assert!(refusal(format!("FROM a\n{}", many("VOLUME /v\n", 200))).contains("VOLUME"));
    let long = "x".repeat(1000);
    let heredoc = format!("COPY <<E /x\n{}\nE\n", "$X".repeat(900));
    let text = format!("FROM scratch\nENV X={long}\n{}", many(&heredoc, 20));
    assert!(refusal(text).contains("bytes of instructions"));
    // Each stage has the variables of all before it.
    let mut chain = "FROM a AS s0\n".to_owned();
    for at in 1..900 {
        chain += &format!("ENV V{at}={long}\nFROM s{} AS s{at}\n", at - 1);
    }
    assert!(refusal(chain + "ENV X=1\nENV Y=1\n").contains("bytes of instructions"));
    let chain = |first: &str| {
        let stages = (1..900).map(|at| format!("FROM s{} AS s{at}\n", at - 1));
        format!("FROM a AS s0\n{first}{}", stages.collect::<String>())
    };
    let variables: String = (0..100).map(|at| format!("ENV V{at}={long}\n")).collect();
    assert!(refusal(chain(&variables)).contains("bytes of instructions"));
    let shell = format!("SHELL [\"{}\"]\n", long.repeat(100));
    assert!(refusal(chain(&shell)).contains("bytes of instructions"));
    let warned = lowered(&format!("FROM a\n{}", many("RUN --network=none x\n", 5000))).warnings;
    assert_eq!(warned.len(), 100);
    // In time.
    let copies = many("COPY --from=b /x /x\n", 20_000);
    lowered(&format!("FROM a AS b\nRUN {}\nFROM a\n{copies}", many("ln a b;", 20_000)));
    lowered(&format!("FROM a\n{}{}", many("ENV A=1\n", 30_000), many("ARG B$C\n", 30_000)));
    let (sources, words) = (many("s ", 200_000), many("w ", 200_000));
    lowered(&format!("FROM a AS b\nRUN {words}\nFROM a\nCOPY --from=b {sources} /x/\n"));
}

#[test]
fn a_heredoc_is_a_file_of_its_own_directory() {
    for name in ["../../executor", "/x", "..", ".x/../y"] {
        let text = format!("FROM scratch\nCOPY <<{name} /x\ny\n{name}\n");
        let error = lower(text.as_bytes(), &files(), Builder::Original).unwrap_err();
        assert_eq!(error.line, 2, "{name}");
    }
    let file = &lowered("FROM a\nCOPY <<.npmrc /root/\ny\n.npmrc\n").files[0];
    assert!(file.path.ends_with("/.npmrc"), "{}", file.path);
}

#[test]
fn what_onbuild_keeps_is_a_warning() {
    assert_eq!(warned("FROM a\nONBUILD RUN <<E\nx\nE\nONBUILD RUN --mount=target=/x y\n"), [2, 5]);
    assert_eq!(warned("FROM a\nONBUILD RUN x\n"), [] as [usize; 0]);
}
