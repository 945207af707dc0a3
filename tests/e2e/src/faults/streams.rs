//! What hook prints is not read.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::process::Signal;

use super::evidence::{Evidence, observed_if};
use super::operation::Operation;
use super::workload::{Run, main_process};
use test_support::processes::{self, Process};
use test_support::wait::{eventually, let_pass, s};

/// The spool's bound in stepd.
const SPOOL_SIZE: u64 = 64 << 20;
/// A program that writes nothing for this long does not only wait for its turn.
const IDLE_TIME: Duration = s(2);

/// Stops the reader and fills the pipe, so that the first byte that hook prints has to wait.
pub(crate) fn stdout_blocked(run: &Run<'_>) -> Evidence {
    observed_if(run.is_running(), "nothing read for 20 s, the hook waiting", || {
        // Until it has stopped it may read what fills the pipe.
        let reader = run.hook.stop_reader();
        fill(&reader);
        let before = bytes(&reader, "rchar: ");
        run.release();
        let_pass(s(20));
        let unread = bytes(&reader, "rchar: ") == before && reader.is_stopped();
        let waits = run.is_running();
        reader.signal(Signal::CONT) && unread && waits
    })
}

/// Bytes that a process has read from files and pipes ("rchar: "), or has written ("wchar: ").
fn bytes(process: &Process, which: &str) -> u64 {
    let io = process.read("io");
    let bytes = io.lines().find_map(|line| line.strip_prefix(which));
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Fills the pipe that `reader` reads with zeros.
fn fill(reader: &Process) {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let pipe = OpenOptions::new().write(true).custom_flags(nonblocking).open(reader.path("fd/0"));
    let Ok(mut pipe) = pipe else { return };
    for size in [4096, 1] {
        loop {
            match pipe.write(&vec![0; size]) {
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    }
}

/// Lets the reader that was stopped at the run's start go on once the spool is full.
pub(crate) fn spool_full(run: &Run<'_>) -> Evidence {
    if run.workload.operation != Operation::Megabytes {
        return Evidence::NotApplicable("prints less than a spool holds");
    }
    let Some(reader) = run.hook.reader().filter(Process::is_stopped) else {
        return Evidence::Missing("the pipe has no reader that was stopped".to_owned());
    };
    let stepd = main_process(run);
    let look = || stepd.as_ref().and_then(StepProgress::look);
    let stalled = eventually(s(60), || {
        let before = look().filter(StepProgress::is_full)?;
        let_pass(IDLE_TIME);
        look().filter(|now| *now == before)
    });
    let last = look();
    let unread = run.is_running() && reader.is_stopped();
    reader.signal(Signal::CONT);
    match stalled.filter(|_| unread) {
        Some(StepProgress { kept, waiting, .. }) => Evidence::Observed(format!(
            "{kept} bytes in the spool, {waiting} in the pipe, and none written for 2 s"
        )),
        None => Evidence::Missing(format!("the spool did not hold the program up: {last:?}")),
    }
}

/// How far a step has come.
#[derive(Debug, PartialEq)]
struct StepProgress {
    /// Its processes, and the bytes that each has written.
    programs: Vec<(i32, u64)>,
    /// Bytes in their pipe.
    waiting: u64,
    /// Bytes in stepd's spool.
    kept: u64,
}

impl StepProgress {
    /// Nothing if no program of a step runs.
    fn look(stepd: &Process) -> Option<Self> {
        let container = stepd.read("cgroup");
        let mut programs = processes::all();
        programs.retain(|one| !one.command.contains("stepd") && one.read("cgroup") == container);
        let waiting = programs.iter().filter_map(in_pipe).max()?;
        let programs = programs.iter().map(|one| (one.pid, bytes(one, "wchar: "))).collect();
        Some(Self { programs, waiting, kept: kept(stepd) })
    }

    /// stepd keeps all that it may, and does not take what waits.
    fn is_full(&self) -> bool {
        self.kept >= SPOOL_SIZE && self.waiting > 0
    }
}

/// Bytes in the pipe that is a process's standard output.
fn in_pipe(process: &Process) -> Option<u64> {
    let pipe = File::open(process.path("fd/1")).ok()?;
    rustix::io::ioctl_fionread(pipe).ok()
}

/// Bytes in the files of the spool, which have lost their name.
fn kept(stepd: &Process) -> u64 {
    let files = std::fs::read_dir(stepd.path("fd")).into_iter().flatten().flatten();
    // Made without a name ("#17"), or, where the file system cannot, with one for a moment.
    let is_segment = |path: &std::path::PathBuf| {
        let link = std::fs::read_link(path).unwrap_or_default();
        let name = link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_suffix(" (deleted)")
            .is_some_and(|name| name == "segment" || name.starts_with('#'))
    };
    let segments = files.map(|file| file.path()).filter(is_segment);
    segments.filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}
