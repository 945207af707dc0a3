//! A runner pod with hookd, in a namespace of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fake_runner::layout::guid;
use fake_runner::{HookEnd, Job, JobDefinition, JobReport, Runner, Step, WorkDir};
use serde_json::Value;

use crate::chart::chart;
use crate::cluster::{self, cluster, get, kubectl, try_kubectl};
use crate::faults::Turn;
use crate::hook::Call;
use crate::manifests;
use crate::outcome::Outcome;
use crate::processes::{self, Process};
use crate::values::Values;
use crate::volume;
use crate::wait::{eventually, s, until};
use crate::work::{RUNNER_ID, WORK};

/// Name of the pod.
pub const RUNNER: &str = "runner";
/// Name of the claim of its work directory.
pub const CLAIM: &str = "work";

/// Where the containers of the runner's jobs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// In pods of their own; the work directory is on a claim.
    #[default]
    OwnPod,
    /// In the runner pod; the work directory is an empty volume of it.
    RunnerPod,
}

/// How a runner pod differs from the one in deploy/.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Where its jobs run.
    pub placement: Placement,
    /// Values of the chart, which makes the account and its Roles; none: they are those of deploy/.
    pub chart: Option<&'static [&'static str]>,
    /// The pod is that of these values for ARC; none: the one in deploy/.
    pub values: Option<Values>,
    /// The pod has the Secret of deploy/rbac-pull-secret.yaml for credentials of workflows.
    pub has_pull_secret: bool,
    /// Memory limit of each of the pod's two containers.
    pub memory: Option<&'static str>,
    /// An empty volume of the pod, and what it is in place of what deploy/ says.
    pub empty_dir: Option<(&'static str, Value)>,
    /// Variables of the sidecar.
    pub environment: Vec<(&'static str, String)>,
    /// Variables of the runner container.
    pub of_runner: Vec<(&'static str, String)>,
    /// The text of a policy, in a ConfigMap that the sidecar mounts.
    pub policy: Option<&'static str>,
    /// Verb and resource that the Role lacks.
    pub forbidden: Option<(&'static str, &'static str)>,
    /// The part of the claim that is the work directory; none: all of it.
    pub sub_path: Option<&'static str>,
    /// The work volume is a file system of its own ([`volume`]).
    pub own_file_system: bool,
    /// The test breaks what other tests use.
    pub alone: bool,
}

impl Setup {
    /// Jobs run in the runner pod.
    pub fn in_runner_pod() -> Self {
        Self { placement: Placement::RunnerPod, ..Self::default() }
    }

    /// Its hookd believes in events: no step runs beside hooks.
    pub fn believing_events(self) -> Self {
        self.set_on_runner("ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER", "true")
            .set_on_runner("ACTIONS_RUNNER_CONTAINER_HOOKS", "/run/hookd/hook.js")
    }

    /// Builds images: they are pushed to the cluster's registry.
    pub fn with_registry(self) -> Self {
        let cluster = cluster();
        self.set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST", &cluster.registry_host)
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", &cluster.registry_port)
            .set("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT", &cluster.registry_node_port)
    }

    /// Takes the pod of these values.
    pub fn from(self, values: Values) -> Self {
        Self { values: Some(values), ..self }
    }

    /// Sets a variable of the sidecar.
    pub fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Sets a variable of the runner container.
    pub fn set_on_runner(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.of_runner.push((name, value.into()));
        self
    }
}

/// A runner pod that is ready. It goes with its namespace when this is dropped.
#[derive(Debug)]
pub struct RunnerPod {
    /// The namespace.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// uid of the pod.
    pub uid: String,
    /// The test's hold on the cluster.
    pub turn: Turn,
    /// Where this machine has the work volume.
    pub volume: PathBuf,
    environment: OnceLock<Vec<(String, String)>>,
    calls: AtomicU32,
    /// Pods beside it that were made.
    beside: AtomicU32,
}

impl RunnerPod {
    /// As in deploy/.
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    /// As `setup` says.
    pub fn with(setup: &Setup) -> Self {
        let turn = if setup.alone { Turn::alone() } else { Turn::shared() };
        Self::in_turn(turn, setup)
    }

    /// As `setup` says, within a turn.
    pub fn in_turn(turn: Turn, setup: &Setup) -> Self {
        let namespace = format!("hookd-test-{}", &guid().unwrap()[..8]);
        let claim = cluster().volume(&namespace);
        let volume = setup.sub_path.map_or_else(|| claim.clone(), |part| claim.join(part));
        fs::create_dir_all(&volume).unwrap();
        chown(&volume, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
        // First, so that what is made is deleted even if not all of it can be.
        let mut runner = Self::new(namespace, RUNNER.to_owned(), turn, volume);
        if setup.own_file_system {
            volume::mount(&claim);
        }
        cluster::create(&[manifests::namespace(&runner.namespace)]);
        if let Some(values) = setup.chart {
            chart("install", &runner.namespace, values);
        }
        cluster::create(&manifests::of_runner(&runner.namespace, &claim, setup));
        runner.wait_until_ready(setup.placement);
        runner
    }

    fn new(namespace: String, name: String, turn: Turn, volume: PathBuf) -> Self {
        let (environment, calls, beside) = Default::default();
        Self { namespace, name, uid: String::new(), turn, volume, environment, calls, beside }
    }

    fn wait_until_ready(&mut self, placement: Placement) {
        let pod = format!("pod/{}", self.name);
        self.k(&["wait", "--for=condition=Ready", &pod, "--timeout=120s"]);
        let pod = self.object("pod", &self.name);
        pod["metadata"]["uid"].as_str().unwrap().clone_into(&mut self.uid);
        if placement == Placement::RunnerPod {
            self.volume = self.empty_dir("work");
        }
    }

    /// Another runner pod in the same namespace, whose jobs run in it; it goes with this one.
    pub fn beside(&self, setup: &Setup) -> Self {
        assert_eq!(setup.placement, Placement::RunnerPod, "a claim has one runner");
        let name = format!("{RUNNER}-{}", self.beside.fetch_add(1, Ordering::Relaxed) + 1);
        let mut pods = manifests::of_runner(&self.namespace, &self.volume, setup);
        pods.retain(|object| object["kind"] == "Pod");
        for pod in &mut pods {
            pod["metadata"]["name"] = name.as_str().into();
        }
        cluster::create(&pods);
        let mut runner = Self::new(self.namespace.clone(), name, Turn::Lent, self.volume.clone());
        runner.wait_until_ready(setup.placement);
        runner
    }

    /// kubectl in the namespace.
    pub fn k(&self, arguments: &[&str]) -> String {
        kubectl(&[&["-n", &self.namespace], arguments].concat())
    }

    /// One object of the namespace.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        get(&["-n", &self.namespace, kind, name])
    }

    /// Objects of the namespace.
    pub fn objects(&self, kinds: &str, more: &[&str]) -> Vec<Value> {
        let list = get(&[&["-n", &self.namespace, kinds], more].concat());
        list["items"].as_array().unwrap().clone()
    }

    /// "kind/name" of all that hookd made for this runner and that is there.
    pub fn made(&self) -> Vec<String> {
        let own = format!("runner-pod={}", self.name);
        let objects = self.objects("jobs,pods,secrets", &["-l", &own]);
        let text =
            |object: &Value, at: &str| object.pointer(at).unwrap().as_str().unwrap().to_owned();
        let name = |object| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        objects.iter().map(name).collect()
    }

    /// Fails the test unless all that hookd made is gone soon.
    pub fn assert_nothing_left(&self) {
        self.assert_nothing_left_within(s(30));
    }

    /// Fails the test unless all that hookd made is gone in time.
    pub fn assert_nothing_left_within(&self, timeout: Duration) {
        let mut left = Vec::new();
        let gone = eventually(timeout, || {
            left = self.made();
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "left in {} after {timeout:?}: {left:?}", self.namespace);
    }

    /// What hookd logged.
    pub fn log(&self) -> String {
        self.k(&["logs", &self.name, "-c", "hookd", "--tail=-1"])
    }

    /// The process `hookd daemon`.
    pub fn daemon(&self) -> Process {
        until("the daemon runs", s(10), || {
            self.process(|command| command.ends_with("hookd daemon"))
        })
    }

    /// PID 1 of the sidecar.
    pub fn supervisor(&self) -> Process {
        self.process(|command| command == "/usr/local/bin/hookd").unwrap()
    }

    /// PID 1 of the runner container.
    pub fn runner_process(&self) -> Process {
        self.process(|command| command.starts_with("/bin/bash -c trap")).unwrap()
    }

    fn process(&self, is: impl Fn(&str) -> bool) -> Option<Process> {
        let candidates = processes::all().into_iter().filter(|process| is(&process.command));
        candidates.into_iter().find(|process| process.is_of_pod(&self.uid))
    }

    /// The directory of the socket, on this machine.
    pub fn socket_directory(&self) -> PathBuf {
        self.empty_dir("hookd")
    }

    /// An empty volume of the pod, on this machine.
    pub fn empty_dir(&self, name: &str) -> PathBuf {
        let volumes = format!("kubelet/pods/{}/volumes/kubernetes.io~empty-dir", self.uid);
        cluster().state.join(volumes).join(name)
    }

    /// A number that was not given before.
    pub fn next(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// The call of the hook for a step, all its files in place.
    pub fn call(&self, step: &Step) -> Call<'_> {
        Call::new(self, self.runner().prepare_container_step(step).unwrap())
    }

    /// The call cleanup_job.
    pub fn cleanup(&self) -> Call<'_> {
        Call::new(self, self.runner().prepare_cleanup(Value::Null).unwrap())
    }

    /// Runs a step to its end.
    pub fn run(&self, step: &Step) -> Outcome {
        self.call(step).run()
    }

    /// Drives a whole job as the runner does, its hooks in this pod.
    pub fn run_job(&self, definition: &JobDefinition) -> JobReport {
        let report = self.runner().run_job(definition, &mut |_, prepared| {
            let Outcome { stdout, stderr, read_back, .. } = Call::new(self, prepared).run();
            HookEnd { stdout, stderr, outcome: read_back }
        });
        report.unwrap_or_else(|error| panic!("the job cannot be driven: {error}"))
    }

    /// The runner, which passes on the environment that its container has.
    pub(crate) fn runner(&self) -> Runner {
        let environment =
            self.environment.get_or_init(|| self.runner_process().environment()).iter();
        let work = WorkDir::new(WORK, &self.volume);
        let hook = self.socket_directory().join("hook.sh");
        let mut runner = Runner::new(work, Job::new("octo/demo", &self.name), hook);
        runner.inherited = environment.map(|(name, value)| (name.into(), value.into())).collect();
        runner
    }

    /// What explains a failed test.
    fn dump(&self) {
        let namespace = self.namespace.as_str();
        for arguments in [
            &["get", "jobs,pods,secrets", "-o", "wide"][..],
            &["get", "events", "--sort-by=.metadata.creationTimestamp"],
            &["logs", &self.name, "-c", "hookd", "--tail=100"],
        ] {
            let output = try_kubectl(&[&["-n", namespace], arguments].concat(), None);
            eprintln!("--- {}\n{}", arguments.join(" "), output.unwrap_or_else(|error| error));
        }
    }
}

impl Drop for RunnerPod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump();
        }
        if std::env::var_os("HOOKD_KEEP").is_some() {
            eprintln!("kept: namespace {}, volume {}", self.namespace, self.volume.display());
            return;
        }
        if self.name == RUNNER {
            cluster().delete(&self.namespace);
        }
    }
}
