//! Arguments, target and platform of a build.

use super::*;
use crate::dockerfile::{Dockerfile, images};

fn options(arguments: &[(&str, &str)]) -> BuildOptions {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    BuildOptions { arguments: arguments.iter().map(pair).collect(), ..BuildOptions::default() }
}

fn target(name: &str) -> BuildOptions {
    BuildOptions { target: Some(name.to_owned()), ..BuildOptions::default() }
}

fn lowered_with(text: &str, options: &BuildOptions) -> Lowered {
    let read = Dockerfile::read(text.as_bytes(), options);
    let lowered = read.and_then(|read| read.lower(&files(), Builder::Fork));
    lowered.unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[track_caller]
fn assert_with(text: &str, options: &BuildOptions, expected: &str) {
    let lowered = lowered_with(text, options);
    assert_eq!(lowered.dockerfile, expected);
    assert_eq!((lowered.warnings, lowered.unused), (Vec::new(), Vec::new()));
}

#[test]
fn a_build_argument_is_the_value_of_its_arg() {
    let given = options(&[("A", "new"), ("B", "it's \"$X\" \\ y")]);
    // Each stage has those that its own ARG names.
    assert_with(
        "FROM a AS one\nARG A=old B\nRUN x\nFROM one\nRUN y\nFROM a\nCOPY --from=1 /a /\nARG A\nRUN z\n",
        &given,
        r#"FROM a AS one
ARG A=new
ARG B=it\'s\ \"\$X\"\ \\\ y
RUN x
FROM one
RUN y
FROM a
COPY --from=1 /a /
ARG A=new
RUN z
"#,
    );
}

#[test]
fn a_build_argument_goes_before_from_and_into_what_follows() {
    let text = "ARG TAG=1\nARG NAME=x-$TAG\nARG REST=r\nFROM a:$TAG\nARG NAME REST\nRUN x\n";
    assert_with(text, &options(&[("TAG", "2")]), "FROM a:2\nARG NAME=x-2\nARG REST=r\nRUN x\n");
    let read = Dockerfile::read(text.as_bytes(), &options(&[("TAG", "3")])).unwrap();
    assert_eq!(read.images().unwrap()[0].reference.version, "3");
    assert_eq!(images(text.as_bytes()).unwrap()[0].reference.version, "1");
    // One that is not named before FROM is none of FROM's.
    let text = b"FROM a:$TAG\nARG TAG\n";
    assert!(Dockerfile::read(text, &options(&[("TAG", "2")])).unwrap().images().is_err());
}

#[test]
fn an_argument_is_known_to_what_is_written_anew() {
    let text = "FROM a\nARG P=none\nCOPY --chmod=$P a /a\n";
    assert_with(
        text,
        &options(&[("P", "4755")]),
        &format!("FROM a\nARG P=4755\n{}", {
            let lowered = lowered_with("FROM a\nCOPY --chmod=4755 a /a\n", &options(&[]));
            lowered.dockerfile.split_once('\n').unwrap().1.to_owned()
        }),
    );
}

#[test]
fn a_proxy_needs_no_arg_and_an_unknown_name_is_said() {
    let given = options(&[("http_proxy", "http://p:1"), ("NOBODY", "x"), ("TARGETARCH", "mine")]);
    let lowered = lowered_with("FROM a\nRUN x\nFROM b\nARG TARGETARCH\nRUN y\n", &given);
    assert_eq!(
        lowered.dockerfile,
        "FROM b\nARG http_proxy=http://p:1\nARG TARGETARCH=mine\nRUN y\n"
    );
    assert_eq!(lowered.unused, ["NOBODY"]);
    // An ARG of a stage that is not built uses nothing.
    let lowered = lowered_with("FROM a\nARG NOBODY\nFROM b\n", &given);
    assert_eq!(lowered.unused, ["NOBODY"]);
}

#[test]
fn a_value_is_hidden_where_it_is_printed() {
    let lowered =
        lowered_with("FROM a\nARG T=x\nARG E\nRUN y\n", &options(&[("T", "s p"), ("E", "")]));
    assert_eq!(lowered.dockerfile, "FROM a\nARG T=s\\ p\nARG E=\nRUN y\n");
    let shown = |text: &str| (text.to_owned(), text.split('=').next().unwrap().to_owned());
    let hidden: Vec<_> = lowered.hidden.into_iter().collect();
    assert_eq!(hidden, [shown("ARG T=s\\ p")]);
    // Nor is what is made of it.
    let text = "ARG T\nARG U=u-$T\nFROM a\nARG U\n";
    let hidden: Vec<_> = lowered_with(text, &options(&[("T", "s")])).hidden.into_iter().collect();
    assert_eq!(hidden, [shown("ARG U=u-s")]);
}

#[test]
fn a_target_is_the_last_stage() {
    let text = "FROM a AS one\nFROM b AS two\nCOPY --from=one /a /b\nFROM c AS Three\nRUN x\n";
    assert_with(text, &target("ONE"), "FROM a AS one\n");
    assert_with(text, &target("0"), "FROM a AS one\n");
    assert_with(text, &target("three"), "FROM c AS three\nRUN x\n");
    let two = "FROM a AS one\nFROM b AS two\nCOPY --from=one /a /b\n";
    assert_with(text, &target("two"), two);
    let read = Dockerfile::read(text.as_bytes(), &target("one")).unwrap();
    assert_eq!(read.images().unwrap().len(), 1);
    let error = Dockerfile::read(b"FROM a\nFROM b AS x\n", &target("y\n")).unwrap_err();
    let problem = "target stage \"y\\n\" could not be found; the stages are 0, x";
    assert_eq!((error.line, error.problem.as_str()), (1, problem));
    assert!(Dockerfile::read(b"FROM a\n", &target("1")).is_err());
}

#[test]
fn a_stage_that_needs_itself_or_a_later_one_is_an_error() {
    let circular = "circular dependency detected on stage: a";
    let later = "stage \"b\" comes later: put it before the stage that needs it";
    for (text, line, problem) in [
        ("FROM x AS a\nFROM x AS a\nCOPY --from=a /x /y\n", 3, circular),
        ("FROM x AS A\nRUN --mount=from=a,target=/a x\n", 2, circular),
        ("FROM x\nCOPY --from=b /x /y\nFROM x AS b\n", 2, later),
        ("FROM x AS b\nFROM x\nCOPY --from=b /x /y\nFROM x AS b\n", 3, later),
    ] {
        let error = Dockerfile::read(text.as_bytes(), &BuildOptions::default()).unwrap_err();
        assert_eq!((error.line, error.problem.as_str()), (line, problem), "{text}");
    }
}

#[test]
fn a_platform_is_that_of_the_arguments() {
    let platform = "linux/arm/v6".parse().ok();
    let options = BuildOptions { platform, ..BuildOptions::default() };
    assert_with(
        "FROM --platform=$BUILDPLATFORM a-$TARGETARCH$TARGETVARIANT\nARG TARGETPLATFORM\n",
        &options,
        "FROM --platform=linux/arm/v6 a-armv6\nARG TARGETPLATFORM=linux/arm/v6\n",
    );
}
