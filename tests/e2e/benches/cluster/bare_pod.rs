//! Pods like a step's, without hookd.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{Stream, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Secret};
use kube::api::{DeleteParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use tokio::runtime::{self, Runtime};

use test_support::wait::{s, until};
use test_support::{JobRun, RunnerPod};

/// Whatever is not there by then does not come.
const TIMEOUT: Duration = s(60);

/// Makes pods, one after the other, with one warm client.
#[derive(Debug)]
pub(crate) struct BarePods {
    pods: Api<Pod>,
    secrets: Api<Secret>,
    /// What hookd gave a step's pod.
    pod: PodSpec,
    /// Its environment.
    environment: BTreeMap<String, ByteString>,
    runtime: Runtime,
}

impl BarePods {
    /// Runs a step and takes over the pod and the Secret that hookd makes for it.
    pub(crate) fn like_a_step(runner: &RunnerPod) -> Self {
        let step = crate::image_step(runner, "sleep", "'3'");
        let hook = runner.call(&step).start();
        let job: Job = until("a step has a Job", TIMEOUT, || only(runner, "jobs"));
        let secret: Secret = until("a step has a Secret", TIMEOUT, || only(runner, "secrets"));
        crate::finished(runner, &hook.end());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(client());
        Self {
            pods: Api::namespaced(client.clone(), &runner.namespace),
            secrets: Api::namespaced(client, &runner.namespace),
            pod: job.spec.unwrap().template.spec.unwrap(),
            environment: secret.data.unwrap(),
            runtime,
        }
    }

    /// From the request that creates a pod to its container's end, as a watch of the pod sees it.
    pub(crate) fn run(&self, name: &str) -> Duration {
        let run = async { tokio::time::timeout(TIMEOUT, self.create_and_watch(name)).await };
        let time = self.runtime.block_on(run);
        time.unwrap_or_else(|_| panic!("the pod {name} did not end")).unwrap()
    }

    async fn create_and_watch(&self, name: &str) -> kube::Result<Duration> {
        let by_name = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = pin!(self.pods.watch(&by_name.disable_bookmarks(), "0").await?);
        // After the watch, so that the pod's creation finds a connection that is free.
        self.secrets.create(&PostParams::default(), &self.secret(name)).await?;
        let started = Instant::now();
        self.pods.create(&PostParams::default(), &self.pod(name)).await?;
        wait_for(&mut events, has_ended).await?;
        let time = started.elapsed();
        self.pods.delete(name, &DeleteParams::default()).await?;
        wait_for(&mut events, |event| matches!(event, WatchEvent::Deleted(_))).await?;
        self.secrets.delete(name, &DeleteParams::default()).await?;
        Ok(time)
    }

    fn secret(&self, name: &str) -> Secret {
        Secret {
            metadata: named(name),
            immutable: Some(true),
            data: Some(self.environment.clone()),
            ..Secret::default()
        }
    }

    fn pod(&self, name: &str) -> Pod {
        let mut spec = self.pod.clone();
        let container = &mut spec.containers[0];
        (container.command, container.args) = (Some(vec!["true".to_owned()]), None);
        let variables = container.env.iter_mut().flatten();
        let sources = variables.filter_map(|variable| variable.value_from.as_mut());
        for key in sources.filter_map(|source| source.secret_key_ref.as_mut()) {
            name.clone_into(&mut key.name);
        }
        Pod { metadata: named(name), spec: Some(spec), ..Pod::default() }
    }
}

/// Makes pods like a job's, one after the other, with one warm client.
#[derive(Debug)]
pub(crate) struct BareJobs {
    pods: Api<Pod>,
    /// What hookd gave a job's pod.
    pod: PodSpec,
    runtime: Runtime,
}

impl BareJobs {
    /// Prepares a job and takes over the pod that hookd makes for it.
    pub(crate) fn like_a_job(runner: &RunnerPod) -> Self {
        let job = JobRun::start(runner);
        let pod: Pod = serde_json::from_value(runner.object("pod", "runner-workflow")).unwrap();
        job.clean_up().assert_code(0);
        runner.assert_nothing_left();
        let mut pod = pod.spec.unwrap();
        pod.node_name = None;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(client());
        Self { pods: Api::namespaced(client, &runner.namespace), pod, runtime }
    }

    /// From the request that creates a pod to its container's start, as a watch of the pod sees it.
    pub(crate) fn run(&self, name: &str) -> Duration {
        let run = async { tokio::time::timeout(TIMEOUT, self.create_and_watch(name)).await };
        let time = self.runtime.block_on(run);
        time.unwrap_or_else(|_| panic!("the pod {name} did not start")).unwrap()
    }

    async fn create_and_watch(&self, name: &str) -> kube::Result<Duration> {
        let by_name = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = pin!(self.pods.watch(&by_name.disable_bookmarks(), "0").await?);
        let pod = Pod { metadata: named(name), spec: Some(self.pod.clone()), ..Pod::default() };
        let started = Instant::now();
        self.pods.create(&PostParams::default(), &pod).await?;
        wait_for(&mut events, is_running).await?;
        let time = started.elapsed();
        self.pods.delete(name, &DeleteParams::default()).await?;
        wait_for(&mut events, |event| matches!(event, WatchEvent::Deleted(_))).await?;
        Ok(time)
    }
}

fn is_running(event: &WatchEvent<Pod>) -> bool {
    let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    status.is_some_and(|status| status.started == Some(true))
}

/// A client that waits for watches as long as it takes.
pub(crate) async fn client() -> Client {
    let mut config = Config::infer().await.unwrap();
    config.read_timeout = None;
    Client::try_from(config).unwrap()
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// The one object of this kind that hookd has made.
fn only<T: DeserializeOwned>(runner: &RunnerPod, kind: &str) -> Option<T> {
    let object = runner.objects(kind, &["-l", "runner-pod=runner"]).pop()?;
    Some(serde_json::from_value(object).unwrap())
}

async fn wait_for(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Pod>>> + Unpin),
    wanted: impl Fn(&WatchEvent<Pod>) -> bool,
) -> kube::Result<()> {
    while let Some(event) = events.try_next().await? {
        if wanted(&event) {
            return Ok(());
        }
    }
    panic!("the watch of a pod ended before the pod")
}

fn has_ended(event: &WatchEvent<Pod>) -> bool {
    let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()?.first());
    let state = status.and_then(|status| status.state.as_ref()?.terminated.as_ref());
    let Some(ended) = state else { return false };
    assert_eq!(ended.exit_code, 0, "a bare pod failed: {ended:?}");
    true
}
