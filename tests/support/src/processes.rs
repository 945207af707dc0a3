//! The processes of pods: those of this machine, which is the cluster's node.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// A process that was seen.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id on this machine.
    pub pid: i32,
    /// Its arguments, as one text with spaces between them.
    pub command: String,
}

impl Process {
    /// One of its files in /proc; empty if it is gone.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Path of one of its files in /proc.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// Its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let environment = self.read("environ");
        environment.split('\0').filter_map(|entry| entry.split_once('=')).map(owned).collect()
    }

    /// True if it belongs to the pod with this uid.
    pub fn is_of_pod(&self, uid: &str) -> bool {
        self.read("cgroup").contains(&format!("pod{uid}"))
    }

    /// True if a signal has stopped it.
    pub fn is_stopped(&self) -> bool {
        self.read("stat").contains(") T ")
    }

    /// Sends a signal; false if it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        Pid::from_raw(self.pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

/// All processes with a command line: those that have ended have none.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let processes = pids.map(|pid| {
        let process = Process { pid, command: String::new() };
        let command = process.read("cmdline").trim_end_matches('\0').replace('\0', " ");
        Process { command, ..process }
    });
    processes.filter(|process| !process.command.is_empty()).collect()
}
