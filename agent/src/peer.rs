//! Who may speak to stepd: processes that the container runtime has put into the container.
//!
//! Any process of the container can open the socket. One that came by exec has its parent outside
//! the container's pid namespace, which shows as parent 0; one that a step started has not, however
//! often it forks: orphans are adopted within the namespace.
//!
//! What a step of the same user still can do: stop or kill `stepd connect`, which ends the session
//! and is noticed (hookd makes another). It cannot read its memory, nor that of stepd: both are not
//! dumpable. A step that is root with CAP_SYS_PTRACE or in the host's pid namespace is not held
//! back by this.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use tokio::net::UnixStream;

use crate::log;

/// True if the peer's process came by exec.
pub(crate) fn is_allowed(stream: &UnixStream) -> bool {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let parent = pid
        .and_then(|pid| parent_in(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?));
    let allowed = parent == Some(0);
    if !allowed {
        log(format_args!("refused process {pid:?} of this container, whose parent is {parent:?}"));
    }
    allowed
}

/// Waits until the processes of all sessions have ended, since each passes on first what it has
/// read; at most for `patience`. Blocks.
pub(crate) fn wait_for_sessions(patience: Duration) {
    let deadline = Instant::now() + patience;
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
}
