//! The container of a failed step is kept for as long as the step asks for, and the printed command enters it.

use std::process::Command;

use rustix::process::Signal;

use test_support::cluster::run;
use test_support::wait::s;
use test_support::{Call, Hook, JobRun, RunnerPod, Setup};

const FAILS: &str = "echo trace-$((40 + 2)) > /tmp/left; exit 3";

fn holding<'a>(call: Call<'a>, seconds: &str) -> Call<'a> {
    call.edit(|input| input["args"]["environmentVariables"]["HOOKD_HOLD_SECONDS"] = seconds.into())
}

/// What the program has left in its container, read by the command that the hook prints.
fn left(hook: &Hook<'_>) -> String {
    hook.wait_for("To enter it: kubectl exec ");
    let printed = String::from_utf8(hook.stderr()).unwrap();
    let (_, command) = printed.split_once("To enter it: ").unwrap();
    // There is no terminal here.
    let line = command.lines().next().unwrap().replace(" -it ", " -i ");
    run(Command::new("sh").args(["-c", &line]), Some("cat /tmp/left\n")).unwrap()
}

fn assert_is_kept_until_cancelled(call: Call<'_>) {
    let hook = holding(call, "600").start();
    assert_eq!(left(&hook).trim(), "trace-42");
    assert_eq!(hook.code(), None, "the hook has ended");
    hook.signal(Signal::INT);
    let outcome = hook.end_within(s(8));
    assert_ne!(outcome.code, 0, "{}", outcome.text());
}

#[test]
fn a_failed_step_is_entered_by_the_printed_command() {
    for setup in [Setup::default(), Setup::in_runner_pod()] {
        let runner = RunnerPod::with(&setup);
        let mut job = JobRun::start(&runner);
        assert_is_kept_until_cancelled(job.step_call(&runner.script_program("sh", FAILS)));
        assert_is_kept_until_cancelled(runner.call(&runner.script(FAILS)));
        job.run("exit 0").assert_code(0);
        job.clean_up().assert_code(0);
        runner.assert_nothing_left();
    }
}

#[test]
fn a_built_action_is_entered_in_the_image_that_was_built() {
    let dockerfile = "FROM busybox:1\nRUN echo trace-42 > /tmp/left\nCMD exit 3\n";
    for setup in [Setup::default(), Setup::in_runner_pod()] {
        let runner = RunnerPod::with(&setup);
        let step = runner.action("fails", &[("Dockerfile", dockerfile)]);
        assert_is_kept_until_cancelled(runner.call(&step));
    }
}

#[test]
fn the_administrator_limits_how_long_a_step_is_kept() {
    let runner = RunnerPod::with(&Setup::in_runner_pod().set("HOOKD_HOLD_MAX_SECONDS", "2"));
    let job = JobRun::start(&runner);
    let program = runner.script_program("sh", FAILS);
    let outcome = holding(job.step_call(&program), "600").run();
    let log = outcome.assert_code(3).log();
    assert!(log.contains("more than the 2 s that the administrator allows"), "{log}");
    assert!(log.contains("kept for 2 s"), "{log}");
    assert!(log.ends_with("The container is not kept any longer\n"), "{log}");
}

#[test]
fn a_step_is_kept_though_hookd_dies_meanwhile() {
    let runner = RunnerPod::with(&Setup::in_runner_pod().set("HOOKD_HOLD_MAX_SECONDS", "15"));
    let job = JobRun::start(&runner);
    let hook = holding(job.step_call(&runner.script_program("sh", FAILS)), "600").start();
    hook.wait_for("To enter it: ");
    assert!(runner.daemon().signal(Signal::KILL));
    let outcome = hook.end_within(s(60));
    let log = outcome.assert_code(3).log();
    for line in ["The program itself ended", "To enter it: ", "The container is not kept"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn a_step_that_the_kubelet_starts_cannot_be_kept() {
    let setup = Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet");
    let runner = RunnerPod::with(&setup);
    let outcome = holding(runner.call(&runner.script(FAILS)), "600").run();
    let log = outcome.assert_code(3).log();
    assert!(log.contains("HOOKD_HOLD_SECONDS has no effect: the kubelet"), "{log}");
}
