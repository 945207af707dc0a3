//! The lowering by its text, so that it holds for a Kaniko that cannot be compiled here, too.

use super::*;
use crate::dockerfile::files::tests::Memory;
use crate::dockerfile::{BuildOptions, lower};

/// The context of all texts here.
fn files() -> Memory {
    Memory::of(&[
        "a",
        "a b",
        "f",
        "src/one/a.txt",
        "src/two/a.txt",
        "src/two/b.txt",
        "top.txt",
        "x.md",
        "link -> src/one/a.txt",
        "dir -> src/two",
        "out -> /etc/passwd",
    ])
}

fn lowered(text: &str) -> Lowered {
    lower(text.as_bytes(), &files(), Builder::Fork)
        .unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[track_caller]
fn assert_lowered(text: &str, expected: &str) {
    let lowered = lowered(text);
    assert_eq!(lowered.dockerfile, expected);
    assert_eq!(lowered.warnings, []);
    // What is lowered is lowered no more.
    assert_eq!(lower(expected.as_bytes(), &files(), Builder::Fork).unwrap().dockerfile, expected);
}

/// The instructions after FROM.
#[track_caller]
fn assert_body(text: &str, expected: &str) {
    assert_lowered(&format!("FROM a\n{text}\n"), &format!("FROM a\n{expected}\n"));
}

#[track_caller]
fn refused(text: &str) -> (usize, String) {
    let error = lower(text.as_bytes(), &files(), Builder::Fork).unwrap_err();
    (error.line, error.problem)
}

fn warned(text: &str) -> Vec<usize> {
    lowered(text).warnings.into_iter().map(|warning| warning.line).collect()
}

#[test]
fn what_kaniko_builds_as_docker_stays_as_it_is() {
    let text = "ARG A=1\nFROM busybox:1 AS one\nRUN echo \"$A\" && true\nCMD [\"x\"]\n";
    assert_lowered(text, text);
    assert_lowered(
        "from a\r\n run echo \\\n# c\n  x\r\nEntrypoint [\"x\"]",
        "FROM a\nRUN echo   x\nENTRYPOINT [\"x\"]\n",
    );
}

#[test]
fn a_heredoc_of_run_is_the_argument_of_its_shell() {
    let sh = |text: &str| format!(r#"RUN ["/bin/sh","-c","{text}"]"#);
    assert_body("RUN <<EOF\nset -e\nx=1 \"$x\"\nEOF", &sh(r#"set -e\nx=1 \"$x\"\n"#));
    assert_body("RUN <<-'EOF'\n\tone\n\t\ttwo\n\tEOF", &sh(r"one\ntwo\n"));
    assert_body("RUN << EOF\n  a\nEOF", &sh(r"  a\n"));
    // More than the begin of a heredoc is the shell's own.
    assert_body(
        "RUN cat <<EOF > /a && cat <<'TWO'\n$X\nEOF\nb\nTWO",
        &sh(r"cat <<EOF > /a && cat <<'TWO'\n$X\nEOF\nb\nTWO"),
    );
    let bash = "SHELL [\"bash\",\"-eu\",\"-c\"]";
    assert_body(
        &format!("{bash}\nRUN <<EOF\nfalse\nEOF"),
        &format!("{bash}\nRUN [\"bash\",\"-eu\",\"-c\",\"false\\n\"]"),
    );
}

#[test]
fn a_shell_is_inherited_by_stages() {
    let text = "FROM a AS b\nSHELL [\"x\",\"-c\"]\nFROM b\nRUN <<E\n1\nE\nFROM a\nCOPY --from=1 / /\n\
                RUN <<E\n2\nE\n";
    let expected = "FROM a AS b\nSHELL [\"x\",\"-c\"]\nFROM b\nRUN [\"x\",\"-c\",\"1\\n\"]\nFROM a\n\
                    COPY --from=1 / /\nRUN [\"/bin/sh\",\"-c\",\"2\\n\"]\n";
    assert_lowered(text, expected);
}

#[test]
fn a_heredoc_with_an_interpreter_is_a_program() {
    let lowered = lowered("FROM a\nRUN <<E/../O-F\n#!/bin/awk -f\nBEGIN {}\nE/../O-F\n");
    let path = "/kaniko/buildcontext/hookd/run-1/EOF";
    assert_eq!(lowered.dockerfile, format!("FROM a\nRUN [\"{path}\"]\n"));
    let content = Content::Bytes(b"#!/bin/awk -f\nBEGIN {}\n".to_vec());
    let file = BuilderFile { path: "run-1/EOF".to_owned(), mode: 0o755, content };
    assert_eq!(lowered.files, [file]);
}

#[test]
fn heredocs_of_copy_are_files() {
    let text = "FROM scratch\nWORKDIR /\nARG V=1\nENV X=env\nCOPY --chmod=755 <<EOF <<'raw' f /d/\n\
                $X ${V}-${N:-no} \\$X\nEOF\n$X\nraw\nCOPY <<-EOF /c\n\t\ttabs\n\tEOF\n";
    let lowered = lowered(text);
    let expected = "FROM scratch\nWORKDIR /\nWORKDIR /\nARG V=1\nENV X=env\n\
                    COPY --chmod=755 [\"../hookd/copy-1/EOF\",\"../hookd/copy-2/raw\",\"f\",\"/d/\"]\n\
                    COPY [\"../hookd/copy-3/EOF\",\"/c\"]\n";
    assert_eq!(lowered.dockerfile, expected);
    let contents: Vec<_> = lowered.files.into_iter().map(|file| file.content).collect();
    let texts = ["env 1-no $X\n", "$X\n", "tabs\n"];
    assert_eq!(contents, texts.map(|text| Content::Bytes(text.into())));
}

#[test]
fn what_a_build_has_not_is_left_out_or_refused() {
    assert_body("RUN --mount=type=secret,id=t x", "RUN x");
    assert_body("RUN --network=default --security=sandbox x", "RUN x");
    for text in [
        "RUN --mount=type=secret,id=t,required=true x",
        "RUN --mount=type=ssh,required x",
        "RUN --mount=type=cache x",
        "RUN --mount=type=cache,target=/ x",
        "RUN --mount=type=cache,target=/$(x) x",
        "RUN --mount=type=odd,target=/x x",
        "RUN --mount=type=cache,target=/x,odd=1 x",
        "RUN --security=insecure x",
        "RUN --network=host x",
        "RUN --odd x",
        "ADD --checksum=sha256:0 https://a/b /c",
    ] {
        assert_eq!(refused(&format!("FROM a\n\n{text}\n")).0, 3, "{text}");
    }
}

#[test]
fn what_differs_is_a_warning_with_its_line() {
    for text in [
        "RUN --network=none x",
        "RUN --mount=target=/s x",
        "RUN --mount=type=ssh x",
        "HEALTHCHECK --start-interval=1s CMD x",
    ] {
        assert_eq!(warned(&format!("FROM a AS b\n\n{text}\n")), [3], "{text}");
    }
    let finding = Finding { line: 3, problem: "x\n::error::y".to_owned() };
    assert_eq!(finding.of("a\nb"), "a?b:3: warning: x?::error::y");
}

#[test]
fn volumes_come_last_with_their_variables() {
    assert_body(
        "VOLUME /v\nRUN x\nVOLUME [\"/w\"]\nCMD y",
        "RUN x\nCMD y\nVOLUME /v\nVOLUME [\"/w\"]",
    );
    assert_body("ENV D=/a\nVOLUME $D/v\nENV E=1\nRUN x", "ENV D=/a\nENV E=1\nRUN x\nVOLUME $D/v");
    assert_body(
        "ENV D=/a\nVOLUME $D/v\nENV D=/b\nRUN x",
        "ENV D=/a\nENV D=/b\nRUN x\nVOLUME [\"/a/v\"]",
    );
    assert_body(
        "ENV D=/a\nVOLUME [\"$D\", \"/b c\"]\nENV D=1",
        "ENV D=/a\nENV D=1\nVOLUME [\"/a\",\"/b c\"]",
    );
    // Not known: it stays where it is.
    assert_eq!(warned("FROM a\nVOLUME $D/v\nENV D=/b\nRUN x\n"), [2]);
}

#[test]
fn from_has_no_variables_and_unused_stages_are_gone() {
    let arch = BuildOptions::default().of_platform("TARGETARCH").unwrap_or_default();
    let text = format!(
        "FROM nosuch AS unused\nFROM a AS stage-{arch}\nFROM b\nRUN y\nFROM --platform=$BUILDPLATFORM \
         stage-${{TARGETARCH}} AS Last\nCOPY --from=2 /a /b\nCOPY --from=STAGE-{arch} /a /b\n"
    );
    let platform = BuildOptions::default().of_platform("BUILDPLATFORM").unwrap_or_default();
    let expected = format!(
        "FROM a AS stage-{arch}\nFROM b\nRUN y\nFROM --platform={platform} stage-{arch} AS last\n\
         COPY --from=1 [\"/a\",\"/b\"]\nCOPY --from=stage-{arch} [\"/a\",\"/b\"]\n"
    );
    assert_lowered(&text, &expected);
}

#[test]
fn another_escape_character_becomes_the_backslash() {
    let text =
        "# escape=`\nFROM a\nRUN echo `\n  && dir C:\\x\nENV A=a`$b B=C:\\x C='`'\nCOPY $Z`b /\n";
    let expected =
        "FROM a\nRUN echo   && dir C:\\x\nENV A=a\\$b B=C:\\\\x C='`'\nCOPY [\"$Z\\\\b\",\"/\"]\n";
    assert_eq!(lowered(text).dockerfile, expected);
}

#[test]
fn sources_stay_beneath_the_context() {
    for (source, expected) in
        [("../a", "a"), ("/../../a", "a"), ("b/../../a", "a"), ("../src/", "src/"), ("..", ".")]
    {
        assert_body(&format!("COPY {source} /x"), &format!("COPY [\"{expected}\",\"/x\"]"));
    }
    for same in ["ADD http://h/../a /x", "COPY $UNKNOWN /x", "COPY --from=b ../a /x"] {
        assert_body(same, same);
    }
}

#[test]
fn another_syntax_is_refused() {
    let known = [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile:1.7-labs",
        "docker/dockerfile@sha256:0",
        "mirror:5000/hub/docker/dockerfile:1",
    ];
    for syntax in known {
        assert_eq!(lowered(&format!("# syntax={syntax}\nFROM a\n")).dockerfile, "FROM a\n");
    }
    for syntax in ["nosuch/frontend:1", "docker/dockerfile.evil/x", "docker/dockerfile-x"] {
        assert_eq!(refused(&format!("# syntax = {syntax}\nFROM a\n")).0, 1, "{syntax}");
    }
    assert_eq!(refused("RUN x\nFROM a\n").0, 1);
}

#[test]
fn a_stage_without_files_gets_those_of_its_base() {
    for (text, is_added) in [
        ("FROM a\nENV A=B\n", true),
        ("FROM a\nRUN x\nFROM b\nCMD y\n", true),
        ("FROM a\nRUN x\n", false),
        ("FROM a\nADD f y\nCMD z\n", false),
    ] {
        let with = lowered(text).with_files_of_base("COPY b c");
        assert_eq!(with.dockerfile.ends_with("\nCOPY b c\n"), is_added, "{text}");
    }
}

mod copies;
mod kanikos;
mod kinds;
mod mounts;
mod options;
mod original;

#[test]
fn layers_that_kaniko_does_not_tell_apart_are_not_cached() {
    let why = |text: &str, builder: Builder| {
        lower(text.as_bytes(), &files(), builder).unwrap().uncacheable(builder)
    };
    let text = "FROM a AS b\nRUN make\nRUN <<EOF\nmake\nEOF\nCOPY . /c\nADD a /a\nONBUILD RUN x\n";
    for builder in [Builder::Original, Builder::Fork] {
        assert_eq!(why(text, builder), None);
        for line in [
            "RUN --mount=type=bind,target=/src make",
            "RUN --mount=type=cache,target=/c make",
            "RUN <<EOF\n#!/usr/bin/python\nmake\nEOF",
            "ADD https://example.com/a /a",
        ] {
            assert!(why(&format!("{text}{line}\n"), builder).is_some(), "{builder:?}: {line}");
        }
    }
    let staged = format!("{text}FROM a\nCOPY --from=b /c /c\n");
    assert!(why(&staged, Builder::Original).is_some());
    assert_eq!(why(&staged, Builder::Fork), None);
}
