//! Builds the Dockerfile actions of a job while its containers start. No job fails or waits for that, and
//! none reads of it: what a prebuild does is in hookd's own log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use crate::blocking;
use crate::build::cache::BuildCache;
use crate::build::prebuild::{self, AtWork};
use crate::build::{BuildEnvironment, actions, trust};
use crate::cluster::objects;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Failure, report};
use crate::ids::StepId;
use crate::names::{self, BUILD_KEY_LABEL, RUNNER_LABEL, STEP_LABEL};
use crate::placement::own_pod::deletion;
use crate::session::cursor::{Cursor, Offsets};
use crate::session::events::{Acked, Session};
use crate::session::warnings::Warnings;

/// Events that wait to be dropped.
const QUEUE: usize = 4;
/// When a deletion is repeated, for a create that was under way when it was cancelled.
const LATE_CREATE: Duration = Duration::from_secs(1);

/// Begins those of a job that this event leads to, if that is of use here; those of an earlier job end.
pub fn start(context: &Arc<Context>, event: &str) {
    if !prebuild::is_useful(&context.config) {
        return;
    }
    let AtWork { cancel, tasks } = context.prebuilds.begin(&context.sessions.stopping);
    let (context, event) = (context.clone(), event.to_owned());
    let work = async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = all(&context, &event) => {}
        }
    };
    // It is in the log and the trace as a part of the call that began it.
    tasks.spawn(work.in_current_span());
}

/// Whether the policy lets builds of the event begin; a step hears of what is wrong with it.
async fn may_build(context: &Context, event: &str) -> Result<bool, Failure> {
    let event = trust::believed(event, &context.cluster_info().await?.runner);
    Ok(context.policy()?.is_none_or(|policy| !policy.refuses_builds_of(event)))
}

/// Ends all that are at work, and deletes what they made.
pub async fn end(context: &Arc<Context>) {
    context.prebuilds.end().await;
    let steps = forgotten(context).await;
    if steps.is_empty() {
        return;
    }
    delete(context, &steps).await;
    let context = context.clone();
    context.sessions.tasks.clone().spawn(async move {
        tokio::time::sleep(LATE_CREATE).await;
        delete(&context, &steps).await;
    });
}

/// Deletes, in the background, what a daemon before this one has left: nobody attends to it.
pub async fn delete_left(context: &Arc<Context>) {
    let steps = forgotten(context).await;
    if !steps.is_empty() {
        let context = context.clone();
        tokio::spawn(async move { delete(&context, &steps).await });
    }
}

/// Those that were remembered, and are no more.
async fn forgotten(context: &Context) -> Vec<StepId> {
    let steps = context.prebuilds.remembered.all().await;
    if !steps.is_empty() {
        context.prebuilds.remembered.forget().await;
    }
    steps
}

/// Deletes the Jobs of these that are there, and the Leases that they were made under.
async fn delete(context: &Context, steps: &[StepId]) {
    let runner = &context.config.pod_name;
    let (jobs, leases, retry) =
        (context.cluster.jobs(), context.cluster.leases(), context.cluster.retry());
    let params =
        ListParams::default().labels(&format!("{RUNNER_LABEL}={runner},{BUILD_KEY_LABEL}"));
    let listed = retry.run("list the Jobs of prebuilds", || jobs.list_metadata(&params)).await;
    let listed = match listed {
        Ok(listed) => listed.items,
        Err(failure) => {
            tracing::warn!(error = report(&failure), "prebuilds stay until their runner pod goes");
            return;
        }
    };
    let is_one = |job: &&PartialObjectMeta<Job>| {
        let of = job.labels().get(STEP_LABEL);
        of.is_some_and(|of| steps.iter().any(|step| step.as_str() == of))
    };
    for job in listed.iter().filter(is_one) {
        if let Some(key) = job.labels().get(BUILD_KEY_LABEL) {
            let _ = objects::delete(&leases, runner, &names::build_lease(key), &retry).await;
        }
        if let Err(failure) = objects::delete_found(&jobs, &job.metadata, &retry).await {
            tracing::warn!(job = job.name_any(), error = report(&failure), "a prebuild stays");
        }
    }
}

async fn all(context: &Context, event: &str) {
    if !may_build(context, event).await.unwrap_or_default() {
        return;
    }
    let found = dockerfiles(&context.config).await;
    // Not by a closure: its future would not be Send.
    let mut builds = Vec::new();
    for dockerfile in found {
        builds.push(one(context, dockerfile, event));
    }
    some_at_once(&context.config, builds).await;
}

/// The Dockerfiles that are built ahead for a job.
pub(super) async fn dockerfiles(config: &Config) -> Vec<PathBuf> {
    let (work_dir, roots) = (config.work_dir.clone(), config.context_roots());
    let limit = config.build.prebuild_limit;
    let find = move || actions::dockerfiles(&work_dir, &roots, limit);
    let found = blocking::run(blocking::DEADLINE, "Looking for Dockerfile actions", find).await;
    found.unwrap_or_else(|failure| {
        tracing::info!(error = report(&failure), "no Dockerfile actions can be found");
        Vec::new()
    })
}

/// Runs builds, as many at the same time as the settings say.
pub(super) async fn some_at_once(config: &Config, builds: Vec<impl Future<Output = ()>>) {
    let at_once = config.build.prebuild_at_once.max(1);
    stream::iter(builds).for_each_concurrent(at_once, |build| build).await;
}

async fn one(context: &Context, dockerfile: PathBuf, event: &str) {
    let path = dockerfile.display();
    match build(context, &dockerfile, event).await {
        Ok(outcome) => tracing::info!(dockerfile = %path, ?outcome, "prebuilt"),
        // The step that needs it will say why.
        Err(failure) => {
            tracing::info!(dockerfile = %path, error = report(&failure), "not prebuilt");
        }
    }
}

async fn build(
    context: &Context,
    dockerfile: &Path,
    event: &str,
) -> Result<prebuild::Prebuilt, Failure> {
    let step = prebuild::id()?;
    if let Err(error) = context.prebuilds.remembered.add(&step).await {
        tracing::info!(error = report(&error), "a prebuild may outlive its job");
    }
    // The step is to find the image as it finds that of another runner, and to read its warnings.
    let (cache, warnings) = (BuildCache::default(), Warnings::default());
    let shared = context.build_environment().await?;
    let is_trusted = trust::is_trusted(event, shared.runner);
    let env = BuildEnvironment { cache: &cache, warnings: &warnings, is_trusted, ..shared };
    let (events, mut received) = mpsc::channel(QUEUE);
    let (_acks, acked) = watch::channel(Acked::ALL);
    let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
    let built = async {
        let built = prebuild::prebuild(&env, &step, dockerfile, &mut session).await;
        // Without its session the dropping ends.
        (built, session.into_cursor())
    };
    let dropped = async { while received.recv().await.is_some() {} };
    let ((built, cursor), ()) = tokio::join!(built, dropped);
    deletion::delete_jobs(context, &step, Some(&cursor)).await;
    built
}
