//! `cleanup_job`, and the deletion of single steps: nothing of ours stays.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt};
use hookd_api::v1::{CleanupJobResponse, ServiceLog};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::retry::Retry;
use crate::cluster::{job, logs};
use crate::error::{Failure, report};
use crate::hooks::{Context, Leaves, build_image, built_images};
use crate::ids::StepId;
use crate::spec::names::{self, JOB_LABEL, RUNNER_LABEL, STEP_LABEL};
use crate::spec::services::JOB;
use crate::step::lifecycle::Event;
use crate::step::registry::Attached;
use crate::step::{agent_calls, ended_services};

/// The end of a service's log that is shown.
const SERVICE_LINES: i64 = 1000;
/// Bytes of all logs together: one message carries them, which may have 4 MiB.
const LOGS: usize = 2 << 20;
/// Services whose logs are shown, and those that are read at the same time.
const SERVICES: usize = 256;
const LOGS_AT_ONCE: usize = 4;
/// The runner waits for a clean-up; nobody waits for long for a log.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Deletes all objects of this runner: Jobs with their pods, pods, Secrets. Returns their number,
/// and what the job's services wrote.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cleanup(context: &Context) -> Result<CleanupJobResponse, Failure> {
    context.network.clear().await;
    let retry = context.retry();
    let pod = job_pod(context, &retry).await?;
    let service_logs = match &pod {
        Some(pod) => service_logs(context, pod).await,
        None => Vec::new(),
    };
    let selector = format!("{RUNNER_LABEL}={}", context.config.pod_name);
    // Pods of Jobs go with their Jobs.
    let single = format!("{selector},!{JOB_LABEL}");
    let (jobs, pods) = tokio::try_join!(
        delete_all(context.jobs(), &selector, &retry),
        delete_all(context.pods(), &single, &retry),
    )?;
    // Secrets are not listed: that would take the right to read all of the namespace at once.
    let of_steps = jobs.names.iter().map(|name| {
        let (secrets, retry) = (context.secrets(), &retry);
        async move { job::delete(&secrets, &context.config.pod_name, name, retry).await }
    });
    let of_steps = try_join_all(of_steps).await?.into_iter().filter(|found| *found).count();
    let of_job = delete_job_secrets(context).await?;
    context.agents.clear();
    context.crashes.clear();
    built_images::delete(context).await;
    let deleted =
        u32::try_from(jobs.deleted + pods.deleted + of_steps + of_job).unwrap_or(u32::MAX);
    Ok(CleanupJobResponse { deleted, service_logs })
}

/// The job's pod, if it is there.
async fn job_pod(context: &Context, retry: &Retry) -> Result<Option<Pod>, Failure> {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.pods(), names::job_pod(runner));
    let found = retry.run(&format!("read pod {name}"), || pods.get_opt(&name)).await?;
    Ok(found.filter(|pod| names::is_of(&pod.metadata, runner)))
}

/// Deletes the Secrets of this runner's job pods, whether those are there or not; their number.
pub(super) async fn delete_job_secrets(context: &Context) -> Result<usize, Failure> {
    let mut deleted = 0;
    for step in context.job_secrets.all().await {
        deleted += delete_secrets_of(context, &step).await?;
    }
    context.job_secrets.forget().await;
    Ok(deleted)
}

/// Deletes the Secrets that a step made for its job's pod: the services' environment, and the
/// credentials of every index up to one that does not exist.
async fn delete_secrets_of(context: &Context, step: &StepId) -> Result<usize, Failure> {
    let (runner, secrets, retry) = (&context.config.pod_name, context.secrets(), context.retry());
    let environment = names::services_secret(runner, step);
    let mut deleted = usize::from(job::delete(&secrets, runner, &environment, &retry).await?);
    for index in 0.. {
        let name = names::pull_secret(runner, step, index);
        if !job::delete(&secrets, runner, &name, &retry).await? {
            break;
        }
        deleted += 1;
    }
    Ok(deleted)
}

