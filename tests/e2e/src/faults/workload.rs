//! A runner pod with one kind of work, its own way to the API server, and what is seen of it.

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::gateway::Gateway;
use super::operation::Operation;
use super::proxy::Proxy;
use super::volume::VolumeFault;
use test_support::faults::Turn;
use test_support::processes::{self, Process};
use test_support::python;
use test_support::wait::{eventually, s, until};
use test_support::{Hook, Placement, RUNNER_ID, RunnerPod, Setup, WORK};

/// One kind of work, with a runner pod of its own.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) operation: Operation,
    pub(crate) runner: RunnerPod,
    pub(crate) proxy: Proxy,
    pub(crate) gateway: Gateway,
    /// Resources of the daemon when it has nothing to do.
    baseline: Option<Resources>,
}

/// Resources of a daemon and its job pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resources {
    /// Of the daemon.
    pub(crate) files: usize,
    /// Of the daemon.
    pub(crate) threads: usize,
    /// Of the daemon, as it counts them.
    pub(crate) tasks: u64,
    /// Connections to the API server.
    pub(crate) connections: u64,
    /// Exec sessions in pods of the runner.
    pub(crate) sessions: usize,
}

/// An operation that is under way.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) hook: Hook<'a>,
    pub(crate) began: Instant,
}

impl Workload {
    pub(crate) fn deploy(operation: Operation, turn: &Turn) -> Self {
        let proxy = Proxy::start();
        let setup = Setup::default()
            .set("HOOKD_CONTAINER_STEP_LAUNCHER", operation.container_steps())
            .set("KUBERNETES_SERVICE_HOST", super::proxy::NODE.to_string())
            .set("KUBERNETES_SERVICE_PORT", proxy.port.to_string());
        let placement = operation.placement();
        let own_file_system = placement == Placement::OwnPod;
        let setup = Setup { placement, own_file_system, ..setup };
        let runner = RunnerPod::in_turn(turn.lend(), &setup);
        Self { operation, runner, proxy, gateway: Gateway::start(), baseline: None }
    }

    /// Starts the operation. A clean-up is over at once: its requests are held until
    /// [`Run::release`].
    pub(crate) fn start(&self, fault: Fault, round: u32) -> Run<'_> {
        let is_held = self.operation == Operation::Cleanup;
        if is_held {
            self.proxy.stall();
        }
        let withheld = self.proxy.traffic().withheld;
        let call = self.operation.call(&self.runner, round);
        if VolumeFault::of(fault).is_some() && self.operation == Operation::Build {
            // The step that follows the build has a directory to be made.
            let missing = self.runner.local(&format!("{WORK}/{}", Operation::MISSING));
            std::fs::remove_dir_all(missing).unwrap();
        }
        let hook = call.start();
        if fault == Fault::SpoolFull && self.operation == Operation::Megabytes {
            // At once: what is taken of its output does not fill the spool any more.
            hook.stop_reader();
        }
        if is_held {
            until("the clean-up's requests are under way", s(20), || {
                (self.proxy.traffic().withheld > withheld).then_some(())
            });
        }
        Run { workload: self, hook, began: Instant::now() }
    }

    /// Peak of the daemon's memory, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = self.runner.daemon().read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.trim().split(' ').next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_default() * 1024
    }

    /// Resources in use now.
    pub(crate) fn resources(&self) -> Resources {
        let daemon = self.runner.daemon();
        let count = |name: &str| std::fs::read_dir(daemon.path(name)).map_or(0, Iterator::count);
        Resources {
            files: count("fd"),
            threads: count("task"),
            tasks: tasks(&self.runner),
            connections: self.proxy.traffic().open,
            sessions: self.sessions().len(),
        }
    }

    /// Keeps the resources in use as the baseline for [`Workload::leak`].
    pub(crate) fn record_baseline(&mut self) {
        self.baseline = Some(self.resources());
    }

    /// Resources that stay in use beyond the baseline.
    pub(crate) fn leak(&self) -> Option<String> {
        /// The pool of connections may be fuller than it was; each has a task, too.
        const POOL: usize = 4;
        let before = self.baseline?;
        let mut now = self.resources();
        let even = eventually(s(60), || {
            now = self.resources();
            (now.files <= before.files + POOL
                && now.threads <= before.threads + 2
                && now.tasks <= before.tasks + POOL as u64
                && now.connections <= before.connections + POOL as u64
                && now.sessions <= 1)
                .then_some(())
        });
        even.is_none().then(|| format!("{}: {before:?}, then {now:?}", self.operation.name()))
    }

    /// Processes `stepd connect` in the pods of this runner.
    pub(crate) fn sessions(&self) -> Vec<Process> {
        let uids = self.pod_uids();
        let connects = processes::all().into_iter().filter(|process| {
            process.command.contains("stepd connect")
                && uids.iter().any(|uid| process.is_of_pod(uid))
        });
        connects.collect()
    }

    /// Whatever of the operation is still there and should not be.
    pub(crate) fn left(&self, code: Option<i32>) -> Vec<String> {
        let prepared =
            self.operation.is_script() || self.operation == Operation::Prepare && code == Some(0);
        let of_job = |name: &str| name == "Pod/runner-workflow" || name.starts_with("Secret/");
        let mut left = self.runner.made();
        left.retain(|name| !prepared || !of_job(name));
        if self.operation.placement() == Placement::RunnerPod {
            left.extend(self.left_in_runner_pod());
        } else if self.operation.is_script() {
            let uids = self.pod_uids();
            let own = |process: &Process| {
                ["stepd serve", "stepd connect", "/pause"]
                    .iter()
                    .any(|own| process.command.contains(own))
            };
            let all = processes::all().into_iter();
            let unexpected =
                all.filter(|one| uids.iter().any(|uid| one.is_of_pod(uid)) && !own(one));
            left.extend(unexpected.map(|process| format!("process {}", process.command)));
        }
        left
    }

    /// Processes of steps in the runner pod.
    fn left_in_runner_pod(&self) -> Vec<String> {
        let of_step = |process: &Process| {
            let words = ["/__w/_temp/", "usleep", "/__hookd_run/step-", "/kaniko/"];
            words.iter().any(|word| process.command.contains(word))
        };
        let all = processes::all().into_iter().filter(of_step);
        let own = all.filter(|process| process.is_of_pod(&self.runner.uid));
        own.map(|process| format!("process {}", process.command)).collect()
    }

    /// uids of the pods that hookd made.
    fn pod_uids(&self) -> Vec<String> {
        let pods = self.runner.objects("pods", &["-l", "runner-pod=runner"]);
        let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().unwrap().to_owned();
        pods.iter().map(uid).collect()
    }
}

