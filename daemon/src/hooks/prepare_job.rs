//! `prepare_job`: the job's container and its services.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hookd_api::v1::JobPrepared;

use crate::context::Context;
use crate::error::Failure;
use crate::hooks::{policy, prebuild, summary};
use crate::ids::StepId;
use crate::metrics;
use crate::objects::job_pod::JobSpec;
use crate::placement::{self, Call};
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::session::operation::Operation;

/// The operation.
pub struct PrepareJob {
    context: Arc<Context>,
    step: StepId,
    spec: JobSpec,
}

impl PrepareJob {
    /// Of this step.
    pub fn new(context: Arc<Context>, step: StepId, spec: JobSpec) -> Self {
        Self { context, step, spec }
    }
}

impl Operation for PrepareJob {
    /// What the workflow hears of the job.
    type Output = JobPrepared;
    const CALL: metrics::Call = metrics::Call::PrepareJob;

    async fn run(&mut self, session: &mut Session) -> Result<JobPrepared, Failure> {
        let Self { context, step, spec } = self;
        spec.check(&context.config.policy)?;
        let placement = placement::of(context).await?;
        // Another job's ports would be in the way.
        context.network.clear().await;
        context.job_timings.take();
        if spec.container.is_none() && spec.services.is_empty() {
            // The runner asks for no such job, but its contract allows it.
            return Ok(JobPrepared::default());
        }
        context.warnings.clear();
        policy::apply(context, session, |policy| policy.of_job(spec)).await?;
        prebuild::start(context, &spec.event);
        let prepared = placement.start_job(Call { context, step }, spec, session).await?;
        summary::of_job(context, session);
        Ok(prepared)
    }

    fn roll_back(&self, _: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let (context, step) = (self.context.clone(), self.step.clone());
        async move {
            let call = Call { context: &context, step: &step };
            let ended = placement::known(&context).end_job(call);
            tokio::join!(ended, prebuild::end(&context));
        }
        .boxed()
    }

    /// The job's containers stay until `cleanup_job`.
    async fn finish(&self, _: &Cursor) {}
}