/// The logs of the job's services. A clean-up does not fail because one cannot be read.
async fn service_logs(context: &Context, pod: &Pod) -> Vec<ServiceLog> {
    let (pods, name) = (context.pods(), pod.name_any());
    let ended = ended_services::of_pod(pod);
    let containers = pod.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
    let services: Vec<_> = containers
        .into_iter()
        .map(|container| container.name)
        .filter(|name| name != JOB)
        .take(SERVICES)
        .collect();
    let share = LOGS / services.len().max(1);
    let logs = services.into_iter().map(|service| {
        let (pods, name) = (&pods, &name);
        let ended = ended.iter().find(|ended| ended.name == service);
        let end = ended.map(|ended| format!("\n({})\n", ended.message)).unwrap_or_default();
        async move {
            let asked = logs::tail(pods, (name, &service), SERVICE_LINES);
            let text = tokio::time::timeout(LOG_PATIENCE, asked).await;
            let text = match text {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => format!("(the log cannot be read: {})", report(&error)),
                Err(_) => "(the log cannot be read: no answer)".to_owned(),
            };
            ServiceLog { name: service, text: logs::last_lines(text, share) + &end }
        }
    });
    stream::iter(logs).buffered(LOGS_AT_ONCE).collect().await
}

/// What [`delete_all`] found.
struct Found {
    names: Vec<String>,
    /// Those that were still there when they were deleted.
    deleted: usize,
}

async fn delete_all<K>(api: Api<K>, selector: &str, retry: &Retry) -> Result<Found, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let params = ListParams::default().labels(selector);
    let list =
        retry.run(&format!("list {}", K::plural(&())), || api.list_metadata(&params)).await?;
    let found = list.items.iter().map(|found| job::delete_found(&api, &found.metadata, retry));
    let deleted = try_join_all(found).await?.into_iter().filter(|found| *found).count();
    Ok(Found { names: list.items.iter().map(ResourceExt::name_any).collect(), deleted })
}

/// Deletes what a step made: the Job and Secret of its run, and the Jobs of its builds. True if
/// something was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn delete_step(
    context: &Context,
    step: &StepId,
    builds: u32,
    retry: &Retry,
) -> Result<bool, Failure> {
    let runner = &context.config.pod_name;
    let (jobs, secrets) = (context.jobs(), context.secrets());
    let builds = (0..builds).map(|attempt| names::build(runner, step, attempt));
    let builds = builds.map(|name| {
        let jobs = jobs.clone();
        async move { job::delete(&jobs, runner, &name, retry).await }
    });
    let name = names::step(runner, step);
    let run = job::delete_with_secret(&jobs, &secrets, runner, &name, retry);
    let (builds, run) = tokio::try_join!(try_join_all(builds), run)?;
    Ok(run || builds.contains(&true))
}

/// Cancels a step of whichever kind; true if something of it was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cancel_step(context: &Context, step: &StepId) -> Result<bool, Failure> {
    let retry = context.retry();
    let jobs = delete_step(context, step, build_image::ATTEMPTS, &retry).await?;
    let runner = &context.config.pod_name;
    let (pods, name) = (context.pods(), names::job_pod(runner));
    let pod = retry.run(&format!("read pod {name}"), || pods.get_metadata_opt(&name)).await?;
    let Some(pod) = pod.filter(|pod| names::is_of(&pod.metadata, runner)) else { return Ok(jobs) };
    if pod.labels().get(STEP_LABEL).is_some_and(|of| of == step.as_str()) {
        delete_job_pod(context, step).await;
        return Ok(true);
    }
    Ok(agent_calls::cancel_unattended(context, step).await || jobs)
}

