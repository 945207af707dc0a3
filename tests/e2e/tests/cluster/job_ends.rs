//! How steps in a job container end: by themselves, by a cancel, with their pod.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use test_support::cluster;
use test_support::wait::{eventually, s, until};
use test_support::{IMAGE, JobRun, Program, RunnerPod, Setup, job_container, processes};

#[test]
fn exit_codes_arrive_as_they_are() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    for code in [0, 1, 3, 126, 127, 255] {
        job.run(&format!("exit {code}")).assert_code(code);
    }
    job.run("kill -KILL $$").assert_code(137);
    let outcome = job.run_program(&Program::new("no-such-shell", "x"));
    let text = outcome.assert_code(127).log();
    assert!(text.contains("\"no-such-shell\" is not on the PATH of the container"), "{text}");
    let outcome = job.run_program(&Program::new("true", "").within("/no/such/directory"));
    assert!(outcome.assert_code(127).log().contains("/no/such/directory"));
}

#[test]
fn a_killed_daemon_neither_stops_a_step_nor_repeats_its_output() {
    let runner = RunnerPod::start();
    let job = JobRun::start(&runner);
    let script = "i=1; while [ $i -le 600 ]; do echo n$i; echo e$i >&2; i=$((i+1)); sleep 0.01; done; exit 9";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    for mark in ["\nn50\n", "\nn300\n"] {
        hook.wait_for(mark);
        let daemon = runner.daemon();
        assert!(daemon.signal(Signal::KILL));
        until("another daemon runs", s(10), || (runner.daemon().pid != daemon.pid).then_some(()));
    }
    let outcome = hook.end();
    outcome.assert_code(9);
    let expected = |mark| (1..=600).map(|n| format!("{mark}{n}")).collect::<Vec<_>>();
    assert!(outcome.lines() == expected('n'), "{}", outcome.text());
    let of_hook = ["Connection", "hookd", "The program itself ended with exit code 9"];
    let is_own = |line: &String| !of_hook.iter().any(|start| line.starts_with(start));
    let errors: Vec<_> = outcome.log_lines().into_iter().filter(is_own).collect();
    assert!(errors == expected('e'), "{}", outcome.log());
}

#[test]
fn the_time_limit_of_a_step_counts_on_when_the_daemon_is_killed() {
    let setup = Setup::default().set("HOOKD_STEP_TIMEOUT_SECONDS", "12");
    let runner = RunnerPod::with(&setup);
    let job = JobRun::start(&runner);
    let script = "i=1; while :; do echo n$i; i=$((i+1)); sleep 1; done";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    hook.wait_for("\nn8\n");
    assert!(runner.daemon().signal(Signal::KILL));
    let outcome = hook.end();
    outcome.assert_failed_with(60, &["title=Deadline exceeded", "HOOKD_STEP_TIMEOUT_SECONDS"]);
    let seconds = outcome.lines().iter().filter(|line| line.starts_with('n')).count();
    assert!((8..=17).contains(&seconds), "ended after {seconds} s: {}", outcome.text());
}

#[test]
fn a_step_ended_without_its_hook_is_not_run_again() {
    let setup = Setup::default().set("HOOKD_REATTACH_TIMEOUT_SECONDS", "2");
    let runner = RunnerPod::with(&setup);
    let job = JobRun::start(&runner);
    let ran = runner.workspace("ran");
    // It prints nothing: its offsets do not tell that it ran.
    let script = "echo ran >> $GITHUB_WORKSPACE/ran; exec sleep 978";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    let sleeps = || processes::all().iter().any(|process| process.command.contains("sleep 978"));
    until("it sleeps", s(20), || sleeps().then_some(()));
    let (daemon, process) = (runner.daemon(), hook.process());
    assert!(process.signal(Signal::STOP) && daemon.signal(Signal::KILL));
    until("the step is ended", s(30), || (!sleeps()).then_some(()));
    assert!(process.signal(Signal::CONT));
    hook.end().assert_failed_with(60, &["title=Step lost", "HOOKD_REATTACH_TIMEOUT_SECONDS"]);
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "ran\n");
}

