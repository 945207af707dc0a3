//! This process within its container: what others may see of it, its children, its limits.

use std::io;
use std::time::Duration;

use rustix::process::{
    DumpableBehavior, Gid, Resource, Uid, WaitOptions, getpid, getrlimit, set_child_subreaper,
    set_dumpable_behavior, setrlimit, wait,
};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::supervise::Identity;

/// Open files of PID 1: each step that runs needs a few, and up to 32 more for output that waits.
const OPEN_FILES: u64 = 65_536;

/// Keeps other processes of the same user from reading this one's memory and open files.
pub(crate) fn set_nondumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes this process the parent of every descendant whose own parent ends.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Waits for all children that have ended; `ended` hears of each, and whether its code was 0.
pub(crate) fn reap(mut ended: impl FnMut(i32, bool)) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        ended(pid.as_raw_nonzero().get(), status.exit_status() == Some(0));
    }
}

/// CPU time of the children that this process has waited for, and of theirs; none if that is not known.
pub(crate) fn cpu_of_children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = ticks_of_children(&stat)?;
    let millis = ticks.checked_mul(1000)?.checked_div(rustix::param::clock_ticks_per_second())?;
    Some(Duration::from_millis(millis))
}

/// Source: proc_pid_stat(5), fields 16 and 17. The second, the program's name, may have spaces.
fn ticks_of_children(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(13).map(str::parse::<u64>);
    fields.next()?.ok()?.checked_add(fields.next()?.ok()?)
}

/// Raises the number of files that this process may open; the number before, if it was raised.
/// Programs must not inherit it: some close, or count, every descriptor that they may have.
pub(crate) fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if before.is_none_or(|before| before >= wanted) {
        return Ok(None);
    }
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit)?;
    Ok(before)
}

/// Sets the number of open files back to what it was before [`raise_open_files`].
pub(crate) fn lower_open_files(before: u64) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(before);
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Gives up this process's user for another one, and with it root's power. Of a process with one thread.
pub(crate) fn become_user(identity: &Identity) -> io::Result<()> {
    // The program may open what it writes to by its name, `/dev/stderr`.
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(identity.uid)), None);
    }
    let groups: Vec<_> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)?;
    set_thread_gid(Gid::from_raw(identity.gid))?;
    Ok(set_thread_uid(Uid::from_raw(identity.uid))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read_whatever_the_programs_name() {
        let numbers: Vec<_> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) b (c) S {}\n", numbers.join(" "));
        assert_eq!(ticks_of_children(&stat), Some(16 + 17));
        assert_eq!(ticks_of_children("7 (a) S 1"), None);
        assert_eq!(ticks_of_children(""), None);
        assert!(cpu_of_children().is_some());
    }
}
