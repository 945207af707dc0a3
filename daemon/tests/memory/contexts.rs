//! Ten builds at once read their contexts, in a process of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hookd::build::context::{self, Bounds};

/// Directory in which the process finds the contexts.
const DIRECTORY: &str = "HOOKD_MEMORY_CONTEXTS";
/// Builds at the same time.
const BUILDS: usize = super::AT_ONCE;
/// For the reading of one.
const TIME: Duration = Duration::from_secs(4);
/// Entries of a context, in directories of a hundred.
const ENTRIES: usize = 1_000;

fn make(root: &Path) {
    for entry in 0..ENTRIES {
        let directory = root.join(format!("d{}", entry / 100));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{entry}{}", "n".repeat(200))), "x").unwrap();
    }
    // Large, and without a block on the disk.
    std::fs::File::create(root.join("large")).unwrap().set_len(16 << 20).unwrap();
    std::fs::write(root.join("Dockerfile"), "FROM x\n".repeat(100_000)).unwrap();
    let rules: String = (0..9_000).map(|rule| format!("**/z{rule}/*/[a-c]\n")).collect();
    std::fs::write(root.join(".dockerignore"), rules).unwrap();
}

/// The process that reads them all, and reports the most memory that it has had.
#[test]
#[ignore = "the process of the other test"]
fn read() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    std::thread::scope(|scope| {
        for _ in 0..BUILDS {
            scope.spawn(|| {
                let roots = [directory.clone()];
                let source = context::open(&roots, &directory.join("Dockerfile")).unwrap();
                // Time that passes ends it: what it has needed until then counts.
                let bounds =
                    Bounds { bytes: 1 << 30, timeout: TIME, cancelled: Default::default() };
                let _ = source.write_tar_gz(std::io::sink(), &bounds);
            });
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap());
}

#[test]
fn ten_builds_at_once_read_their_contexts_below_64_mb() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "contexts::read", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .envs(hookd::supervisor::ALLOCATOR)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_else(|| {
        panic!("{said}");
    });
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    eprintln!("{BUILDS} contexts: {kib} KiB");
    assert!(kib << 10 < super::MOST, "{kib} KiB");
}
