//! The way to stepd breaks, or what comes along it is not read.

use rustix::process::Signal;

use test_support::processes::{self, Process};
use test_support::wait::{s, until};
use test_support::{JobRun, RunnerPod, Setup};

/// The job pod's end of the tunnel.
fn tunnel(uid: &str) -> Option<Process> {
    let mut all = processes::all().into_iter();
    all.find(|process| process.command.contains("stepd connect") && process.is_of_pod(uid))
}

fn job_pod(runner: &RunnerPod) -> String {
    let pod = runner.object("pod", "runner-workflow");
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Breaks the tunnel, and waits for the next one.
fn break_tunnel(uid: &str) {
    let old = until("there is a tunnel", s(20), || tunnel(uid));
    assert!(old.signal(Signal::KILL));
    until("there is another", s(20), || tunnel(uid).filter(|new| new.pid != old.pid));
}

#[test]
fn a_quiet_step_outlives_any_number_of_broken_tunnels() {
    let setup = Setup::default().set("HOOKD_API_TIMEOUT_SECONDS", "6");
    let runner = RunnerPod::with(&setup);
    let job = JobRun::start(&runner);
    let pod = job_pod(&runner);
    let script = "touch first; sleep 14; touch second; sleep 3; exit 3";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    for mark in ["first", "second"] {
        until("the next tunnel may break", s(30), || runner.workspace(mark).exists().then_some(()));
        break_tunnel(&pod);
    }
    hook.end().assert_code(3);
}

#[test]
fn a_step_is_ended_in_time_though_nobody_reads_its_output() {
    let setup = Setup::default().set("HOOKD_STEP_TIMEOUT_SECONDS", "8");
    let runner = RunnerPod::with(&setup);
    let job = JobRun::start(&runner);
    let pod = job_pod(&runner);
    let script = runner.script_program("sh", "echo begun; exec yes 0123456789");
    let hook = job.step_call(&script).piped().start();
    hook.wait_for("begun\n");
    let reader = hook.stop_reader();
    let runs = || {
        let is_it = |one: &Process| one.command.contains("yes 0123") && one.is_of_pod(&pod);
        processes::all().iter().any(is_it)
    };
    until("the program runs", s(10), || runs().then_some(()));
    until("the program is ended", s(40), || (!runs()).then_some(()));
    assert!(reader.signal(Signal::CONT));
    hook.end().assert_failed_with(120, &["title=Deadline exceeded", "HOOKD_STEP_TIMEOUT_SECONDS"]);
}
