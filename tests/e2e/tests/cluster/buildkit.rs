//! Dockerfile actions that rootless BuildKit builds. Its image is made on demand
//! (`deploy/devcluster/buildkit.sh`), so these tests run with `make parity BUILDER=buildkit` only.

use e2e::parity::Builder;

use test_support::RunnerPod;

/// Seconds that a build may take that fails at its first instruction.
const EARLY: u64 = 60;

fn runner() -> RunnerPod {
    Builder::BuildKit.start().1
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn buildkit_builds_an_action_which_runs() {
    let runner = runner();
    let dockerfile = "# syntax=docker/dockerfile:1\nFROM busybox:1 AS base\n\
                      RUN <<EOF\necho built by $(id -u) >/built\nEOF\n\
                      FROM busybox:1\nCOPY --from=base /built /built\nCOPY --chmod=755 run.sh /run.sh\n\
                      ENTRYPOINT [\"/run.sh\"]\n";
    let script = "#!/bin/sh\ncat /built\nexit 7\n";
    let step = runner.action("modern", &[("Dockerfile", dockerfile), ("run.sh", script)]);
    let outcome = runner.run(&step);
    outcome.assert_code(7);
    assert!(outcome.printed().contains("built by 0"), "{}", outcome.printed());
    // The log names the registry's image, and the endpoint nowhere.
    assert!(!outcome.printed().contains("127.0.0.1:5077"), "{}", outcome.printed());
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn a_run_that_fails_in_buildkit_has_its_line_and_code() {
    let runner = runner();
    let dockerfile = "FROM busybox:1\nRUN echo about to fail; exit 23\n";
    let outcome = runner.run(&runner.action("bad", &[("Dockerfile", dockerfile)]));
    outcome.assert_failed_with(EARLY, &["/v1/Dockerfile", "line 2", "RUN", "exit code 23"]);
    assert!(outcome.printed().contains("about to fail"), "{}", outcome.printed());
    runner.assert_nothing_left();
}

#[test]
#[ignore = "make parity BUILDER=buildkit makes BuildKit"]
fn an_image_that_buildkit_does_not_find_is_told() {
    let runner = runner();
    let dockerfile = "FROM debian:bookwurm-slim\n";
    let outcome = runner.run(&runner.action("bad", &[("Dockerfile", dockerfile)]));
    outcome.assert_failed_with(EARLY, &["line 1", "bookwurm-slim", "misspelling"]);
    runner.assert_nothing_left();
}
