//! Dockerfiles and contexts that cannot become an image. Each is reported in seconds: waiting cures
//! none.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use fake_runner::Step;
use serde_json::Value;

use test_support::cluster::run;
use test_support::{Outcome, RunnerPod, WORK};

/// Seconds that a build may take to fail which fails before or at its base image.
const EARLY: u64 = 25;

const GOOD: &str = "FROM busybox:1\nENTRYPOINT [\"/bin/echo\", \"must not run\"]\n";

fn outcome_of(dockerfile: &str) -> Outcome {
    let runner = RunnerPod::start();
    let outcome = runner.run(&runner.action("bad", &[("Dockerfile", dockerfile)]));
    runner.assert_nothing_left();
    outcome
}

#[test]
fn a_run_that_fails_shows_its_output_and_its_code() {
    let outcome = outcome_of("FROM busybox:1\nRUN echo about to fail; echo why >&2; exit 23\n");
    outcome.assert_failed_with(EARLY + 20, &["/v1/Dockerfile", "RUN", "exit code 23", "log"]);
    for line in ["about to fail", "why"] {
        assert!(outcome.log_lines().contains(&line.to_owned()), "{}", outcome.printed());
    }
}

/// As the builder's log says that a build is done.
#[test]
fn a_run_that_says_that_it_pushed_ends_no_build() {
    let digest = "a".repeat(64);
    let says = format!(
        "FROM busybox:1\nRUN echo 'INFO[0001] Pushed r/hookd/build@sha256:{digest}'; sleep 2\n"
    );
    let failed = outcome_of(&format!("{says}RUN exit 23\n"));
    failed.assert_failed_with(EARLY + 20, &["RUN", "exit code 23"]);
    let built = outcome_of(&format!("{says}RUN echo right >/a\nCMD [\"cat\", \"/a\"]\n"));
    assert_eq!(built.assert_code(0).after_build(), "right\n");
}

#[test]
fn a_syntax_error_is_told_with_its_line() {
    let outcome = outcome_of("FROM busybox:1\nFRMO nothing\n");
    outcome.assert_failed_with(EARLY, &["line 2", "FRMO", "Correct the Dockerfile"]);
}

#[test]
fn an_unknown_base_image_is_told_in_the_registrys_words() {
    let outcome = outcome_of("FROM debian:bookwurm-slim\n");
    let words = ["library/debian", "bookwurm-slim", "MANIFEST_UNKNOWN", "FROM", "misspelling"];
    outcome.assert_failed_with(EARLY, &words);
}

#[test]
fn an_image_that_cannot_be_determined_is_told_before_the_build() {
    let outcome = outcome_of("FROM busybox:1\nCOPY --from=${X} / /\n");
    outcome.assert_failed_with(10, &["/v1/Dockerfile", "line 2", "${X}", "Correct the Dockerfile"]);
    assert!(!outcome.text().contains("##[group]Build"), "{}", outcome.text());
}

#[test]
fn a_missing_file_of_a_copy_is_named() {
    let outcome = outcome_of("FROM busybox:1\nCOPY not-there /\n");
    outcome.assert_failed_with(EARLY + 20, &["not-there"]);
}

/// Runs a step whose files are changed between the runner's look and hookd's.
fn after(change: impl FnOnce(&RunnerPod, &Step, &mut Value)) -> Outcome {
    let runner = RunnerPod::start();
    let step = runner.action("bad", &[("Dockerfile", GOOD), ("file", "x")]);
    let outcome = runner.call(&step).edit(|input| change(&runner, &step, input)).run();
    assert!(!outcome.printed().contains("must not run"), "{}", outcome.printed());
    runner.assert_nothing_left();
    outcome
}

fn folder(runner: &RunnerPod) -> std::path::PathBuf {
    runner.local(&format!("{WORK}/_actions/test/bad/v1"))
}

