//! The time that the Kaniko executor itself takes, from the time stamps of its log.

use std::fs::{self, File};
use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;

use test_support::RunnerPod;
use test_support::cluster::cluster;
use test_support::wait::{s, until};

/// The log of a build's container. It stays open: the kubelet deletes the file with the pod.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    /// Waits for the log of the build that has just been started; `seen` has the pods of
    /// earlier ones.
    pub(crate) fn of_build(runner: &RunnerPod, seen: &mut Vec<String>) -> Self {
        until("a build's container has a log", s(60), || {
            let (name, file) = new_log(runner, seen)?;
            seen.push(name);
            Some(Self(file))
        })
    }

    /// From the first line to the last.
    pub(crate) fn time(mut self) -> Duration {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let first = stamp(text.lines().next());
        let last = stamp(text.lines().last());
        last.duration_since(first).try_into().expect("a log's time stamps ascend")
    }
}

/// The log of a pod that is not among `seen`, and the name of the pod's folder.
fn new_log(runner: &RunnerPod, seen: &[String]) -> Option<(String, File)> {
    let (logs, pods) =
        (cluster().state.join("pod-logs"), format!("{}_runner-build-", runner.namespace));
    let names =
        fs::read_dir(&logs).unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut new = names.filter(|name| name.starts_with(&pods) && !seen.contains(name));
    new.find_map(|name| {
        let file = File::open(logs.join(&name).join("kaniko/0.log")).ok()?;
        Some((name, file))
    })
}

/// The time stamp that a container runtime puts before each line.
fn stamp(line: Option<&str>) -> Timestamp {
    let word = line.and_then(|line| line.split(' ').next()).expect("the executor logs something");
    word.parse().unwrap_or_else(|error| panic!("{word:?} is no time stamp: {error}"))
}
