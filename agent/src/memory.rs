//! Memory of the container's cgroup: what the kernel counts of it.
//!
//! Out-of-memory kills: with cgroup v2 the kubelet has the whole container killed; with v1 one process goes and the
//! container lives on, so that only this count says why a program was killed.

use std::fs;
use std::path::PathBuf;

/// Files with the most bytes that were used at a time, of version 1 and 2.
const PEAKS: [&str; 2] =
    ["/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "/sys/fs/cgroup/memory.peak"];
/// The file with the count of kills, and the line in it.
const V1: (&str, &str) = ("memory.oom_control", "oom_kill ");
const V2: (&str, &str) = ("memory.events", "oom_kill ");

/// Number of processes of this container's cgroup that were killed so far; 0 if that is not known.
pub(crate) fn oom_kills() -> u64 {
    let found = [("/sys/fs/cgroup/memory", V1), ("/sys/fs/cgroup", V2)];
    let counts = found.iter().filter_map(|(root, (file, line))| {
        count(&fs::read_to_string(PathBuf::from(root).join(file)).ok()?, line)
    });
    counts.max().unwrap_or(0)
}

/// The most bytes of memory that the container has used so far; 0 if that is not known.
pub(crate) fn peak() -> u64 {
    let read = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
    PEAKS.into_iter().find_map(read).unwrap_or(0)
}

fn count(text: &str, line: &str) -> Option<u64> {
    text.lines().find_map(|found| found.strip_prefix(line))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_in_both_versions() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", V1.1), Some(3));
        assert_eq!(count("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n", V2.1), Some(1));
        assert_eq!(count("", V2.1), None);
    }
}