#[test]
fn a_cancelled_step_ends_with_its_descendants_but_not_the_job() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    let script = "trap '' INT TERM; setsid sh -c \"trap '' INT TERM; while :; do sleep 971; done\" & \
                  (sleep 972 &); echo started-$((40+2)); while :; do sleep 973; done";
    let pod = runner.object("pod", "runner-workflow");
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let alive = || -> Vec<_> {
        let all = processes::all().into_iter();
        let sleeps = all.filter(|p| p.is_of_pod(&uid) && p.command.contains("sleep 97"));
        sleeps.map(|process| process.command).collect()
    };
    for signal in [Signal::INT, Signal::KILL] {
        let hook = job.step_call(&runner.script_program("sh", script)).start();
        hook.wait_for("started-42");
        assert!(!alive().is_empty());
        let cancelled = std::time::Instant::now();
        hook.signal(signal);
        assert_ne!(hook.end_within(Duration::from_millis(7500)).code, 0);
        let timeout = s(10).saturating_sub(cancelled.elapsed());
        let gone = eventually(timeout, || alive().is_empty().then_some(()));
        assert!(gone.is_some(), "still there: {:?}", alive());
    }
    assert_eq!(job.run("echo next").assert_code(0).text(), "next\n");
}

#[test]
fn a_job_pod_that_is_deleted_is_told_soon() {
    let runner = RunnerPod::start();
    let job = JobRun::start(&runner);
    let hook = job.step_call(&runner.script_program("sh", "echo started; sleep 1000")).start();
    hook.wait_for("started\n");
    let deleted = std::time::Instant::now();
    runner.k(&["delete", "pod", "runner-workflow", "--wait=false"]);
    let outcome = hook.end_within(s(15));
    assert!(deleted.elapsed() < s(5), "{:?}", deleted.elapsed());
    outcome.assert_failed_with(60, &["runner-workflow", "deleted"]);
}

#[test]
fn a_step_that_uses_too_much_memory_is_told_with_the_limit() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "--memory 64m"});
    job.prepare(&job_container(IMAGE, &fields), &json!([])).assert_code(0);
    let outcome = job.run("echo begun; x=0123456789; while :; do x=$x$x$x; done");
    let text = outcome.log();
    // cgroup v1 kills the one process, v2 the container with stepd.
    assert!(matches!(outcome.code, 137 | 1), "{}: {text}", outcome.code);
    assert!(text.contains("OOMKilled") && text.contains("67108864"), "{text}");
    if outcome.code == 137 {
        assert_eq!(job.run("echo next").assert_code(0).text(), "next\n");
    }
}

#[test]
fn a_step_that_speaks_to_stepd_is_refused_while_an_exec_is_not() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    // An agent that takes the connection sends its settings at once.
    let ask = "/__hookd/usr/local/bin/stepd connect --dir /__hookd_run < /dev/null | wc -c";
    assert_eq!(job.run(ask).assert_code(0).text(), "0\n");
    let nested = format!("setsid sh -c 'sh -c \"{ask}\" & wait'");
    assert_eq!(job.run(&nested).assert_code(0).text(), "0\n");
    let exec = ["exec", "runner-workflow", "-c", "job", "--", "sh", "-c"];
    let by_exec = runner.k(&[&exec[..], &[&format!("exec {ask}")]].concat());
    assert_eq!(by_exec.trim(), "0", "a shell's child is no exec session's own process");
    let connect = ["exec", "-i", "runner-workflow", "-c", "job", "--"];
    let stepd = ["/__hookd/usr/local/bin/stepd", "connect", "--dir", "/__hookd_run"];
    let answer = runner.k(&[&connect[..], &stepd[..]].concat());
    assert!(!answer.is_empty(), "an exec session is answered");
    assert_eq!(job.run("echo on").assert_code(0).text(), "on\n");
}

#[test]
fn a_job_pod_that_is_evicted_is_told_soon_and_as_that() {
    let runner = RunnerPod::start();
    let job = JobRun::start(&runner);
    let hook = job.step_call(&runner.script_program("sh", "echo started; sleep 1000")).start();
    hook.wait_for("started\n");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "runner-workflow", "namespace": runner.namespace}});
    let path = format!("/api/v1/namespaces/{}/pods/runner-workflow/eviction", runner.namespace);
    let evicted = std::time::Instant::now();
    cluster::post(&path, &eviction);
    let outcome = hook.end_within(s(15));
    assert!(evicted.elapsed() < s(5), "{:?}", evicted.elapsed());
    outcome.assert_failed_with(60, &["title=Evicted", "runner-workflow", "EvictionByEvictionAPI"]);
}

/// As with cgroup v2 after an out-of-memory kill, which takes stepd along.
#[test]
fn steps_after_the_end_of_the_job_container_fail_at_once() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    let ends = runner.script_program("sh", "kill -TERM 1; sleep 1000").set("GITHUB_ACTION", "ends");
    job.run_program(&ends).assert_failed_with(30, &["ended with exit code 0 while its step ran"]);
    for _ in 0..2 {
        let outcome = job.run("echo never");
        outcome.assert_failed_with(
            15,
            &["The job container is gone since step", "ends", "exit code 0"],
        );
        assert!(!outcome.text().contains("never"), "{}", outcome.text());
    }
    job.clean_up().assert_code(0);
}
