//! Kinds of instructions that each Kaniko reads otherwise.

use super::*;

#[test]
fn stages_of_one_name_have_names_of_their_own() {
    let text = "FROM a AS app\nFROM app AS app\nRUN x\nFROM app\nCOPY --from=app /f /f\n";
    let expected = "FROM a AS app\nFROM app AS app-hookd-1\nRUN x\nFROM app-hookd-1\n\
                    COPY --from=app-hookd-1 [\"/f\",\"/f\"]\n";
    assert_eq!(lowered(text).dockerfile, expected);
}

#[test]
fn the_name_of_the_last_stage_is_an_argument() {
    let text = "FROM a AS Last\nARG TARGETSTAGE\n";
    assert_lowered(text, "FROM a AS last\nARG TARGETSTAGE=last\n");
    assert_lowered("FROM a\nARG TARGETSTAGE\n", "FROM a\nARG TARGETSTAGE=default\n");
}

#[test]
fn a_pattern_that_kaniko_matches_otherwise_is_a_list() {
    assert_body("COPY *.md /x/", "COPY *.md /x/");
    // One after the other, where the target is no directory.
    assert_body(
        "COPY src/two/* /x",
        "COPY [\"src/two/a.txt\",\"/x\"]\nCOPY [\"src/two/b.txt\",\"/x\"]",
    );
}

#[test]
fn users_and_ports_are_written_with_their_variables() {
    assert_body("ARG U=app\nUSER ${U:-x}", "ARG U=app\nUSER app");
    assert_body("ENV R=7-8\nEXPOSE $R/udp 9", "ENV R=7-8\nEXPOSE 7/udp 8/udp 9/tcp");
    assert_eq!(refused("FROM a\nEXPOSE web\n").0, 2);
    assert_body("EXPOSE $UNKNOWN", "EXPOSE $UNKNOWN");
}

#[test]
fn what_is_in_the_builders_directory_is_a_warning() {
    assert_eq!(warned("FROM a\nCOPY f /kaniko/f\nRUN ls /kaniko\nRUN x\n"), [2, 3]);
}

#[test]
fn a_directive_is_given_once() {
    assert_eq!(refused("# escape=`\n# escape=\\\nFROM a\n").0, 2);
}

#[test]
fn excluded_files_are_those_of_directories() {
    let lowered = lowered("FROM a\nCOPY --exclude=*.txt top.txt src/two /x/\n");
    let paths: Vec<_> = lowered.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["copy-1/0/top.txt", "copy-2/0"]);
}

#[test]
fn a_shell_without_a_path_is_found_in_the_image() {
    assert_body(
        "SHELL [\"bash\", \"-c\"]\nRUN x \"$y\"",
        "SHELL [\"bash\", \"-c\"]\nRUN [\"bash\",\"-c\",\"x \\\"$y\\\"\"]",
    );
}

#[test]
fn what_onbuild_keeps_is_written_where_it_runs() {
    let text = "FROM a AS b\nONBUILD RUN <<EOF\nx\nEOF\nONBUILD EXPOSE 81/TCP\n\
                ONBUILD COPY link /l\nFROM b AS c\nRUN y\nFROM c\nONBUILD RUN z\n";
    let expected = "FROM a AS b\nFROM b AS c\nRUN [\"/bin/sh\",\"-c\",\"x\\n\"]\nEXPOSE 81/tcp\n\
                    COPY [\"../hookd/copy-1/link\",\"/l\"]\nRUN y\nFROM c\nONBUILD RUN z\n";
    assert_eq!(lowered(text).dockerfile, expected);
    for wrong in ["FROM x", "MAINTAINER x", "ONBUILD RUN x"] {
        assert_eq!(refused(&format!("FROM a AS b\n\nONBUILD {wrong}\nFROM b\n")).0, 3);
    }
}

#[test]
fn values_that_docker_does_not_know_are_refused() {
    for wrong in [
        "COPY --link=maybe a /a",
        "COPY --link=1 a /a",
        "RUN --mount=type=cache,target=/c,sharing=all x",
        "RUN []",
        "RUN --mount=type=bind,source=none,target=/n x",
    ] {
        assert_eq!(refused(&format!("FROM a\n{wrong}\n")).0, 2, "{wrong}");
    }
    let read = crate::dockerfile::images(b"FROM --none=1 a\n");
    assert_eq!(read.unwrap_err().problem, "unknown flag: --none");
}