/// After a restart of hookd: waits for the hooks of the steps that run to come back, and deletes
/// the steps whose hook does not.
pub async fn delete_orphans(context: &Context) {
    tokio::time::sleep(context.config.reattach_timeout).await;
    let params = ListParams::default()
        .labels(&format!("{RUNNER_LABEL}={},{STEP_LABEL}", context.config.pod_name));
    let retry = context.retry();
    let jobs = context.jobs();
    let list = retry.run("list Jobs", || jobs.list_metadata(&params)).await;
    let list = list.inspect_err(|failure| {
        tracing::warn!(error = report(failure), "cannot look for Jobs of orphans");
    });
    let jobs = list.into_iter().flatten();
    for step in jobs.filter_map(|job| job.labels().get(STEP_LABEL).cloned()) {
        let Some((id, undoing)) = orphan(context, &step) else { continue };
        tracing::info!(step, "nobody came back for this step; deleting it");
        match delete_step(context, &id, build_image::ATTEMPTS, &retry).await {
            Ok(_) => drop(undoing.on(Event::Undone)),
            Err(failure) => {
                tracing::warn!(step, error = report(&failure), "cannot delete an orphan");
            }
        }
    }
    end_orphans_in_the_job_pod(context).await;
}

/// A step that this daemon knows nothing of; whoever comes for it from now on comes too late.
fn orphan(context: &Context, step: &str) -> Option<(StepId, Attached)> {
    let id = step.parse().ok()?;
    let undoing = context.steps.cancel_orphan(&id)?;
    Some((id, undoing))
}

/// The steps in the job's pod whose hook did not come back; a runner without a job has none.
async fn end_orphans_in_the_job_pod(context: &Context) {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.pods(), names::job_pod(runner));
    let found = context.retry().attempt(|| pods.get_metadata_opt(&name)).await;
    if found.is_ok_and(|pod| pod.is_none_or(|pod| !names::is_of(&pod.metadata, runner))) {
        return;
    }
    for step in agent_calls::known(context).await {
        let Some((id, undoing)) = orphan(context, &step) else { continue };
        tracing::info!(step, "nobody came back for this step; ending it");
        if agent_calls::cancel(context, &id).await {
            undoing.on(Event::Undone);
        }
    }
}

/// Deletes what an operation made that is done and whose end its caller knows.
pub async fn after_success(context: &Context, leaves: Leaves, step: &StepId, builds: u32) {
    match leaves {
        Leaves::Jobs => delete_jobs(context, step, builds).await,
        Leaves::Step => agent_calls::forget(context, step).await,
        Leaves::JobPod => {}
    }
}

/// Undoes an operation that failed, in a task that goes on if nobody waits for it any more;
/// `twice`: once more after a second, for a create that was under way when it was cancelled.
pub async fn after_failure(
    context: Arc<Context>,
    leaves: Leaves,
    step: StepId,
    (builds, twice): (u32, bool),
) {
    let tasks = context.tasks.clone();
    let first = tasks.spawn(async move {
        undo(&context, leaves, &step, builds).await;
        if twice && leaves != Leaves::Step {
            context.tasks.clone().spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                undo(&context, leaves, &step, builds).await;
            });
        }
    });
    let _ = first.await;
}

async fn undo(context: &Context, leaves: Leaves, step: &StepId, builds: u32) {
    match leaves {
        Leaves::Jobs => delete_jobs(context, step, builds).await,
        Leaves::Step => drop(agent_calls::cancel(context, step).await),
        Leaves::JobPod => delete_job_pod(context, step).await,
    }
}

/// The pod of a job that could not be prepared, and its Secrets.
async fn delete_job_pod(context: &Context, step: &StepId) {
    let runner = &context.config.pod_name;
    let (pods, retry) = (context.pods(), context.retry());
    // One that cannot be deleted does not keep the others.
    let (pod, secrets) =
        tokio::join!(job::delete_pod_of(runner, &pods, &retry), delete_secrets_of(context, step),);
    context.agents.clear();
    context.network.clear().await;
    for failure in pod.err().into_iter().chain(secrets.err()) {
        tracing::warn!(%step, error = report(&failure), "cannot delete a job's pod or its Secrets");
    }
}

async fn delete_jobs(context: &Context, step: &StepId, builds: u32) {
    if let Err(failure) = delete_step(context, step, builds, &context.retry()).await {
        tracing::warn!(%step, error = report(&failure), "cannot delete a step's Jobs");
    }
}
