//! The end of a step of any kind.

use kube::ResourceExt;

use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names::{self, STEP_LABEL};
use crate::placement::own_pod::deletion::{delete_job_pod, delete_step};
use crate::session::cursor::BUILD_ATTEMPTS;
use crate::stepd::calls;

/// Deletes what there is of the step; true if something was there.
pub(super) async fn cancel(context: &Context, step: &StepId) -> Result<bool, Failure> {
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
