//! The daemon dies, or lives and does nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::evidence::{Evidence, observed_if};
use super::workload::{Run, answers};
use test_support::wait::{eventually, let_pass, s};

/// The supervisor checks a daemon each 5 s, waits 10 s for an answer, and ends it after 5 checks that
/// failed: 75 s, and some for the start of the next.
const SUPERVISOR_TIMEOUT: Duration = s(90);

/// The process is killed.
pub(crate) fn daemon_killed(run: &Run<'_>) -> Evidence {
    let runner = &run.workload.runner;
    let daemon = runner.daemon();
    observed_if(run.is_running(), &format!("pid {} replaced", daemon.pid), || {
        daemon.signal(Signal::KILL)
            && eventually(s(20), || (runner.daemon().pid != daemon.pid).then_some(())).is_some()
    })
}

/// The sidecar's first process is killed.
pub(crate) fn container_killed(run: &Run<'_>) -> Evidence {
    let runner = &run.workload.runner;
    let restarts = || {
        let pod = runner.object("pod", "runner");
        pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    };
    let before = restarts();
    observed_if(run.is_running(), "one restart more of the sidecar's container", || {
        runner.supervisor().signal(Signal::KILL) && {
            run.release();
            eventually(s(60), || (restarts() > before).then_some(())).is_some()
        }
    })
}

/// The process is stopped for 30 s.
pub(crate) fn daemon_stopped(run: &Run<'_>) -> Evidence {
    let daemon = run.workload.runner.daemon();
    observed_if(run.is_running(), "30 s in state T, the hook waiting", || {
        let stopped = daemon.signal(Signal::STOP);
        run.release();
        let_pass(s(30));
        let in_state_t = daemon.is_stopped();
        let waits = run.is_running();
        stopped && daemon.signal(Signal::CONT) && in_state_t && waits
    })
}

/// The process is stopped, and goes on only as another.
pub(crate) fn daemon_hung(run: &Run<'_>) -> Evidence {
    let runner = &run.workload.runner;
    let daemon = runner.daemon();
    if !run.is_running() {
        return Evidence::Missing("it had ended before".to_owned());
    }
    let stopped = daemon.signal(Signal::STOP);
    let began = Instant::now();
    run.release();
    let next = eventually(SUPERVISOR_TIMEOUT, || {
        let next = runner.daemon();
        (next.pid != daemon.pid && answers(runner)).then_some(next.pid)
    });
    let (pid, seconds) = (daemon.pid, began.elapsed().as_secs_f64());
    match next.filter(|_| stopped) {
        Some(next) => Evidence::Observed(format!(
            "pid {pid} stopped, pid {next} answers after {seconds:.1} s"
        )),
        None => Evidence::Missing(format!("no other pid than {pid} answers after {seconds:.1} s")),
    }
}
