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

fn parent_in(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
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
