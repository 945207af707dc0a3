//! `run_container_step`: builds the image if need be, runs it as a Job, and returns its exit code.
//!
//! Where the image's own program is known, stepd starts the step in the Job's pod: then its
//! environment is nowhere in the cluster, its two streams stay apart, and its end is known at once.
//! Elsewhere the kubelet starts it, with the environment from a Secret, and its log is followed.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hookd_api::stepd::v1::StartStepRequest;
use hookd_api::v1::{Phase, Stream};
use kube::ResourceExt;

use crate::blocking;
use crate::build;
use crate::cluster::logs::LogPosition;
use crate::cluster::watch::PodWatch;
use crate::cluster::{ContainerRef, pod};
use crate::error::Failure;
use crate::hooks::context::Context;
use crate::hooks::error::HookError;
use crate::hooks::{action_args, deletion};
use crate::ids::StepId;
use crate::names;
use crate::objects::container::{ContainerStep, Source};
use crate::registry::image_config::ImageConfig;
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::session::operation::Operation;
use crate::stepd::program::{self, Program};
use crate::workload::ended_services;
use crate::workload::output::{self, Place};
use crate::workload::start::{self, Awaited, started};

mod job;

use job::Made;

/// The program's log: the kubelet keeps its two streams as one.
const LOG: Place<'static> = Place { stream: Stream::Stdout, position: log_position, shown: None };

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

    async fn run(&mut self, session: &mut Session) -> Result<i32, Failure> {
        // Its environment may be large: it is moved, not copied.
        run(&self.context, &self.step, std::mem::take(&mut self.spec), session).await
    }

    fn roll_back(&self, cursor: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let (context, step) = (self.context.clone(), self.step.clone());
        let cursor = cursor.cloned();
        async move { deletion::delete_jobs(&context, &step, cursor.as_ref()).await }.boxed()
    }

    async fn finish(&self, cursor: &Cursor) {
        deletion::delete_jobs(&self.context, &self.step, Some(cursor)).await;
    }
}

async fn run(
    context: &Context,
    step: &StepId,
    spec: ContainerStep,
    session: &mut Session,
) -> Result<i32, Failure> {
    spec.options.check(names::STEP_CONTAINER, &context.config.policy)?;
    context.cluster_info().await?;
    ended_services::report(&context.agents, session).await?;
    let spec = with_whole_args(context, spec).await?;
    let image = match &spec.source {
        Source::Image(image) => image.clone(),
        Source::Dockerfile(path) => {
            let env = context.build_environment().await?;
            // Boxed: it is large, and most steps build nothing.
            Box::pin(build::build(&env, step, path, session)).await?.reference
        }
    };
    let Made { job, agent_launch } = job::ensure(context, step, &spec, &image, session).await?;
    session.settled();
    let mut watch = PodWatch::for_job(context.cluster.pods(), &job.name_any());
    let awaited =
        Awaited { job: Some(&job), container: names::STEP_CONTAINER, phase: Phase::RunPending };
    let name = started(&context.cluster, &mut watch, awaited, session).await?.name_any();
    if let Some(config) = agent_launch {
        let before = session.cursor.run.as_ref().map(|run| run.before).unwrap_or_default();
        let pod = context.agents.for_pod(&name, names::STEP_CONTAINER, watch);
        let start = program_of(step, spec, &config).ok_or(HookError::ProgramUnknown { image })?;
        return match program::run(&pod, Program { start: &start, before }, session).await {
            Err(failure) => Err(start::loss(&context.cluster, &job, failure).await),
            ended => ended,
        };
    }
    let target = ContainerRef { pod: &name, container: names::STEP_CONTAINER };
    let ended = output::stream(&context.cluster, &mut watch, &job, target, LOG, session).await?;
    if ended.reason == pod::OOM_KILLED {
        let message = pod::oom_note(watch.now().pod(), names::STEP_CONTAINER);
        session.progress(Phase::RunRunning, message).await?;
    }
    Ok(ended.exit_code)
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

fn log_position(cursor: &mut Cursor) -> Option<&mut LogPosition> {
    cursor.run.as_mut().map(|run| &mut run.log)
}

/// What stepd starts; none if the image has no program.
fn program_of(
    step: &StepId,
    spec: ContainerStep,
    config: &ImageConfig,
) -> Option<StartStepRequest> {
    let argv = config.command(spec.entry_point.as_deref(), &spec.args)?;
    Some(StartStepRequest {
        step_id: step.to_string(),
        argv,
        environment: spec.environment.into_iter().collect(),
        working_directory: spec.working_directory.unwrap_or_default(),
        prepend_path: Vec::new(),
    })
}