#[test]
fn a_dockerfile_that_does_not_exist_is_named() {
    let outcome = after(|runner, _, _| fs::remove_file(folder(runner).join("Dockerfile")).unwrap());
    outcome.assert_failed_with(10, &["/_actions/test/bad/v1/Dockerfile", "does not exist"]);
}

#[test]
fn a_dockerfile_that_leads_out_of_the_work_directory_is_refused() {
    for target in ["/etc/hostname", "../../../../../../../etc/hostname", "/proc/self/environ"] {
        let outcome = after(|runner, _, _| {
            let dockerfile = folder(runner).join("Dockerfile");
            fs::remove_file(&dockerfile).unwrap();
            symlink(target, dockerfile).unwrap();
        });
        let words = ["/_actions/test/bad/v1/Dockerfile", "leads to", "HOOKD_CONTEXT_DIRS"];
        outcome.assert_failed_with(10, &words);
    }
}

#[test]
fn a_context_outside_the_work_directory_is_refused() {
    for path in [
        "/etc/Dockerfile",
        "/home/runner/_work/../../../etc/Dockerfile",
        "/var/run/secrets/kubernetes.io/serviceaccount/Dockerfile",
    ] {
        let outcome = after(|_, _, input| input["args"]["dockerfile"] = path.into());
        outcome.assert_failed_with(10, &["Dockerfile", "/home/runner/_work"]);
    }
}

#[test]
fn a_context_that_links_out_of_the_work_directory_is_refused() {
    let outcome = after(|runner, _, _| {
        fs::remove_dir_all(folder(runner)).unwrap();
        symlink("/var/run/secrets/kubernetes.io/serviceaccount", folder(runner)).unwrap();
    });
    outcome.assert_failed_with(10, &["/_actions/test/bad/v1"]);
}

#[test]
fn a_link_in_the_context_travels_as_a_link() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\nCOPY . /all\nRUN readlink /all/token; cat /all/token; true\n\
                      ENTRYPOINT [\"true\"]\n";
    let link = |name: &str, dockerfile: &str| {
        let step = runner.action(name, &[("Dockerfile", dockerfile)]);
        let token = runner.local(&format!("{WORK}/_actions/test/{name}/v1/token"));
        symlink("/var/run/secrets/kubernetes.io/serviceaccount/token", token).unwrap();
        step
    };
    let named = link("named", "FROM busybox:1\nCOPY token /token\n");
    // As docker, which follows it beneath the context only.
    runner.run(&named).assert_failed_with(15, &["line 2: \"/token\": not found"]);
    let outcome = runner.run(&link("link", dockerfile));
    let target = "/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned();
    assert!(outcome.assert_code(0).log_lines().contains(&target), "{}", outcome.printed());
    // A token begins with the base64 of `{"alg"`.
    assert!(!outcome.printed().contains("eyJ"), "the sidecar's token left it");
    runner.assert_nothing_left();
}

#[test]
fn a_device_or_pipe_in_the_context_is_refused_by_name() {
    for (kind, arguments) in
        [("named pipe", &["queue", "p"][..]), ("device", &["zero", "c", "1", "5"])]
    {
        let outcome = after(|runner, _, _| {
            let path = folder(runner).join(arguments[0]);
            run(Command::new("mknod").arg(path).args(&arguments[1..]), None).unwrap();
        });
        outcome.assert_failed_with(15, &[kind, &format!("/v1/{}", arguments[0]), ".dockerignore"]);
    }
}

#[test]
fn a_context_that_is_too_large_is_refused() {
    let setup = test_support::Setup::default().set("HOOKD_BUILD_CONTEXT_LIMIT_BYTES", "100000");
    let runner = RunnerPod::with(&setup);
    let files = [("Dockerfile", GOOD), ("large", &"x".repeat(200_000))];
    let outcome = runner.run(&runner.action("large", &files));
    outcome.assert_failed_with(15, &["100000", "HOOKD_BUILD_CONTEXT_LIMIT_BYTES"]);
    runner.assert_nothing_left();
}
