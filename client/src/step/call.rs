//! hookd's streaming calls, as one kind of thing: what is sent first, what comes back.

use std::future::Future;

use futures::Stream;
use hookd_api::v1::{
    Ack, ContainerSpec, JobPrepared, Output, PrepareJobRequest, PrepareJobResponse,
    PrepareJobStart, Progress, Resume, RunContainerStepRequest, RunContainerStepResponse,
    RunContainerStepStart, RunScriptStepRequest, RunScriptStepResponse, RunScriptStepStart,
    ScriptSpec, Signal, StepResult, prepare_job_request, prepare_job_response,
    run_container_step_request, run_container_step_response, run_script_step_request,
    run_script_step_response,
};
use tonic::{Response, Status, Streaming};

use crate::connect::Client;

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
    fn news(news: News) -> Self::Request;
    /// The cursor and the event of a message; `None`: an event of a later hookd.
    fn event(response: Self::Response) -> (Vec<u8>, Option<Event<Self::Result>>);
    /// Makes the call.
    fn open(
        client: &mut Client,
        requests: impl Stream<Item = Self::Request> + Send + 'static,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Response>>, Status>> + Send;
}

/// What hook tells hookd after the first message.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// What was acted on.
    Ack(Ack),
    /// The runner's signal.
    Signal(Signal),
}

/// What hookd tells hook.
#[derive(Debug, PartialEq)]
pub(crate) enum Event<R> {
    /// Bytes of output.
    Output(Output),
    /// A note.
    Progress(Progress),
    /// The end.
    Result(R),
}

/// The container of a run_container_step.
#[derive(Clone, Debug)]
pub(crate) struct ContainerStep(pub(crate) ContainerSpec);

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
}

/// The calls differ in their messages only, which are alike but for their names.
macro_rules! call {
    ($call:ty, $method:ident, $request:ident, $response:ident, $request_mod:ident,
     $response_mod:ident, $result:ty, |$this:ident, $step_id:ident, $resume:ident| $start:expr) => {
        impl Call for $call {
            type Request = $request;
            type Response = $response;
            type Result = $result;

            fn start(&self, $step_id: String, $resume: Option<Resume>) -> $request {
                let $this = self.clone();
                $request { message: Some($request_mod::Message::Start($start)) }
            }

            fn news(news: News) -> $request {
                let message = match news {
                    News::Ack(ack) => $request_mod::Message::Ack(ack),
                    News::Signal(signal) => $request_mod::Message::Signal(signal),
                };
                $request { message: Some(message) }
            }

            fn event(response: $response) -> (Vec<u8>, Option<Event<$result>>) {
                let event = response.event.map(|event| match event {
                    $response_mod::Event::Output(output) => Event::Output(output),
                    $response_mod::Event::Progress(progress) => Event::Progress(progress),
                    $response_mod::Event::Result(result) => Event::Result(result),
                });
                (response.cursor, event)
            }

            async fn open(
                client: &mut Client,
                requests: impl Stream<Item = $request> + Send + 'static,
            ) -> Result<Response<Streaming<$response>>, Status> {
                client.$method(requests).await
            }
        }
    };
}

call!(
    ContainerStep,
    run_container_step,
    RunContainerStepRequest,
    RunContainerStepResponse,
    run_container_step_request,
    run_container_step_response,
    StepResult,
    |this, step_id, resume| RunContainerStepStart {
        step_id,
        container: Some(this.0),
        resume,
        auto_ack: false
    }
);
call!(
    ScriptStep,
    run_script_step,
    RunScriptStepRequest,
    RunScriptStepResponse,
    run_script_step_request,
    run_script_step_response,
    StepResult,
    |this, step_id, resume| RunScriptStepStart {
        step_id,
        script: Some(this.0),
        resume,
        auto_ack: false
    }
);
call!(
    Preparation,
    prepare_job,
    PrepareJobRequest,
    PrepareJobResponse,
    prepare_job_request,
    prepare_job_response,
    JobPrepared,
    |this, step_id, resume| PrepareJobStart {
        step_id,
        container: this.container,
        services: this.services,
        resume,
        auto_ack: false,
    }
);
