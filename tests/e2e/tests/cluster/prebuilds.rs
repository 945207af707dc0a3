//! Dockerfile actions are built while the job's containers start.

use fake_runner::Step;
use fake_runner::layout::guid;
use rustix::process::Signal;
use test_support::wait::{s, until};
use test_support::{JobRun, RunnerPod, Setup};

use crate::build_flight::{FOLLOWED, SeenBuilds};
use crate::build_reuse::{FOUND, MISSING, assert_says, dockerfile, keeping};

/// As the runner has downloaded it.
fn downloaded(runner: &RunnerPod, more: &str) -> Step {
    let dockerfile = dockerfile("busybox:1") + more;
    let definition = "runs: {using: docker, image: Dockerfile}";
    let files = [("action.yml", definition), ("Dockerfile", &dockerfile), ("a", "genuine\n")];
    runner.action(&format!("ahead-{}", &guid().unwrap()[..8]), &files)
}

fn wait_for_job(runner: &RunnerPod) {
    let builds = ["-l", "hookd.dev/component=build"];
    until("it builds", s(60), || (!runner.objects("jobs", &builds).is_empty()).then_some(()));
}

/// The Leases of builds.
fn leases(runner: &RunnerPod) -> usize {
    runner.objects("leases", &[]).len()
}

#[test]
fn an_image_is_ready_before_its_step_asks_for_it() {
    for setup in [Setup::default(), Setup::in_runner_pod().with_registry()] {
        let runner = keeping(setup);
        let (step, seen) = (downloaded(&runner, ""), SeenBuilds::of(&runner));
        let job = JobRun::start(&runner);
        until("it is built", s(90), || runner.log().contains("outcome=Built").then_some(()));
        let outcome = runner.run(&step);
        assert_says(&outcome, "genuine\n", FOUND);
        assert!(!outcome.log().contains(FOLLOWED), "{}", outcome.log());
        job.clean_up().assert_code(0);
        runner.assert_nothing_left();
        let built = seen.end();
        assert!(built.len() == 1 && built[0].contains("prebuild"), "{built:?}");
    }
}

#[test]
fn each_job_that_uses_an_image_reads_how_it_differs() {
    let runner = keeping(Setup::default());
    let step = downloaded(&runner, "HEALTHCHECK --start-interval=2s CMD true\n");
    let warnings = |log: &str| -> Vec<String> {
        let lines = log.lines().filter(|line| line.starts_with("::warning title=Dockerfile,"));
        lines.map(str::to_owned).collect()
    };
    for _ in 0..2 {
        let job = JobRun::start(&runner);
        until("it is built", s(90), || runner.log().contains("outcome=Built").then_some(()));
        let first = runner.run(&step);
        assert_says(&first, "genuine\n", FOUND);
        let found = warnings(&first.log());
        let words = ["Dockerfile,line=5::Dockerfile:5: warning: ", "start-interval"];
        assert!(found.len() == 1 && words.iter().all(|word| found[0].contains(word)), "{found:?}");
        assert_eq!(warnings(&runner.run(&step).log()), [""; 0]);
        job.clean_up().assert_code(0);
    }
}

#[test]
fn a_step_that_comes_early_follows_the_prebuild() {
    let runner = keeping(Setup::default());
    let step = downloaded(&runner, "RUN sleep 12; echo slowly\n");
    let seen = SeenBuilds::of(&runner);
    let job = JobRun::start(&runner);
    wait_for_job(&runner);
    let outcome = runner.run(&step);
    assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
    let log = outcome.log();
    assert!(log.contains(FOLLOWED) && log.contains("\nslowly\n") && log.contains(FOUND), "{log}");
    job.clean_up().assert_code(0);
    assert_eq!(seen.end().len(), 1);
}

#[test]
fn a_prebuild_that_no_step_uses_ends_with_its_job() {
    for setup in [Setup::default(), Setup::in_runner_pod().with_registry()] {
        let runner = keeping(setup);
        downloaded(&runner, "RUN sleep 600\n");
        let job = JobRun::start(&runner);
        wait_for_job(&runner);
        let outcome = job.clean_up();
        outcome.assert_code(0);
        runner.assert_nothing_left();
        until("no Lease is left", s(10), || (leases(&runner) == 0).then_some(()));
    }
}

#[test]
fn a_prebuild_without_its_hookd_delays_no_step() {
    let runner = keeping(Setup::default());
    let step = downloaded(&runner, "RUN test -e /never || sleep 30\n");
    let job = JobRun::start(&runner);
    wait_for_job(&runner);
    let killed = runner.daemon();
    assert!(killed.signal(Signal::KILL));
    until("another daemon runs", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    let hook = runner.call(&step).start();
    hook.wait_for("Builder ");
    hook.signal(Signal::INT);
    hook.end();
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn a_definition_that_is_malformed_fails_no_job() {
    let runner = keeping(Setup::default());
    runner.action("broken", &[("action.yml", "runs: [\0"), ("Dockerfile", "FROM\n")]);
    let definition = "runs: {using: docker, image: Dockerfile}";
    let files = [("action.yml", definition), ("Dockerfile", "FROM busybox:1\nRUN exit 7\n")];
    let step = runner.action("fails", &files);
    let job = JobRun::start(&runner);
    until("it has failed", s(90), || runner.log().contains("not prebuilt").then_some(()));
    let outcome = runner.run(&step);
    outcome.assert_failed_with(120, &["RUN", "exit code 7"]);
    assert!(outcome.log().contains(MISSING), "{}", outcome.log());
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}
