//! Where the containers of a job run: in pods of their own, or beside the runner in its pod. The hooks
//! do not know which. `docs/placement.md` compares the two.

use std::path::Path;

use futures::future::BoxFuture;
use hookd_api::v1::{JobPrepared, ServiceLog};

use crate::build::spec::BuildSpec;
use crate::build::{self, trust};
use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::objects::container::ContainerStep;
use crate::objects::job_pod::JobSpec;
use crate::session::cursor::Cursor;
use crate::session::events::Session;
use crate::session::state::Event;
use crate::session::steps::Attached;
use crate::stepd::calls;

pub mod error;
mod lost_agent;
pub mod own_pod;
pub mod runner_pod;
mod service_logs;

use own_pod::OwnPod;
use own_pod::service_network;
use runner_pod::RunnerPod;
use runner_pod::record::Record;

/// A hook's call for one step.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// What all operations share.
    pub context: &'a Context,
    /// The step.
    pub step: &'a StepId,
}

/// What a placement had at the end of a job.
#[derive(Debug, Default)]
pub struct CleanedUp {
    /// Objects that were deleted, or containers that were ended.
    pub deleted: usize,
    /// The end of each service's log.
    pub service_logs: Vec<ServiceLog>,
}

/// Where the containers of a job run.
///
/// Everything can be done again: a call that is repeated finds what the first has made.
pub trait Placement: Send + Sync {
    /// Starts the containers of a job and waits until all are ready.
    fn start_job<'a>(
        &'a self,
        call: Call<'a>,
        spec: &'a JobSpec,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<JobPrepared, Failure>>;

    /// Ends what `start_job` of this step has started.
    fn end_job<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, ()>;

    /// Runs an image as a container step; its exit code.
    fn run_image<'a>(
        &'a self,
        call: Call<'a>,
        spec: ContainerStep,
        image: String,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<i32, Failure>>;

    /// Builds a Dockerfile's image and runs it as a container step; its exit code.
    fn run_dockerfile<'a>(
        &'a self,
        call: Call<'a>,
        spec: ContainerStep,
        dockerfile: &'a Path,
        session: &'a mut Session,
    ) -> BoxFuture<'a, Result<i32, Failure>>;

    /// Ends and deletes what `run_image` of this step has started, and the Jobs of its builds, as far as
    /// its cursor shows; all that it can have made if there is none.
    fn end_step<'a>(&'a self, call: Call<'a>, cursor: Option<&'a Cursor>) -> BoxFuture<'a, ()>;

    /// Ends and deletes a step of any kind and of any client. True if something of it was there.
    fn cancel_step<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<bool, Failure>>;

    /// Ends the steps that an earlier hookd process has left and whose clients did not come back.
    fn end_orphans<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, ()>;

    /// Ends everything of the runner's job.
    fn clean_up<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<CleanedUp, Failure>>;
}

/// The placement of this runner's jobs.
///
/// # Errors
/// As [`Context::cluster_info`].
pub async fn of(context: &Context) -> Result<&'static dyn Placement, Failure> {
    context.cluster_info().await.map(|_| known(context))
}

/// As [`of`], from what is known already: of the runner, or else of its job.
pub fn known(context: &Context) -> &'static dyn Placement {
    let in_runner_pod = match context.cached_cluster_info() {
        Some(known) => known.runner.job_volumes.is_some(),
        None => Record::load(&context.config.socket_dir).has_job(),
    };
    if !in_runner_pod {
        return &OwnPod;
    }
    context.agents.stay_in(&context.config.pod_name);
    &RunnerPod
}

/// Takes up the job of a daemon before this one, if there is one, when the daemon starts: its steps may
/// need the agent and the ports of the services at any moment, whether a hook is called or not.
pub async fn restore(context: &Context) {
    let record = Record::load(&context.config.socket_dir);
    if record.has_job() {
        runner_pod::restore(context, &record).await;
    } else {
        service_network::restore_at_start(context).await;
    }
}

/// Builds a Dockerfile's image in a Job, which pushes it to the registry, and runs it from there.
async fn run_pushed(
    placement: &dyn Placement,
    call: Call<'_>,
    spec: ContainerStep,
    dockerfile: &Path,
    session: &mut Session,
) -> Result<i32, Failure> {
    let mut environment = call.context.build_environment().await?;
    environment.is_trusted = trust::is_trusted(&spec.event, environment.runner);
    let image = BuildSpec::of(dockerfile);
    // Boxed: it is large, and most steps build nothing.
    let built = Box::pin(build::build(&environment, call.step, &image, session)).await?;
    placement.run_image(call, spec, built.reference, session).await
}

/// A step that this daemon knows nothing of; a client that comes for it from now on comes too late.
fn orphan(context: &Context, step: &str) -> Option<(StepId, Attached)> {
    let id = step.parse().ok()?;
    let undoing = context.sessions.steps.cancel_orphan(&id)?;
    Some((id, undoing))
}

/// Ends the steps in the job container whose hook did not come back.
async fn end_script_orphans(context: &Context) {
    for step in calls::known(&context.agents).await {
        let Some((id, undoing)) = orphan(context, &step) else { continue };
        tracing::info!(step, "client did not reconnect in time; ending the step");
        if calls::cancel(&context.agents, &id).await {
            undoing.on(Event::Undone);
        }
    }
}
