//! Processes of this container: who descends from whom, ending them, and waiting for them.

use std::collections::HashMap;
use std::io;

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper,
    set_dumpable_behavior, wait,
};

/// Keeps other processes of the same user from reading this one's memory and open files.
pub(crate) fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes this process the parent of every descendant whose own parent ends.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Waits for all children that have ended; `ended` hears of each.
pub(crate) fn reap(mut ended: impl FnMut(i32)) {
    while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
        ended(pid.as_raw_nonzero().get());
    }
}

/// Sends `signal` to every descendant of `root`, however it was started: sessions and groups do not
/// matter. True if there was one.
pub(crate) fn signal_descendants(root: i32, signal: Signal) -> bool {
    let descendants = descendants(root, &parents());
    for pid in descendants.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // What has ended meanwhile needs no signal.
        let _ = kill_process(pid, signal);
    }
    !descendants.is_empty()
}

/// The parent of every process here.
fn parents() -> HashMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_in(&stat)?))
    };
    pids.filter_map(parent).collect()
}

/// The parent in a `/proc/<pid>/stat`: the second field after the name, which may hold anything.
/// None for a process that has ended and is only waited for.
fn parent_in(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then(|| fields.next()?.parse().ok())?
}

fn descendants(root: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (a) b) (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12 (x) Z 7 12"), None);
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_no_others() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 4)]);
        let mut found = descendants(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4, 6]);
        assert!(descendants(6, &parents).is_empty());
    }
}
