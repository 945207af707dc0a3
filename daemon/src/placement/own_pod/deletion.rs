//! The deletion of what single steps made. What cannot be deleted is logged, and goes with the job or with
//! the runner pod.

use futures::future::try_join_all;

use crate::cluster::objects;
use crate::cluster::retry::Retry;
use crate::context::Context;
use crate::error::{Failure, report};
use crate::ids::StepId;
use crate::names;
use crate::session::cursor::{BUILD_ATTEMPTS, Cursor};

/// Number of Jobs that a step has built with, or may have.
fn builds(cursor: Option<&Cursor>) -> u32 {
    let Some(cursor) = cursor else { return BUILD_ATTEMPTS };
    let builds = cursor.build.as_ref().map_or(0, |build| build.attempt.saturating_add(1));
    builds.min(BUILD_ATTEMPTS)
}

/// Deletes the Jobs and the Secret of a step, as far as its cursor shows; all that it can have made if
/// there is none.
pub async fn delete_jobs(context: &Context, step: &StepId, cursor: Option<&Cursor>) {
    let retry = context.cluster.retry();
    if let Err(failure) = delete_step(context, step, builds(cursor), &retry).await {
        tracing::warn!(%step, error = report(&failure), "cannot delete a step's Jobs");
    }
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
    let (jobs, secrets) = (context.cluster.jobs(), context.cluster.secrets());
    let builds = (0..builds).map(|attempt| names::build(runner, step, attempt));
    let builds = builds.map(|name| {
        let jobs = jobs.clone();
        async move { objects::delete(&jobs, runner, &name, retry).await }
    });
    let name = names::step(runner, step);
    let run = objects::delete_with_secret(&jobs, &secrets, runner, &name, retry);
    let (builds, run) = tokio::try_join!(try_join_all(builds), run)?;
    Ok(run || builds.contains(&true))
}

/// The pod of a job that could not be prepared, and its Secrets.
pub async fn delete_job_pod(context: &Context, step: &StepId) {
    let runner = &context.config.pod_name;
    let (pods, retry) = (context.cluster.pods(), context.cluster.retry());
    // One that cannot be deleted does not keep the others.
    let (pod, secrets) = tokio::join!(
        objects::delete_pod_of(runner, &pods, &retry),
        delete_secrets_of(context, step),
    );
    context.agents.clear();
    context.network.clear().await;
    for failure in pod.err().into_iter().chain(secrets.err()) {
        tracing::warn!(%step, error = report(&failure), "cannot delete a job's pod or its Secrets");
    }
}

/// Deletes the Secrets of this runner's job pods, whether those are there or not; their number.
pub async fn delete_job_secrets(context: &Context) -> Result<usize, Failure> {
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
    let (runner, secrets, retry) =
        (&context.config.pod_name, context.cluster.secrets(), context.cluster.retry());
    let environment = names::services_secret(runner, step);
    let mut deleted = usize::from(objects::delete(&secrets, runner, &environment, &retry).await?);
    let mut found = Vec::new();
    for index in 0.. {
        let name = names::pull_secret(runner, step, index);
        let action = format!("read Secret {name}");
        let secret = retry.run(&action, || secrets.get_metadata_opt(&name)).await?;
        match secret.filter(|secret| names::is_of(&secret.metadata, runner)) {
            Some(secret) => found.push(secret.metadata),
            None => break,
        }
    }
    // From the last one on: what a deletion that breaks off leaves is found by the next.
    for secret in found.iter().rev() {
        deleted += usize::from(objects::delete_found(&secrets, secret, &retry).await?);
    }
    Ok(deleted)
}
