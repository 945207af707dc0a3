use proptest::prelude::*;

use super::*;

fn named(text: &str) -> Vec<String> {
    let found = lines::parse(text).and_then(|parsed| {
        let mut stages = Stages::of(&parsed, &BuildOptions::default())?;
        stages.all.iter_mut().for_each(|stage| stage.is_needed = true);
        images_of(&stages, parsed.escape)
    });
    let found = found.unwrap_or_else(|error| panic!("{error} in\n{text}"));
    found.into_iter().map(|image| image.reference.to_string()).collect()
}

fn hub(name: &str) -> String {
    format!("index.docker.io/library/{name}")
}

#[test]
fn from_copy_and_mounts_name_images() {
    let text = "FROM busybox:1 AS One\n\
                COPY --from=alpine:3 /a /b\n\
                COPY --chown=1:1 --from=quay.io/a/b:2 [\"/a b\", \"/c\"]\n\
                RUN --mount=type=bind,from=ghcr.io/a/c,target=/x --mount=type=cache,target=/y make\n\
                ONBUILD COPY --from=later:1 / /\n\
                FROM one\n\
                copy --from=ONE /a /b\n\
                COPY --from=0 /a /b\n\
                FROM scratch\n";
    let expected =
        [hub("busybox:1"), hub("alpine:3"), "quay.io/a/b:2".into(), "ghcr.io/a/c:latest".into()];
    assert_eq!(named(text), [&expected[..], &[hub("later:1")]].concat());
}

#[test]
fn arguments_before_from_are_expanded_as_docker_does() {
    for (arguments, from, name) in [
        ("ARG TAG=1", "busybox:${TAG}", "busybox:1"),
        ("ARG TAG=\"1\"", "busybox:$TAG", "busybox:1"),
        ("ARG TAG='1'", "\"busybox:$TAG\"", "busybox:1"),
        ("ARG BASE=busybox TAG=2", "$BASE:$TAG", "busybox:2"),
        ("ARG TAG=1\nARG BASE=busybox:${TAG}", "${BASE}", "busybox:1"),
        ("ARG TAG", "busybox:${TAG:-3}", "busybox:3"),
        ("ARG TAG=", "busybox${TAG:+:4}", "busybox:latest"),
        ("ARG TAG=4", "busybox${TAG:+:$TAG}", "busybox:4"),
        ("ARG TAG=v1.2", "busybox:${TAG#v}", "busybox:1.2"),
        ("ARG TAG=1.2.3", "busybox:${TAG%.*}", "busybox:1.2"),
        ("ARG TAG=1.2.3", "busybox:${TAG%%.*}", "busybox:1"),
        ("ARG A=1", "busybox:${NONE:-${A}}", "busybox:1"),
        ("ARG TAG=v1,2", "busybox:${TAG/v1,/1.}", "busybox:1.2"),
        ("ARG TAG=1-2-3", "busybox:${TAG//-/.}", "busybox:1.2.3"),
        ("ARG TAG=a/b/1", "busybox:${TAG##*/}", "busybox:1"),
        ("ARG TAG=1", "busybox:${TAG}$1$@", "busybox:1"),
        ("", "--platform=$BUILDPLATFORM busybox:1", "busybox:1"),
        ("", "x-${TARGETOS}:1", "x-linux:1"),
    ] {
        assert_eq!(named(&format!("{arguments}\nFROM {from}\n")), [hub(name)], "{from}");
    }
    // Of a stage, not of what is before the first FROM.
    assert!(images(b"FROM a\nARG TAG=1\nFROM b:${TAG}\n").is_err());
}

#[test]
fn lines_are_joined_and_comments_are_none() {
    let text = "\u{feff}# syntax=docker/dockerfile:1\n\n# FROM no:1\n  from \\\n# FROM no:2\n\n   \
                busybox:1 \\  \n as x\r\nRUN echo \\\nFROM no:3\nRUN true \\\\\nFROM alpine:1\n";
    assert_eq!(named(text), [hub("busybox:1"), hub("alpine:1")]);
    let text = "# escape=`\nFROM busybox:1 `\nAS x\nRUN dir c:\\\nFROM alpine:1\n";
    assert_eq!(named(text), [hub("busybox:1"), hub("alpine:1")]);
    // A comment before it makes the directive a comment.
    let text = "# x\n# escape=`\nFROM busybox:1 \\\nAS x\n";
    assert_eq!(named(text), [hub("busybox:1")]);
}

