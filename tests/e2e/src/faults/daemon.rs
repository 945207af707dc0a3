//! The daemon dies, or lives and does nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::evidence::{Evidence, seen_if};
use super::lane::{Flight, answers};
use test_support::wait::{eventually, let_pass, s};

/// The supervisor checks a daemon each 5 s, waits 10 s for an answer, and ends it after 5 checks that
/// failed: 75 s, and some for the start of the next.
const SUPERVISED: Duration = s(90);

/// The process is killed.
pub(crate) fn daemon_killed(flight: &Flight<'_>) -> Evidence {
    let runner = &flight.lane.runner;
    let daemon = runner.daemon();
    seen_if(flight.flies(), &format!("pid {} replaced", daemon.pid), || {
        daemon.signal(Signal::KILL)
            && eventually(s(20), || (runner.daemon().pid != daemon.pid).then_some(())).is_some()
    })
}

/// The sidecar's first process is killed.
pub(crate) fn container_killed(flight: &Flight<'_>) -> Evidence {
    let runner = &flight.lane.runner;
    let restarts = || {
        let pod = runner.object("pod", "runner");
        pod["status"]["initContainerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    };
    let before = restarts();
    seen_if(flight.flies(), "one restart more of the sidecar's container", || {
        runner.supervisor().signal(Signal::KILL) && {
            flight.let_go();
            eventually(s(60), || (restarts() > before).then_some(())).is_some()
        }
    })
}

/// The process is stopped for 30 s.
pub(crate) fn daemon_stopped(flight: &Flight<'_>) -> Evidence {
    let daemon = flight.lane.runner.daemon();
    seen_if(flight.flies(), "30 s in state T, the hook waiting", || {
        let stopped = daemon.signal(Signal::STOP);
        flight.let_go();
        let_pass(s(30));
        let in_state_t = daemon.is_stopped();
        let waits = flight.flies();
        stopped && daemon.signal(Signal::CONT) && in_state_t && waits
    })
}

/// The process is stopped, and goes on only as another.
pub(crate) fn daemon_hung(flight: &Flight<'_>) -> Evidence {
    let runner = &flight.lane.runner;
    let daemon = runner.daemon();
    if !flight.flies() {
        return Evidence::Missing("it had landed before".to_owned());
    }
    let stopped = daemon.signal(Signal::STOP);
    let began = Instant::now();
    flight.let_go();
    let next = eventually(SUPERVISED, || {
        let next = runner.daemon();
        (next.pid != daemon.pid && answers(runner)).then_some(next.pid)
    });
    let (pid, seconds) = (daemon.pid, began.elapsed().as_secs_f64());
    match next.filter(|_| stopped) {
        Some(next) => {
            Evidence::Seen(format!("pid {pid} stopped, pid {next} answers after {seconds:.1} s"))
        }
        None => Evidence::Missing(format!("no other pid than {pid} answers after {seconds:.1} s")),
    }
}
