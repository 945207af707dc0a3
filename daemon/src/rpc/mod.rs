//! The service: each call is peer (checked at accept), span, conversion, operation, status.

use std::sync::Arc;

use hookd_api::v1;
use hookd_api::v1::hook_service_server::HookService;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

use crate::cluster::access;
use crate::context::Context;
use crate::error::{CommonError, Failure};
use crate::hooks::build_image::BuildImage;
use crate::hooks::prepare_job::PrepareJob;
use crate::hooks::run_container_step::RunContainerStep;
use crate::hooks::run_script_step::RunScriptStep;
use crate::hooks::{cancel_step, cleanup_job};
use crate::ids::StepId;
use crate::metrics::{Call, Outcome, metrics};
use crate::traces::Called;

pub mod client;
mod connection;
mod convert;
pub mod error;
#[cfg(test)]
mod error_list;
mod limits;
pub mod listener;
mod origin;
pub mod status;
mod weigh;

use convert::Responses;
use limits::Limits;
pub use limits::server;

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

    /// Gives a call that belongs to no step's program its place in the job's trace.
    fn trace(&self, call: Call, step: Option<&StepId>, job: Option<&v1::JobContext>, span: &Span) {
        let step = step.map(StepId::as_str);
        let called = Called { call, step, job, parent: None, began: None };
        if let Some(trace) = self.context.traces.call(&called) {
            trace.attach(span);
        }
    }

    /// Does the work in a task of its own: it goes on when its client does not wait for it.
    async fn in_own_task<T: Send + 'static>(
        &self,
        call: Call,
        span: Span,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Status> {
        let counted = metrics().begin(call);
        let work = async move {
            let done = work.await;
            let ended = if done.is_ok() { Outcome::Succeeded } else { Outcome::HookdFailed };
            counted.ended(ended, done.as_ref().err().map(|failure: &Failure| failure.reason));
            done
        };
        let done = self.context.sessions.tasks.spawn(work.instrument(span.clone())).await;
        let done =
            done.unwrap_or_else(|error| Err(CommonError::defect("The call failed", error).into()));
        done.map_err(|failure| span.in_scope(|| status::of(&failure)))
    }
}

#[tonic::async_trait]
impl HookService for Service {
    type PrepareJobStream = Responses<v1::PrepareJobResponse>;
    type RunScriptStepStream = Responses<v1::RunScriptStepResponse>;
    type RunContainerStepStream = Responses<v1::RunContainerStepResponse>;
    type BuildImageStream = Responses<v1::BuildImageResponse>;

    async fn prepare_job(
        &self,
        request: Request<Streaming<v1::PrepareJobRequest>>,
    ) -> Result<Response<Self::PrepareJobStream>, Status> {
        let mut inbound = request.into_inner();
        let read = |first| convert::prepare_start(first, &self.context.traces);
        let (call, input) = self.limits.first(&mut inbound, read).await?;
        let (controls, span) = (convert::controls(inbound), call.start.span.clone());
        let operation = PrepareJob::new(self.context.clone(), call.start.step.clone(), call.spec);
        let messages = self.context.sessions.drive(call.start, controls, operation, input);
        Ok(Response::new(convert::responses(messages, span, convert::prepare_response)))
    }

    async fn run_script_step(
        &self,
        request: Request<Streaming<v1::RunScriptStepRequest>>,
    ) -> Result<Response<Self::RunScriptStepStream>, Status> {
        let mut inbound = request.into_inner();
        let read = |first| convert::script_start(first, &self.context.traces);
        let (call, input) = self.limits.first(&mut inbound, read).await?;
        let (controls, span) = (convert::controls(inbound), call.start.span.clone());
        let operation =
            RunScriptStep::new(self.context.clone(), call.start.step.clone(), call.spec);
        let messages = self.context.sessions.drive(call.start, controls, operation, input);
        Ok(Response::new(convert::responses(messages, span, convert::script_response)))
    }

    async fn run_container_step(
        &self,
        request: Request<Streaming<v1::RunContainerStepRequest>>,
    ) -> Result<Response<Self::RunContainerStepStream>, Status> {
        let mut inbound = request.into_inner();
        let read = |first| convert::run_start(first, &self.context.traces);
        let (call, input) = self.limits.first(&mut inbound, read).await?;
        let (controls, span) = (convert::controls(inbound), call.start.span.clone());
        let step = call.start.step.clone();
        let operation = RunContainerStep::new(self.context.clone(), step, call.spec);
        let messages = self.context.sessions.drive(call.start, controls, operation, input);
        Ok(Response::new(convert::responses(messages, span, convert::run_response)))
    }

    async fn build_image(
        &self,
        request: Request<Streaming<v1::BuildImageRequest>>,
    ) -> Result<Response<Self::BuildImageStream>, Status> {
        let mut inbound = request.into_inner();
        let read = |first| convert::build_start(first, &self.context.traces);
        let (call, input) = self.limits.first(&mut inbound, read).await?;
        let (controls, span) = (convert::controls(inbound), call.start.span.clone());
        let operation = BuildImage::new(self.context.clone(), call.start.step.clone(), call.spec);
        let messages = self.context.sessions.drive(call.start, controls, operation, input);
        Ok(Response::new(convert::responses(messages, span, convert::build_response)))
    }

    async fn cancel_step(
        &self,
        request: Request<v1::CancelStepRequest>,
    ) -> Result<Response<v1::CancelStepResponse>, Status> {
        let step = convert::step_id(&request.into_inner().step_id)?;
        let context = self.context.clone();
        let span = origin::span(Some(step.as_str()), None);
        self.trace(Call::CancelStep, Some(&step), None, &span);
        let cancel = async move { cancel_step::cancel(&context, &step).await };
        let found = self.in_own_task(Call::CancelStep, span, cancel).await?;
        Ok(Response::new(v1::CancelStepResponse { found }))
    }

    async fn cleanup_job(
        &self,
        request: Request<v1::CleanupJobRequest>,
    ) -> Result<Response<v1::CleanupJobResponse>, Status> {
        let context = self.context.clone();
        let job = request.into_inner().job;
        let span = origin::span(None, job.as_ref());
        self.trace(Call::CleanupJob, None, job.as_ref(), &span);
        let clean = async move { cleanup_job::cleanup(&context).await };
        let cleaned = self.in_own_task(Call::CleanupJob, span, clean).await?;
        Ok(Response::new(cleaned))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let context = &self.context;
        let known = context.cached_cluster_info();
        Ok(Response::new(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_version: known.map(|known| known.cluster_version.clone()).unwrap_or_default(),
            namespace: context.cluster.namespace.clone(),
            runner_pod: context.config.pod_name.clone(),
            missing_permissions: context.missing().iter().map(access::describe).collect(),
            running_steps: context.sessions.steps.ids(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
        }))
    }
}
