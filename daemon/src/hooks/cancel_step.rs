//! `cancel_step`: ends a step of any kind, started by any client.

use kube::ResourceExt;

use crate::error::Failure;
use crate::hooks::context::Context;
use crate::hooks::deletion::{delete_job_pod, delete_step};
use crate::ids::StepId;
use crate::names::{self, STEP_LABEL};
use crate::session::cursor::BUILD_ATTEMPTS;
use crate::session::state::Event;
use crate::stepd::calls;

/// Cancels a step; true if something of it was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cancel(context: &Context, step: &StepId) -> Result<bool, Failure> {
    // One with a client is undone by its session.
    let unattended = context.sessions.steps.cancel(step);
    let found = delete_all(context, step).await?;
    let attended = unattended.is_none();
    if let Some(undoing) = unattended {
        undoing.on(Event::Undone);
    }
    Ok(found || attended)
}

/// Deletes what there is of the step.
async fn delete_all(context: &Context, step: &StepId) -> Result<bool, Failure> {
    let retry = context.cluster.retry();
    let jobs = delete_step(context, step, BUILD_ATTEMPTS, &retry).await?;
    let runner = &context.config.pod_name;
    let (pods, name) = (context.cluster.pods(), names::job_pod(runner));
    let pod = retry.run(&format!("read pod {name}"), || pods.get_metadata_opt(&name)).await?;
    let Some(pod) = pod.filter(|pod| names::is_of(&pod.metadata, runner)) else { return Ok(jobs) };
    if pod.labels().get(STEP_LABEL).is_some_and(|of| of == step.as_str()) {
        delete_job_pod(context, step).await;
        return Ok(true);
    }
    Ok(calls::cancel_unattended(&context.agents, step).await || jobs)
}