/// The call that asks hookd for what it says of itself.
const STATUS: [&str; 3] = ["call", "hookd.v1.HookService/GetStatus", "{}"];

/// True if hookd answers a call.
pub(crate) fn answers(runner: &RunnerPod) -> bool {
    python::try_client(runner, (RUNNER_ID, RUNNER_ID), &STATUS).is_ok()
}

/// What hookd says of itself.
fn tasks(runner: &RunnerPod) -> u64 {
    let status = python::client(runner, (RUNNER_ID, RUNNER_ID), &STATUS);
    // A 64-bit number is text in the JSON form.
    let number = |tasks: &serde_json::Value| tasks.as_str()?.parse().ok();
    number(&status["tasks"]).unwrap_or_else(|| panic!("no number of tasks in {status}"))
}

impl Run<'_> {
    /// True while it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.hook.code().is_none()
    }

    /// Lets a clean-up's requests through.
    pub(crate) fn release(&self) {
        if self.workload.operation == Operation::Cleanup {
            self.workload.proxy.clear();
        }
    }

    /// Waits for its end; its exit code, or none if its process is gone without one or it hangs.
    pub(crate) fn wait(&self, timeout: Duration) -> Completion {
        let ended = eventually(timeout, || match self.hook.code() {
            Some(code) => Some(Completion::Exited(code)),
            None => self.is_gone().then_some(Completion::ContainerGone),
        });
        ended.unwrap_or(Completion::TimedOut)
    }

    /// Its runner container is gone, and all processes with it.
    fn is_gone(&self) -> bool {
        let of_pod = |one: &Process| {
            one.is_of_pod(&self.workload.runner.uid) && !one.command.contains("pause")
        };
        !processes::all().iter().any(of_pod) && self.hook.code().is_none()
    }
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// With this code.
    Exited(i32),
    /// With its container.
    ContainerGone,
    /// Not in time.
    TimedOut,
}

/// Name and uid of the pod of the operation's program, once it runs.
pub(crate) fn running_pod(run: &Run<'_>) -> Option<(String, String)> {
    let runner = &run.workload.runner;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    eventually(s(30), || {
        let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
        let pod = pods.into_iter().find(|pod| {
            let wanted = run.workload.operation.pod();
            pod["status"]["phase"] == "Running"
                && wanted.is_none_or(|wanted| pod["metadata"]["name"] == wanted)
        })?;
        Some((text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"])))
    })
}

/// The first process of that pod's main container.
pub(crate) fn main_process(run: &Run<'_>) -> Option<Process> {
    let (_, uid) = running_pod(run)?;
    let mut own: Vec<_> = processes::all().into_iter().filter(|one| one.is_of_pod(&uid)).collect();
    // A sandbox, and the container that stands between a build and its registry.
    let beside = ["pause", "registry-endpoint"];
    own.retain(|process| !beside.iter().any(|name| process.command.contains(name)));
    own.sort_by_key(|process| process.pid);
    let stepd = own.iter().position(|process| process.command.contains("stepd serve"));
    (!own.is_empty()).then(|| own.swap_remove(stepd.unwrap_or(0)))
}
