//! hookd's streaming calls, as one kind of thing: what is sent first, what comes back.

use std::future::Future;

use futures::Stream;
use hookd_api::v1::{
    ContainerSpec, Control, JobPrepared, Output, PrepareJobRequest, PrepareJobResponse,
    PrepareJobStart, Progress, Resume, RunContainerStepRequest, RunContainerStepResponse,
    RunContainerStepStart, RunScriptStepRequest, RunScriptStepResponse, RunScriptStepStart,
    ScriptSpec, StepEvent, StepResult, prepare_job_request, prepare_job_response,
    run_container_step_request, run_container_step_response, run_script_step_request,
    run_script_step_response, step_event,
};
use tonic::{Response, Status, Streaming};

use crate::connect::Client;
use crate::job;

/// A streaming call: what to run, and the messages that carry it.
pub(crate) trait Call: Clone + Send + 'static {
    /// A message to hookd.
    type Request: Send + 'static;
    /// A message of hookd.
    type Response: Send;
    /// What the call is for.
    type Result;

    /// The first message.
    fn start(&self, step_id: String, resume: Option<Resume>) -> Self::Request;
    /// A later message.
    fn control(control: Control) -> Self::Request;
    /// The event of a message of hookd, and its cursor.
    fn event(response: Self::Response) -> Positioned<Self::Result>;
    /// Makes the call.
    fn open(
        client: &mut Client,
        requests: impl Stream<Item = Self::Request> + Send + 'static,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Response>>, Status>> + Send;
}

/// What hookd sends to hook.
#[derive(Debug, PartialEq)]
pub(crate) enum Event<R> {
    /// Bytes of output.
    Output(Output),
    /// A note.
    Progress(Progress),
    /// The end.
    Result(R),
}

/// An event, and where in the step it stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Positioned<R> {
    /// hookd goes on after the event whose cursor it gets back.
    pub(crate) cursor: Vec<u8>,
    /// `None`: an event of a later hookd.
    pub(crate) event: Option<Event<R>>,
}

/// The container of a run_container_step.
#[derive(Clone, Debug)]
pub(crate) struct ContainerStep {
    /// What runs.
    pub(crate) container: ContainerSpec,
    /// The workflow's event.
    pub(crate) event: String,
}

/// The program of a run_script_step.
#[derive(Clone, Debug)]
pub(crate) struct ScriptStep(pub(crate) ScriptSpec);

/// The containers of a prepare_job.
#[derive(Clone, Debug)]
pub(crate) struct Preparation {
    /// The job container, if the job has one.
    pub(crate) container: Option<ContainerSpec>,
    /// The services.
    pub(crate) services: Vec<ContainerSpec>,
    /// The workflow's event.
    pub(crate) event: String,
}

/// An event that is no result; `None`: one of a later hookd.
fn event<R>(event: StepEvent) -> Positioned<R> {
    let kind = event.kind.map(|kind| match kind {
        step_event::Kind::Output(output) => Event::Output(output),
        step_event::Kind::Progress(progress) => Event::Progress(progress),
    });
    Positioned { cursor: event.cursor, event: kind }
}

fn result<R>(result: R) -> Positioned<R> {
    Positioned { cursor: Vec::new(), event: Some(Event::Result(result)) }
}

impl Call for ContainerStep {
    type Request = RunContainerStepRequest;
    type Response = RunContainerStepResponse;
    type Result = StepResult;

    fn start(&self, step_id: String, resume: Option<Resume>) -> Self::Request {
        use run_container_step_request::Message;
        let (container, event) = (Some(self.container.clone()), self.event.clone());
        let job = Some(job::of_environment());
        let auto_ack = false;
        let start = RunContainerStepStart { step_id, container, resume, auto_ack, event, job };
        RunContainerStepRequest { message: Some(Message::Start(start)) }
    }

    fn control(control: Control) -> Self::Request {
        use run_container_step_request::Message;
        RunContainerStepRequest { message: Some(Message::Control(control)) }
    }

    fn event(response: Self::Response) -> Positioned<StepResult> {
        use run_container_step_response::Message;
        match response.message {
            Some(Message::Event(arrived)) => event(arrived),
            Some(Message::Result(ended)) => result(ended),
            None => Positioned { cursor: Vec::new(), event: None },
        }
    }

    async fn open(
        client: &mut Client,
        requests: impl Stream<Item = Self::Request> + Send + 'static,
    ) -> Result<Response<Streaming<Self::Response>>, Status> {
        client.run_container_step(requests).await
    }
}

impl Call for ScriptStep {
    type Request = RunScriptStepRequest;
    type Response = RunScriptStepResponse;
    type Result = StepResult;

    fn start(&self, step_id: String, resume: Option<Resume>) -> Self::Request {
        use run_script_step_request::Message;
        let script = Some(self.0.clone());
        let job = Some(job::of_environment());
        let start = RunScriptStepStart { step_id, script, resume, auto_ack: false, job };
        RunScriptStepRequest { message: Some(Message::Start(start)) }
    }

    fn control(control: Control) -> Self::Request {
        use run_script_step_request::Message;
        RunScriptStepRequest { message: Some(Message::Control(control)) }
    }

    fn event(response: Self::Response) -> Positioned<StepResult> {
        use run_script_step_response::Message;
        match response.message {
            Some(Message::Event(arrived)) => event(arrived),
            Some(Message::Result(ended)) => result(ended),
            None => Positioned { cursor: Vec::new(), event: None },
        }
    }

    async fn open(
        client: &mut Client,
        requests: impl Stream<Item = Self::Request> + Send + 'static,
    ) -> Result<Response<Streaming<Self::Response>>, Status> {
        client.run_script_step(requests).await
    }
}

impl Call for Preparation {
    type Request = PrepareJobRequest;
    type Response = PrepareJobResponse;
    type Result = JobPrepared;

    fn start(&self, step_id: String, resume: Option<Resume>) -> Self::Request {
        use prepare_job_request::Message;
        let Self { container, services, event } = self.clone();
        let (job, auto_ack) = (Some(job::of_environment()), false);
        let start = PrepareJobStart { step_id, container, services, resume, auto_ack, job, event };
        PrepareJobRequest { message: Some(Message::Start(start)) }
    }

    fn control(control: Control) -> Self::Request {
        use prepare_job_request::Message;
        PrepareJobRequest { message: Some(Message::Control(control)) }
    }

    fn event(response: Self::Response) -> Positioned<JobPrepared> {
        use prepare_job_response::Message;
        match response.message {
            Some(Message::Event(arrived)) => event(arrived),
            Some(Message::Result(ended)) => result(ended),
            None => Positioned { cursor: Vec::new(), event: None },
        }
    }

    async fn open(
        client: &mut Client,
        requests: impl Stream<Item = Self::Request> + Send + 'static,
    ) -> Result<Response<Streaming<Self::Response>>, Status> {
        client.prepare_job(requests).await
    }
}
