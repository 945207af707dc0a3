//! `run_container_step`: builds the image if need be, runs it, and returns its exit code.

use std::future::pending;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::blocking;
use crate::build::trust;
use crate::context::Context;
use crate::error::Failure;
use crate::hooks::summary::Summary;
use crate::hooks::{action_args, policy};
use crate::ids::StepId;
use crate::metrics;
use crate::names;
use crate::objects::container::{ContainerStep, Source};
use crate::placement::{self, Call};
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::session::operation::Operation;
use crate::workload::ended_services;
use crate::workload::hold::Hold;

/// The operation.
pub struct RunContainerStep {
    context: Arc<Context>,
    step: StepId,
    spec: ContainerStep,
}

impl RunContainerStep {
    /// Of this step.
    pub fn new(context: Arc<Context>, step: StepId, spec: ContainerStep) -> Self {
        Self { context, step, spec }
    }
}

impl Operation for RunContainerStep {
    /// The exit code.
    type Output = i32;
    const CALL: metrics::Call = metrics::Call::RunContainerStep;

    fn succeeded(code: &i32) -> bool {
        *code == 0
    }

    async fn run(&mut self, session: &mut Session) -> Result<i32, Failure> {
        // Its environment may be large: it is moved, not copied.
        run(&self.context, &self.step, std::mem::take(&mut self.spec), session).await
    }

    fn roll_back(&self, cursor: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let (context, step) = (self.context.clone(), self.step.clone());
        let cursor = cursor.cloned();
        async move {
            let call = Call { context: &context, step: &step };
            placement::known(&context).end_step(call, cursor.as_ref()).await;
        }
        .boxed()
    }

    async fn finish(&self, cursor: &Cursor) {
        let call = Call { context: &self.context, step: &self.step };
        placement::known(&self.context).end_step(call, Some(cursor)).await;
    }
}

async fn run(
    context: &Context,
    step: &StepId,
    spec: ContainerStep,
    session: &mut Session,
) -> Result<i32, Failure> {
    spec.options.check(names::STEP_CONTAINER, &context.config.policy)?;
    let placement = placement::of(context).await?;
    let hold = Hold::asked(&spec.environment, context.config.longest_hold);
    // Its container is not watched: it is gone at the end of the hold at the latest.
    if let Some(exit_code) = hold.go_on(pending(), session).await? {
        return Ok(exit_code);
    }
    let event = trust::believed(&spec.event, &context.cluster_info().await?.runner);
    policy::apply(context, session, |policy| policy.of_container_step(&spec, event)).await?;
    ended_services::report(&context.agents, session).await?;
    let spec = with_whole_args(context, spec).await?;
    let call = Call { context, step };
    let summary = Summary::of_container_step(context, &spec);
    let exit_code = match spec.source.clone() {
        Source::Image(image) => placement.run_image(call, spec, image, session).await?,
        Source::Dockerfile(path) => placement.run_dockerfile(call, spec, &path, session).await?,
    };
    if let Some(summary) = summary {
        summary.write(context, session, exit_code).await;
    }
    Ok(exit_code)
}

/// The step with its arguments as they were before the runner cut them.
async fn with_whole_args(
    context: &Context,
    mut spec: ContainerStep,
) -> Result<ContainerStep, Failure> {
    let roots = context.config.context_roots();
    let work_dir = context.config.work_dir.clone();
    blocking::run(blocking::DEADLINE, "Reading the action's definition", move || {
        spec.args = action_args::whole(&spec, &work_dir, &roots);
        spec.pieces = Vec::new();
        spec
    })
    .await
}
