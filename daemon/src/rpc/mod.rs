//! The service: each call is peer (checked at accept), span, conversion, operation, status.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use hookd_api::v1;
use hookd_api::v1::hook_service_server::HookService;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::access;
use crate::hooks::{
    Context, Leaves, build_image, cleanup_job, prepare_job, run_container_step, run_script_step,
};
use crate::ids::StepId;
use crate::step::lifecycle::Event;

mod attend;
mod connection;
mod convert;
mod limits;
pub mod listener;
pub mod status;
mod weigh;

use limits::Limits;
pub use limits::{LARGEST_CALL, server};

/// hookd.v1 over gRPC.
#[derive(Clone)]
pub struct Service {
    context: Arc<Context>,
    limits: Limits,
}

impl Service {
    /// The service of this context.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, limits: Limits::default() }
    }
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HookService for Service {
    type PrepareJobStream = Events<v1::PrepareJobResponse>;
    type RunScriptStepStream = Events<v1::RunScriptStepResponse>;
    type RunContainerStepStream = Events<v1::RunContainerStepResponse>;
    type BuildImageStream = Events<v1::BuildImageResponse>;

    async fn prepare_job(
        &self,
        request: Request<Streaming<v1::PrepareJobRequest>>,
    ) -> Result<Response<Self::PrepareJobStream>, Status> {
        let mut inbound = request.into_inner();
        let (start, share) = self.limits.first(&mut inbound, convert::prepare_start).await?;
        let spec = start.body;
        let controls = convert::controls(inbound, convert::prepare_control);
        let who = (self.context.clone(), (start.session, share), Leaves::JobPod);
        let events = attend::attend(who, controls, move |context, step, caller| {
            Box::pin(async move { prepare_job::prepare(context, step, &spec, caller).await })
        })?;
        Ok(Response::new(convert::prepare_events(events)))
    }

    async fn run_script_step(
        &self,
        request: Request<Streaming<v1::RunScriptStepRequest>>,
    ) -> Result<Response<Self::RunScriptStepStream>, Status> {
        let mut inbound = request.into_inner();
        let (start, share) = self.limits.first(&mut inbound, convert::script_start).await?;
        let spec = start.body;
        let controls = convert::controls(inbound, convert::script_control);
        let who = (self.context.clone(), (start.session, share), Leaves::Step);
        let events = attend::attend(who, controls, move |context, step, caller| {
            Box::pin(async move { run_script_step::run(context, step, spec, caller).await })
        })?;
        Ok(Response::new(convert::script_events(events)))
    }

    async fn run_container_step(
        &self,
        request: Request<Streaming<v1::RunContainerStepRequest>>,
    ) -> Result<Response<Self::RunContainerStepStream>, Status> {
        let mut inbound = request.into_inner();
        let (start, share) = self.limits.first(&mut inbound, convert::run_start).await?;
        let spec = start.body;
        let controls = convert::controls(inbound, convert::run_control);
        let who = (self.context.clone(), (start.session, share), Leaves::Jobs);
        let events = attend::attend(who, controls, move |context, step, caller| {
            Box::pin(async move { run_container_step::run(context, step, spec, caller).await })
        })?;
        Ok(Response::new(convert::run_events(events)))
    }

    async fn build_image(
        &self,
        request: Request<Streaming<v1::BuildImageRequest>>,
    ) -> Result<Response<Self::BuildImageStream>, Status> {
        let mut inbound = request.into_inner();
        let (start, share) = self.limits.first(&mut inbound, convert::build_start).await?;
        let dockerfile = start.body;
        let controls = convert::controls(inbound, convert::build_control);
        let who = (self.context.clone(), (start.session, share), Leaves::Jobs);
        let events = attend::attend(who, controls, move |context, step, caller| {
            Box::pin(async move { build_image::build(context, step, &dockerfile, caller).await })
        })?;
        Ok(Response::new(convert::build_events(events)))
    }

    async fn cancel_step(
        &self,
        request: Request<v1::CancelStepRequest>,
    ) -> Result<Response<v1::CancelStepResponse>, Status> {
        let step: StepId = convert::step_id(&request.into_inner().step_id)?;
        let unattended = self.context.steps.cancel(&step);
        let context = self.context.clone();
        // In a task of its own: it goes on when the caller does not wait for it.
        let undo = self.context.tasks.spawn(async move {
            let found = cleanup_job::cancel_step(&context, &step).await;
            let attended = unattended.is_none();
            if let (Some(undoing), Ok(_)) = (unattended, &found) {
                undoing.on(Event::Undone);
            }
            found.map(|found| found || attended)
        });
        let found = undo.await.map_err(|error| Status::internal(error.to_string()))?;
        let found = found.map_err(|failure| status::of(&failure))?;
        Ok(Response::new(v1::CancelStepResponse { found }))
    }

    async fn cleanup_job(
        &self,
        _: Request<v1::CleanupJobRequest>,
    ) -> Result<Response<v1::CleanupJobResponse>, Status> {
        self.context.steps.cancel_all();
        let context = self.context.clone();
        // In a task of its own: it goes on when the caller does not wait for it.
        let cleanup = self.context.tasks.spawn(async move { cleanup_job::cleanup(&context).await });
        let cleaned = cleanup.await.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(cleaned.map_err(|failure| status::of(&failure))?))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let context = &self.context;
        let known = context.known_so_far();
        Ok(Response::new(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_version: known.map(|known| known.cluster_version.clone()).unwrap_or_default(),
            namespace: context.namespace.clone(),
            runner_pod: context.config.pod_name.clone(),
            missing_permissions: context.missing().iter().map(access::describe).collect(),
            running_steps: context.steps.ids(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
        }))
    }
}
