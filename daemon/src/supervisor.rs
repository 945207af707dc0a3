//! PID 1 of the sidecar: keeps the daemon process alive and never fails.
//!
//! The kubelet must not see this container end while the runner lives: ARC takes a sidecar that
//! ended with a code other than 0 for a failed runner, and the kubelet waits 10 s and more before
//! it starts a container again. So a daemon that dies is started again here, within milliseconds.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use health::Daemon;
use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

mod health;

pub use health::Watch;

/// A daemon that lived longer than this is started again at once; others after a pause that grows
/// with each of them.
const HEALTHY: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_factor(4.0)
    .with_min_delay(FIRST_PAUSE)
    .with_max_delay(LONGEST_PAUSE)
    .without_max_times();

/// Runs `hookd daemon` until TERM or INT, then forwards it and
/// returns when the daemon is gone. A daemon that does not answer is killed and started again.
///
/// # Errors
/// Only if signals or threads are not available or the program cannot be started at all.
pub fn run(health: Watch) -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT])?;
    let daemon = Daemon::default();
    let watched = daemon.clone();
    std::thread::Builder::new().name("health".to_owned()).spawn(move || health.run(&watched))?;
    let mut pauses = PAUSES.build();
    loop {
        let started = Instant::now();
        let child = start()?;
        daemon.set(Some(child));
        if watch(child, &daemon, &mut signals) == Ended::Stopped {
            return Ok(());
        }
        if started.elapsed() > HEALTHY {
            pauses = PAUSES.build();
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        if stopped_within(pause, &mut signals) {
            return Ok(());
        }
    }
}

/// What the daemon's allocator (glibc's) reads: few arenas, and large blocks and free memory given
/// back to the kernel. Its defaults keep for each thread what a large input needed once.
pub const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

#[derive(PartialEq)]
enum Ended {
    /// We were asked to stop, and the daemon has.
    Stopped,
    /// It ended by itself.
    Died,
}

fn start() -> io::Result<Pid> {
    let child = Command::new(std::env::current_exe()?).arg("daemon").envs(ALLOCATOR).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the daemon has no process id"))
}

/// Forwards TERM and INT to the daemon and reaps everything until the daemon itself is gone.
fn watch(child: Pid, daemon: &Daemon, signals: &mut Signals) -> Ended {
    let mut stopping = false;
    let reap = |daemon: &mut Option<Pid>| {
        let reaped = rustix::process::wait(WaitOptions::NOHANG).ok().flatten();
        if reaped.is_some_and(|(pid, _)| pid == child) {
            *daemon = None;
        }
        reaped
    };
    loop {
        while let Some((pid, status)) = daemon.reaping(reap) {
            if pid != child {
                continue; // A stray process that was handed to PID 1.
            }
            if stopping {
                return Ended::Stopped;
            }
            tracing::warn!(?status, "the daemon ended; starting it again");
            return Ended::Died;
        }
        for signal in signals.wait() {
            if signal == SIGTERM || signal == SIGINT {
                stopping = true;
                // An error means that it is gone already, which SIGCHLD reports.
                let _ = rustix::process::kill_process(child, Signal::TERM);
            }
        }
    }
}

/// Waits; true if TERM or INT came meanwhile.
fn stopped_within(pause: Duration, signals: &mut Signals) -> bool {
    let deadline = Instant::now() + pause;
    while Instant::now() < deadline {
        if signals.pending().any(|signal| signal == SIGTERM || signal == SIGINT) {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    false
}
