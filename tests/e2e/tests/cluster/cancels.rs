//! A cancelled step ends: its processes themselves, and its objects.

use std::time::Instant;

use fake_runner::Step;
use rustix::process::Signal;

use test_support::processes;
use test_support::wait::{eventually, s};
use test_support::{Call, Hook, RunnerPod};

/// Ends by nothing but SIGKILL.
const STUBBORN: &str =
    "trap '' TERM INT; echo started-$((40 + 2)); while :; do date >> beat; usleep 100000; done";

fn running_step(runner: &RunnerPod) -> Step {
    runner.script(STUBBORN)
}

fn running_build(runner: &RunnerPod) -> Step {
    let dockerfile = format!("FROM busybox:1\nRUN {STUBBORN}\n");
    runner.action("stubborn", &[("Dockerfile", &dockerfile)])
}

/// Starts the step, does `cancel` to its hook once its program runs, and fails the test unless the
/// program and all that was made for it are gone in time.
fn assert_ends(runner: &RunnerPod, step: &Step, cancel: impl FnOnce(&Hook<'_>), hook_ends: bool) {
    assert_call_ends(runner, runner.call(step), cancel, hook_ends);
}

fn assert_call_ends(
    runner: &RunnerPod,
    call: Call<'_>,
    cancel: impl FnOnce(&Hook<'_>),
    hook_ends: bool,
) {
    let hook = call.start();
    hook.wait_for("started-42");
    let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
    let [pod] = pods.as_slice() else { panic!("one pod runs, not {}", pods.len()) };
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let alive = || -> Vec<_> {
        let processes = processes::all().into_iter().filter(|process| process.is_of_pod(uid));
        processes.map(|process| process.command).filter(|command| command != "/pause").collect()
    };
    assert!(!alive().is_empty(), "no process of pod {uid} is found");
    let cancelled = Instant::now();
    cancel(&hook);
    if hook_ends {
        let timeout = std::time::Duration::from_millis(7500).saturating_sub(cancelled.elapsed());
        let outcome = hook.end_within(timeout);
        assert_ne!(outcome.code, 0, "{}", outcome.text());
    }
    let timeout = s(10).saturating_sub(cancelled.elapsed());
    let gone = eventually(timeout, || alive().is_empty().then_some(()));
    assert!(gone.is_some(), "10 s after the cancel there are still {:?}", alive());
    runner.assert_nothing_left();
}

fn interrupt(hook: &Hook<'_>) {
    hook.signal(Signal::INT);
}

fn kill(hook: &Hook<'_>) {
    hook.signal(Signal::KILL);
}

#[test]
fn an_interrupted_hook_ends_in_time_and_so_does_its_run() {
    let runner = RunnerPod::start();
    assert_ends(&runner, &running_step(&runner), interrupt, true);
}

#[test]
fn an_interrupted_hook_ends_in_time_and_so_does_its_build() {
    let runner = RunnerPod::start();
    assert_ends(&runner, &running_build(&runner), interrupt, true);
}

#[test]
fn a_killed_hook_takes_its_run_along() {
    let runner = RunnerPod::start();
    assert_ends(&runner, &running_step(&runner), kill, true);
}

#[test]
fn a_killed_hook_takes_its_build_along() {
    let runner = RunnerPod::start();
    assert_ends(&runner, &running_build(&runner), kill, true);
}

#[test]
fn further_signals_change_nothing() {
    let runner = RunnerPod::start();
    let several = |hook: &Hook<'_>| {
        let process = hook.process();
        for signal in [Signal::INT, Signal::INT, Signal::TERM] {
            // It may have ended after the first.
            process.signal(signal);
        }
    };
    assert_ends(&runner, &running_step(&runner), several, true);
}

#[test]
fn an_interrupted_hook_js_ends_in_time_and_so_does_its_run() {
    let runner = RunnerPod::start();
    let call = runner.call(&running_step(&runner)).by_node();
    assert_call_ends(&runner, call, interrupt, true);
}

#[test]
fn a_step_after_a_cancelled_one_runs_as_ever() {
    let runner = RunnerPod::start();
    assert_ends(&runner, &running_step(&runner), interrupt, true);
    assert_eq!(runner.run(&runner.script("echo next")).assert_code(0).text(), "next\n");
}

#[test]
fn a_cancel_before_the_pod_starts_leaves_nothing() {
    let runner = RunnerPod::start();
    let step = runner.action("quick", &[("Dockerfile", "FROM busybox:1\nRUN sleep 60\n")]);
    let hook = runner.call(&step).start();
    hook.wait_for("##[group]");
    hook.signal(Signal::INT);
    let outcome = hook.end_within(std::time::Duration::from_millis(7500));
    assert_ne!(outcome.code, 0);
    runner.assert_nothing_left();
}

#[test]
fn a_deleted_runner_pod_takes_its_run_along() {
    let runner = RunnerPod::start();
    let delete = |hook: &Hook<'_>| {
        hook.runner().k(&["delete", "pod", "runner", "--wait=false"]);
    };
    assert_ends(&runner, &running_step(&runner), delete, false);
}

#[test]
fn a_deleted_runner_pod_takes_its_build_along() {
    let runner = RunnerPod::start();
    let delete = |hook: &Hook<'_>| {
        hook.runner().k(&["delete", "pod", "runner", "--wait=false"]);
    };
    assert_ends(&runner, &running_build(&runner), delete, false);
}

#[test]
fn cleanup_deletes_what_a_job_left() {
    let runner = RunnerPod::start();
    let step = running_step(&runner);
    let hook = runner.call(&step).start();
    hook.wait_for("started-42");
    let outcome = runner.cleanup().run();
    outcome.assert_code(0);
    assert_ne!(hook.end_within(s(10)).code, 0);
    runner.assert_nothing_left();
    // With nothing left to do it is well too.
    runner.cleanup().run().assert_code(0);
}
