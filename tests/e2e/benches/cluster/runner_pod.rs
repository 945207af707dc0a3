//! What a job costs in the runner's own pod, beside what an ephemeral container costs there.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};

use crate::bare_pod;
use crate::figures::Figure;
use crate::jobs::time;
use crate::wait_for_phase;
use test_support::faults::Stopped;
use test_support::wait::{let_pass, s, until};
use test_support::{IMAGE, JobRun, Program, RunnerPod, Setup, job_container};

/// Script steps of a job.
const STEPS: usize = 4;
/// Jobs of one pod: each leaves its records there, which the kubelet goes through.
const JOBS: u32 = 8;
/// The kubelet looks at all containers once in this time, and a bit.
const KUBELETS_LOOK: Duration = Duration::from_millis(1200);
/// Whatever does not run by then does not run.
const TIMEOUT: Duration = s(60);

/// The figures of whole jobs; `kaniko`: the seconds of a build alone.
pub(crate) fn measure(runs: u32, kaniko: f64) -> Vec<Figure> {
    let (mut bare, mut prepared, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ended, mut containers, mut builds) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = runs;
    while left > 0 {
        let runner = RunnerPod::with(&Setup::in_runner_pod());
        let ephemeral = Ephemeral::like_a_job(&runner);
        let container = crate::image_step(&runner, "true", "");
        // The first of each pod is not counted: it opens connections.
        for run in 0..=left.min(JOBS) {
            quiet(&runner, run);
            let alone = ephemeral.run(&format!("bare-{run}"));
            quiet(&runner, run);
            let mut job = JobRun::of(&runner);
            let ready = time(&job.prepare(&job_container(IMAGE, &json!({})), &json!([])));
            let step = Program::new("true", "");
            let all: Vec<_> =
                (0..STEPS).map(|_| time(&job.step_call(&step).quietly().run())).collect();
            quiet(&runner, run);
            let stepped = time(&runner.run(&container));
            quiet(&runner, run);
            let built = time(&runner.run(&crate::dockerfile_step(&runner)));
            let cleaned = time(&job.clean_up());
            eprintln!(
                "runner pod, run {run} of {left}: container {alone:.3?}, prepare {ready:.3?}, step \
                 {:.3?}, container step {stepped:.3?}, build {built:.3?}, cleanup {cleaned:.3?}",
                all[STEPS - 1],
            );
            if run > 0 {
                bare.push(alone);
                prepared.push(ready);
                steps.extend(all);
                containers.push(stepped);
                builds.push(built);
                ended.push(cleaned);
            }
        }
        left -= left.min(JOBS);
    }
    let bare = Figure::new("container.ephemeral", &bare);
    let median = bare.median();
    let steps = Figure::new("run_script_step.runner_pod.true", &steps).aim(0.008);
    let undisturbed = steps.median();
    vec![
        bare,
        Figure::new("prepare_job.runner_pod", &prepared).aim((median * 0.8).min(0.15)),
        steps,
        Figure::new("run_script_step.runner_pod.outage", &in_outage(runs)).aim(undisturbed * 1.5),
        Figure::new("run_container_step.runner_pod", &containers).aim(median + 0.05),
        Figure::new("run_container_step.runner_pod.dockerfile_first", &builds).aim(kaniko + 0.4),
        Figure::new("cleanup_job.runner_pod", &ended).aim(0.02),
    ]
}

/// Waits until the kubelet has nothing to do with the pod, and for this run's part of the second. It
/// begins nothing in a pod that it was at work on since its last look at all containers, once a second:
/// a job that starts in a new runner pod meets that as little as a step behind script steps.
fn quiet(runner: &RunnerPod, run: u32) {
    let is_over = |status: &Value| {
        let is_job = status["name"].as_str().is_some_and(|name| name.starts_with("job-"));
        is_job && status["state"]["running"].is_object()
            || status["state"]["terminated"].is_object()
    };
    until("what has ended is known to have", s(30), || {
        let pod = runner.object("pod", "runner");
        let statuses = pod["status"]["ephemeralContainerStatuses"].as_array().cloned();
        statuses.unwrap_or_default().iter().all(is_over).then_some(())
    });
    let_pass(KUBELETS_LOOK);
    wait_for_phase(run);
}

/// Steps that start while the API server is away, for a minute.
fn in_outage(runs: u32) -> Vec<Duration> {
    const OUTAGE: Duration = s(60);
    // Each is started by the API server, and then waits.
    let starts = s(5) + Duration::from_secs(1) * runs;
    let runner = RunnerPod::with(&Setup { alone: true, ..Setup::in_runner_pod() });
    let mut job = JobRun::start(&runner);
    let step = Program::new("true", "");
    job.run_program(&step).assert_code(0);
    let began = Instant::now();
    // The last one ends in time, however soon the outage begins.
    let between = (OUTAGE - s(5)).saturating_sub(starts) / runs;
    let call =
        |run| job.step_call(&step).after((starts + between * run).saturating_sub(began.elapsed()));
    let hooks: Vec<_> = (0..runs).map(|run| call(run).start()).collect();
    let none_yet = hooks.iter().all(|hook| hook.code().is_none());
    let stopped = Stopped::component("kube-apiserver", &runner.turn);
    assert!(none_yet && began.elapsed() < starts, "a step started before the outage");
    let gone = Instant::now();
    let times = hooks.into_iter().map(|hook| time(&hook.end())).collect();
    assert!(gone.elapsed() < OUTAGE, "a step ended after the outage");
    let_pass(OUTAGE.saturating_sub(gone.elapsed()));
    drop(stopped);
    times
}

/// Adds containers to a runner pod, one after the other, with one warm client.
struct Ephemeral {
    pods: Api<Pod>,
    /// What hookd gave a job's container, but for its program.
    container: EphemeralContainer,
    runtime: Runtime,
}

impl Ephemeral {
    fn like_a_job(runner: &RunnerPod) -> Self {
        let job = JobRun::start(runner);
        let pod: Pod = serde_json::from_value(runner.object("pod", "runner")).unwrap();
        job.clean_up().assert_code(0);
        let mut container = pod.spec.unwrap().ephemeral_containers.unwrap().remove(0);
        container.command = Some(["sleep", "2"].map(str::to_owned).to_vec());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(bare_pod::client());
        Self { pods: Api::namespaced(client, &runner.namespace), container, runtime }
    }

    /// From the request that adds a container to the moment in which a watch shows that it runs.
    fn run(&self, name: &str) -> Duration {
        let run = async { tokio::time::timeout(TIMEOUT, self.add_and_watch(name)).await };
        let time = self.runtime.block_on(run);
        time.unwrap_or_else(|_| panic!("the container {name} did not start")).unwrap()
    }

    async fn add_and_watch(&self, name: &str) -> kube::Result<Duration> {
        let by_name = WatchParams::default().fields("metadata.name=runner");
        let mut events = pin!(self.pods.watch(&by_name.disable_bookmarks(), "0").await?);
        let container = EphemeralContainer { name: name.to_owned(), ..self.container.clone() };
        let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": [container]}}));
        let started = Instant::now();
        self.pods.patch_ephemeral_containers("runner", &PatchParams::default(), &patch).await?;
        while let Some(event) = events.try_next().await? {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
            let statuses = pod.status.and_then(|status| status.ephemeral_container_statuses);
            let mut statuses = statuses.into_iter().flatten();
            let own = statuses.find(|status| status.name == name).and_then(|status| status.state);
            if own.is_some_and(|state| state.running.is_some() || state.terminated.is_some()) {
                return Ok(started.elapsed());
            }
        }
        panic!("the watch of the pod ended before the container ran")
    }
}