#[test]
fn heredocs_hold_no_instructions() {
    for begin in [
        "RUN <<EOF",
        "RUN <<'EOF'",
        "RUN <<\"EOF\" sh",
        "RUN cat <<EOF > /x",
        "RUN << EOF",
        "COPY <<EOF /x",
        "ADD <<EOF /x",
        "RUN 3<<EOF",
        "ONBUILD RUN <<EOF",
    ] {
        let text = format!("FROM a:1\n{begin}\nFROM no:1\n EOF\nEOF\nFROM b:1\n");
        assert_eq!(named(&text), [hub("a:1"), hub("b:1")], "{begin}");
    }
    let text = "FROM a:1\nRUN <<-ONE cat <<TWO\nFROM no:1\n\tONE\nFROM no:2\nTWO\nFROM b:1\n";
    assert_eq!(named(text), [hub("a:1"), hub("b:1")]);
    for none in
        ["RUN [\"echo\", \"<<EOF\"]", "RUN echo '<<EOF'", "RUN echo it's <<EOF", "LABEL a=<<EOF"]
    {
        assert_eq!(named(&format!("FROM a:1\n{none}\nFROM b:1\n")), [hub("a:1"), hub("b:1")]);
    }
    assert_eq!(images(b"FROM a\nRUN <<EOF\nx\n").unwrap_err().line, 2);
}

#[test]
fn what_cannot_be_determined_is_an_error_with_its_line() {
    for (text, line) in [
        ("FROM busybox:${TAG}\n", 1),
        ("# c\nFROM ${NONE}\n", 2),
        ("FROM a\n\nCOPY --from=${X} / /\n", 3),
        ("FROM a\nRUN --mount=type=bind,from=$X true\n", 2),
        ("FROM a \\\n b\n", 1),
        ("FROM\n", 1),
        ("FROM a/../b\n", 1),
        ("FROM ${A/b/c}\n", 1),
        ("FROM ${A:?must be set}\n", 1),
        ("FROM \"a\n", 1),
        ("#escape=x\nFROM a\n", 1),
    ] {
        assert_eq!(images(text.as_bytes()).unwrap_err().line, line, "{text}");
    }
}

#[test]
fn hostile_dockerfiles_end_at_limits() {
    let mut doubling = "ARG A0=xxxxxxxx\n".to_owned();
    for at in 0..64 {
        doubling.push_str(&format!("ARG A{}=$A{at}$A{at}\n", at + 1));
    }
    assert!(images(doubling.as_bytes()).unwrap_err().problem.contains("longer than"));
    let nested = format!("FROM {}\n", "${A:-".repeat(100_000));
    assert!(images(nested.as_bytes()).unwrap_err().problem.contains("within each other"));
    let many: String = (0..200).map(|at| format!("COPY --from=a:{at} / /\n")).collect();
    let many = format!("FROM a\n{many}");
    assert_eq!(images(many.as_bytes()).unwrap_err().line, MOST_IMAGES + 1);
    let large = format!("FROM a AS b\nONBUILD LABEL x={}\n", "x".repeat(500_000));
    let triggered = large + &"FROM b\n".repeat(900);
    assert!(images(triggered.as_bytes()).unwrap_err().problem.contains("ONBUILD stands for"));
}

/// BuildKit, frontend/dockerfile/dockerfile2llb/convert.go: initOnBuildTriggers.
#[test]
fn names_of_an_onbuild_count_in_the_stages_that_begin_with_it() {
    let base = "FROM a AS base\nONBUILD COPY --from=later /x /x\nFROM b AS later\n";
    assert_eq!(named(&format!("{base}FROM base\n")), [hub("a:latest"), hub("b:latest")]);
    // The image keeps that of the last stage.
    let kept = named("FROM a\nONBUILD COPY --from=other /x /x\n");
    assert_eq!(kept, [hub("a:latest"), hub("other:latest")]);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(FROM |COPY --from=|RUN <<E|\\$\\{|#|\\\\|\n|\"|'|[a-z:%é]| ){0,60}") {
        let _ = images(text.as_bytes());
    }
}
