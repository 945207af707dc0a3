//! Who may speak to stepd, and who is stepd.
//!
//! Only processes that no step can have started are answered ([`Clients`]). One that came by exec has
//! its parent outside the container's pid namespace, which shows as parent 0; one that a step started
//! has not, however often it forks: orphans are adopted within the namespace. Only processes of
//! stepd's own user can open the socket then. A process of another container has no number in this
//! namespace at all.
//!
//! A session in turn speaks only to a socket on which stepd listens: the kernel says which process
//! that is, and neither PID 1 nor a process with parent 0 can be made by a step.
//!
//! What a process of stepd's own user still can do stands in docs/security.md.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use tokio::net::UnixStream;

use crate::log;

/// So many refusals have a line each: a step that calls without end must not fill the log.
const LOGGED: u32 = 20;

static REFUSED: AtomicU32 = AtomicU32::new(0);

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clients {
    /// Processes that came by exec.
    Exec,
    /// Processes of other containers: those that mount the volume of the socket.
    Outside,
}

/// True if the peer's process is one of `clients`.
pub(crate) fn is_allowed(stream: &UnixStream, clients: Clients) -> bool {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let refusal = match (clients, pid) {
        (Clients::Outside, Some(0)) => return true,
        (Clients::Outside, _) => "it is not of another container",
        (Clients::Exec, pid) => match pid.and_then(status_of) {
            Some(status) if parent_in(&status) != Some(0) => "it was started in this container",
            Some(status) if is_traced(&status) => "another process traces it",
            Some(_) => return true,
            None => "it has ended",
        },
    };
    let refused = REFUSED.fetch_add(1, Ordering::Relaxed);
    if refused < LOGGED {
        log(format_args!("refused process {pid:?} of this container: {refusal}"));
    } else if refused == LOGGED {
        log("refused many processes of this container; further ones are not logged");
    }
    false
}

/// The process at the other end of a connection; none: one outside this pid namespace.
pub(crate) fn pid_of(
    stream: std::os::unix::net::UnixStream,
) -> io::Result<(std::os::unix::net::UnixStream, Option<i32>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _context = runtime.enter();
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let pid = stream.peer_cred()?.pid().filter(|pid| *pid > 0);
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok((stream, pid))
}

/// True for the process of `stepd serve` in this container: PID 1, or in a pod whose containers share
/// their processes one that the container runtime has started.
pub(crate) fn is_stepd(pid: i32) -> bool {
    let ours = Pid::from_raw(pid) == Some(getpid());
    pid == 1 || (!ours && !serves(1) && came_from_outside(pid) && serves(pid))
}

fn came_from_outside(pid: i32) -> bool {
    status_of(pid).is_some_and(|status| parent_in(&status) == Some(0))
}

/// True for the command line of `stepd serve`; a session with the number of a process that listened
/// and has ended is none.
fn serves(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"stepd") && words.next() == Some(b"serve".as_slice())
}

/// `/proc/<pid>/status` of a process that had the number for as long as this took.
fn status_of(pid: i32) -> Option<String> {
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let now = Timespec::default();
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&now)).ok()? > 0;
    (!ended).then_some(status)
}

/// True if a process of this container is attached as a debugger.
fn is_traced(status: &str) -> bool {
    field(status, "TracerPid:").is_some_and(|pid| pid != "0")
}

/// Waits until the processes of all sessions have ended, since each passes on first what it has
/// read; at most for `timeout`. Blocks.
pub(crate) fn wait_for_sessions(timeout: Duration) {
    let deadline = Instant::now() + timeout;
    for session in sessions() {
        // One that has ended meanwhile is not waited for.
        let Ok(session) = pidfd_open(session, PidfdFlags::empty()) else { continue };
        let _ = rustix::io::retry_on_intr(|| {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            poll(&mut [PollFd::new(&session, PollFlags::IN)], Some(&left))
        });
    }
}

fn sessions() -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let sessions = processes.filter_map(|process| {
        let status = std::fs::read_to_string(process.path().join("status")).ok()?;
        let ours = parent_in(&status) == Some(0) && field(&status, "Name:") == Some("stepd");
        process.file_name().to_str().filter(|_| ours)?.parse().ok().and_then(Pid::from_raw)
    });
    sessions.filter(|session| *session != getpid()).collect()
}

fn parent_in(status: &str) -> Option<i32> {
    field(status, "PPid:")?.parse().ok()
}

/// Of a `/proc/<pid>/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_from_its_line() {
        assert_eq!(parent_in("Name:\tPPid: 0\nPid:\t7\nPPid:\t12\n"), Some(12));
        assert_eq!(parent_in("PPid:\t0\n"), Some(0));
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn a_process_with_a_debugger_is_known() {
        assert!(is_traced("Name:\tstepd\nTracerPid:\t71\n"));
        assert!(!is_traced("TracerPid:\t0\n") && !is_traced(""));
    }

    #[test]
    fn a_process_of_this_test_is_no_stepd() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(is_stepd(1) && !is_stepd(pid) && !is_stepd(getpid().as_raw_nonzero().get()));
        assert!(status_of(pid).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(status_of(pid), None);
    }
}
