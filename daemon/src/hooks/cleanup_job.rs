//! `cleanup_job`, and the deletion of single steps: nothing of ours stays.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::client::Retry;
use crate::cluster::job;
use crate::error::{Failure, report};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::spec::names::{self, RUNNER_LABEL, STEP_LABEL};

/// Deletes all objects of this runner: Jobs with their pods, pods, Secrets. Returns their number.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cleanup(context: &Context) -> Result<u32, Failure> {
    let selector = format!("{RUNNER_LABEL}={}", context.config.pod_name);
    let retry = context.retry();
    let (jobs, secrets) = tokio::try_join!(
        delete_all(context.jobs(), &selector, &retry),
        delete_all(context.secrets(), &selector, &retry),
    )?;
    Ok(jobs + secrets)
}

async fn delete_all<K>(api: Api<K>, selector: &str, retry: &Retry) -> Result<u32, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let params = ListParams::default().labels(selector);
    let list =
        retry.run(&format!("list {}", K::plural(&())), || api.list_metadata(&params)).await?;
    let names: Vec<_> = list.items.iter().map(ResourceExt::name_any).collect();
    let deleted = try_join_all(names.iter().map(|name| job::delete(&api, name, retry))).await?;
    Ok(u32::try_from(deleted.into_iter().filter(|found| *found).count()).unwrap_or(u32::MAX))
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
        async move { job::delete(&jobs, &name, retry).await }
    });
    let name = names::step(runner, step);
    let run = job::delete_with_secret(&jobs, &secrets, &name, retry);
    let (builds, run) = tokio::try_join!(try_join_all(builds), run)?;
    Ok(run || builds.contains(&true))
}

/// After a restart of hookd: waits for the hooks of the steps that run to come back, and deletes
/// the steps whose hook does not.
pub async fn delete_orphans(context: &Context) {
    tokio::time::sleep(context.config.reattach_timeout).await;
    let params = ListParams::default()
        .labels(&format!("{RUNNER_LABEL}={},{STEP_LABEL}", context.config.pod_name));
    let retry = context.retry();
    let jobs = context.jobs();
    let list = match retry.run("list Jobs", || jobs.list_metadata(&params)).await {
        Ok(list) => list,
        Err(failure) => return tracing::warn!(error = report(&failure), "cannot look for orphans"),
    };
    let attached = context.steps.ids();
    let steps = list.items.iter().filter_map(|job| job.labels().get(STEP_LABEL));
    for step in steps.filter(|step| !attached.contains(step)) {
        let Ok(id) = step.parse() else { continue };
        tracing::info!(step, "nobody came back for this step; deleting it");
        if let Err(failure) = delete_step(context, &id, 3, &retry).await {
            tracing::warn!(step, error = report(&failure), "cannot delete an orphan");
        }
    }
}

/// Deletes a step whose end its caller knows.
pub async fn delete_finished(context: &Context, step: &StepId, builds: u32) {
    if let Err(failure) = delete_step(context, step, builds, &context.retry()).await {
        tracing::warn!(%step, error = report(&failure), "cannot delete a finished step");
    }
}

/// Deletes a step that failed, in a task that goes on if nobody waits for it any more; `twice`:
/// once more after a second, for a create that was under way when the step was cancelled.
pub async fn delete_failed(context: Arc<Context>, step: StepId, builds: u32, twice: bool) {
    let tasks = context.tasks.clone();
    let first = tasks.spawn(async move {
        delete_finished(&context, &step, builds).await;
        if twice {
            context.tasks.clone().spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                delete_finished(&context, &step, builds).await;
            });
        }
    });
    let _ = first.await;
}
