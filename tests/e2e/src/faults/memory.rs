//! Lets the kernel kill the main process of a container for its memory, as a program that uses too
//! much would.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use test_support::processes::Process;
use test_support::wait::{eventually, s};

/// Bytes that the container may have beyond what it has.
const HEADROOM: u64 = 16 << 20;

/// Uses up the memory of the container of `victim`, which the kernel then kills; true if it did.
pub(crate) fn exhaust(victim: &Process) -> bool {
    let Some(group) = group_of(victim) else { return false };
    let read = |name: &str| fs::read_to_string(group.join(name)).unwrap_or_default();
    let used: u64 = read("memory.usage_in_bytes").trim().parse().unwrap_or_default();
    // What it has of files, a full spool for example, the kernel gives up before it kills.
    let used = used.saturating_sub(of_files(&read("memory.stat")));
    // Not the one that uses the most, but the one that a test wants to see die.
    let chosen = fs::write(victim.path("oom_score_adj"), "1000");
    let limited = fs::write(group.join("memory.limit_in_bytes"), (used + HEADROOM).to_string());
    if limited.is_err() || chosen.is_err() {
        return false;
    }
    // The kernel looks at what each has: none may have more than the one that is chosen.
    let allocate = "for each in 1 2 3 4 5; do dd if=/dev/zero of=/dev/null bs=5M & done; wait";
    let join = format!("echo $$ > {}/cgroup.procs && {{ {allocate}; }}", group.display());
    let mut allocator = Command::new("sh");
    allocator.args(["-c", &join]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(mut allocator) = allocator.spawn() else { return false };
    // What it starts from now on would be chosen as well.
    victim.signal(Signal::STOP);
    let died = eventually(s(20), || {
        let state = victim.read("stat");
        (state.is_empty() || state.contains(") Z")).then_some(())
    });
    let _ = kill_process_group(Pid::from_child(&allocator), Signal::KILL);
    let _ = allocator.wait();
    victim.signal(Signal::CONT);
    died.is_some()
}

/// Bytes of files that are kept in memory, by a group's `memory.stat`.
fn of_files(stat: &str) -> u64 {
    let lines = stat.lines().filter_map(|line| line.split_once(' '));
    let files =
        lines.filter(|(name, _)| matches!(*name, "total_active_file" | "total_inactive_file"));
    files.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
}

/// The container's folder in the memory hierarchy.
fn group_of(process: &Process) -> Option<PathBuf> {
    let groups = process.read("cgroup");
    let path = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
    Some(PathBuf::from("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')))
}
