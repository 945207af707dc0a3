//! The processes beneath another one, and their end. Sessions and process groups do not matter.
//!
//! The kernel lists the children of each thread, so that a look costs as much as the step has
//! processes, not as the container has. A kernel without these lists is asked for the parent of
//! every process there is. Either look takes time in proportion to what it reads; the functions
//! here block.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Links that `/proc/<pid>/task` has beside one for each thread.
const OWN_LINKS: u64 = 2;
/// New processes are looked for this long before those that were found are killed.
const FREEZE: Duration = Duration::from_secs(1);

/// Sends `signal` to every descendant of `root`.
pub(crate) fn signal(root: i32, signal: Signal) {
    // All are found first: the children of one that ends are no longer listed as its own.
    let mut all = Vec::new();
    walk(&[root], |pid| all.push(pid));
    all.into_iter().for_each(|pid| send(pid, signal));
}

/// Kills every descendant of `roots`, those among them that `spared` names not; true if there was
/// one. Descendants of one that is spared are spared.
///
/// They are stopped first, until a look finds no new one: a stopped process starts no other, and
/// keeps its place where the number of processes is limited, so that one that forks without end
/// cannot outrun us.
pub(crate) fn kill(roots: &[i32], spared: impl Fn(i32) -> bool) -> bool {
    let deadline = Instant::now() + FREEZE;
    let (mut seen, mut new) = (HashSet::new(), true);
    while new && Instant::now() < deadline {
        new = false;
        walk_sparing(roots, &spared, |pid| {
            if seen.insert(pid) {
                send(pid, Signal::STOP);
                new = true;
            }
        });
    }
    seen.iter().for_each(|pid| send(*pid, Signal::KILL));
    !seen.is_empty()
}

/// Lets a process that was stopped go on.
pub(crate) fn resume(pid: i32) {
    send(pid, Signal::CONT);
}

/// Ends one process at once.
pub(crate) fn end(pid: i32) {
    send(pid, Signal::KILL);
}

/// What has ended meanwhile needs no signal.
fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn walk(roots: &[i32], visit: impl FnMut(i32)) {
    walk_sparing(roots, &|_| false, visit);
}

/// Visits each descendant before its children are looked up.
fn walk_sparing(roots: &[i32], spared: &impl Fn(i32) -> bool, visit: impl FnMut(i32)) {
    if Path::new("/proc/thread-self/children").exists() {
        walk_by(roots, spared, children, visit);
    } else {
        let by_parent = by_parent(parents());
        let children = |pid| by_parent.get(&pid).cloned().unwrap_or_default();
        walk_by(roots, spared, children, visit);
    }
}

fn walk_by(
    roots: &[i32],
    spared: &impl Fn(i32) -> bool,
    children: impl Fn(i32) -> Vec<i32>,
    mut visit: impl FnMut(i32),
) {
    let mut seen: HashSet<i32> = roots.iter().copied().collect();
    let mut waiting = roots.to_vec();
    while let Some(parent) = waiting.pop() {
        for child in children(parent) {
            if !spared(child) && seen.insert(child) {
                visit(child);
                waiting.push(child);
            }
        }
    }
}

/// The children of a process, whichever of its threads has started them.
fn children(pid: i32) -> Vec<i32> {
    let tasks = format!("/proc/{pid}/task");
    let threads = std::fs::metadata(&tasks).map_or(0, |tasks| tasks.nlink());
    let of_thread = |name: &str| {
        let listed = std::fs::read_to_string(format!("{tasks}/{name}/children"));
        let listed = listed.unwrap_or_default();
        listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
    };
    if threads == OWN_LINKS + 1 {
        return of_thread(&pid.to_string());
    }
    let entries = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.flat_map(|name| of_thread(&name)).collect()
}

/// The parent of every process here.
fn parents() -> impl Iterator<Item = (i32, i32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_in(&stat)?))
    })
}

fn by_parent(parents: impl Iterator<Item = (i32, i32)>) -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in parents {
        children.entry(parent).or_default().push(pid);
    }
    children
}

/// The parent in a `/proc/<pid>/stat`: the second field after the name, which may hold anything.
/// None for a process that has ended and is only waited for.
fn parent_in(stat: &str) -> Option<i32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then(|| fields.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(roots: &[i32], spared: &[i32], parents: Vec<(i32, i32)>) -> Vec<i32> {
        let by_parent = by_parent(parents.into_iter());
        let children = |pid| by_parent.get(&pid).cloned().unwrap_or_default();
        let mut found = Vec::new();
        walk_by(roots, &|pid| spared.contains(&pid), children, |pid| found.push(pid));
        found.sort_unstable();
        found
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (a) b) (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12 (x) Z 7 12"), None);
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_no_others() {
        let parents = vec![(2, 1), (3, 2), (4, 3), (5, 1), (6, 4), (7, 2), (8, 7)];
        assert_eq!(found(&[2], &[], parents.clone()), [3, 4, 6, 7, 8]);
        assert_eq!(found(&[2], &[7], parents.clone()), [3, 4, 6]);
        assert_eq!(found(&[3, 5], &[], parents.clone()), [4, 6]);
        assert!(found(&[6], &[], parents).is_empty());
        // A number that was used again must not lead round in a circle.
        assert_eq!(found(&[1], &[], vec![(2, 1), (1, 2)]), [2]);
    }

    #[test]
    fn a_look_at_many_processes_takes_time_in_proportion() {
        // A chain, and as many children of one parent.
        let chain = (2..100_000).map(|pid| (pid, pid - 1));
        let flat = (100_000..200_000).map(|pid| (pid, 1));
        let began = Instant::now();
        assert_eq!(found(&[1], &[], chain.chain(flat).collect()).len(), 199_998);
        // With a search of all for each it takes many minutes.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn the_kernels_lists_and_the_parents_tell_the_same() {
        // A thread has a child too.
        let start = || std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let (quit, wait) = std::sync::mpsc::channel::<()>();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut child = start();
            sender.send(i32::try_from(child.id()).unwrap()).unwrap();
            let _ = wait.recv();
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let of_thread = receiver.recv().unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(children(me).contains(&of_thread));
        assert!(parents().any(|pair| pair == (of_thread, me)));
        drop(quit);
        thread.join().unwrap();
    }
}
