//! A hookd that does what the test says.
//!
//! It runs in a runtime of its own, so that it can die as a process does: all its connections at
//! once, in the middle of anything.

use std::path::Path;
use std::pin::Pin;
use std::thread::JoinHandle;

use hookd_api::v1::control::Kind as Control;
use hookd_api::v1::hook_service_server::{HookService, HookServiceServer};
use hookd_api::v1::run_container_step_request::Message;
use hookd_api::v1::run_container_step_response::Message as Answer;
use hookd_api::v1::step_event::Kind;
use hookd_api::v1::{
    Ack, BuildImageRequest, BuildImageResponse, CancelStepRequest, CancelStepResponse,
    CleanupJobRequest, CleanupJobResponse, GetStatusRequest, GetStatusResponse, Output,
    PrepareJobRequest, PrepareJobResponse, PrepareJobStart, Progress, RunContainerStepRequest,
    RunContainerStepResponse, RunContainerStepStart, RunScriptStepRequest, RunScriptStepResponse,
    RunScriptStepStart, StepEvent, StepResult, Stream, prepare_job_request,
    run_script_step_request,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::within;

/// The stand-in for hookd.
pub(crate) struct FakeHookd {
    calls: mpsc::UnboundedReceiver<Call>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A call of hook.
pub(crate) enum Call {
    /// RunContainerStep.
    Step(Box<StepCall>),
    /// CancelStep with the id of the step.
    Cancel(String, oneshot::Sender<Result<CancelStepResponse, Status>>),
    /// PrepareJob with its start, and where its events go.
    Prepare(Box<PrepareJobStart>, mpsc::Sender<Result<PrepareJobResponse, Status>>),
    /// RunScriptStep with its start, and where its events go.
    Script(Box<RunScriptStepStart>, mpsc::Sender<Result<RunScriptStepResponse, Status>>),
    /// CleanupJob.
    Cleanup(oneshot::Sender<Result<CleanupJobResponse, Status>>),
}

/// A RunContainerStep call; dropping it ends its stream.
pub(crate) struct StepCall {
    /// The first message.
    pub(crate) start: RunContainerStepStart,
    requests: Streaming<RunContainerStepRequest>,
    /// `None`: the stream has ended.
    events: Option<mpsc::Sender<Result<RunContainerStepResponse, Status>>>,
    written: [u64; 2],
    cursor: u64,
}

/// The service: hands every call to the test.
struct Service(mpsc::UnboundedSender<Call>);

impl FakeHookd {
    /// Starts to listen on `socket`, in place of one that may have died there.
    pub(crate) async fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let (sender, calls) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, listening) = oneshot::channel();
        let socket = socket.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
                ready.send(()).unwrap();
                let serve = tonic::transport::Server::builder()
                    .add_service(HookServiceServer::new(Service(sender)))
                    .serve_with_incoming(listener);
                tokio::select! {
                    served = serve => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        listening.await.unwrap();
        Self { calls, stop: Some(stop), thread: Some(thread) }
    }

    /// The next call of any kind.
    pub(crate) async fn call(&mut self) -> Call {
        within("a call", self.calls.recv()).await.unwrap()
    }

    /// The next call, which must be a step.
    pub(crate) async fn step(&mut self) -> StepCall {
        match self.call().await {
            Call::Step(step) => *step,
            _ => panic!("not RunContainerStep"),
        }
    }

    /// The next call, which must be a clean-up.
    pub(crate) async fn cleanup(&mut self) -> oneshot::Sender<Result<CleanupJobResponse, Status>> {
        match self.call().await {
            Call::Cleanup(answer) => answer,
            _ => panic!("not CleanupJob"),
        }
    }

    /// Dies: connections break as if the process were killed.
    pub(crate) fn die(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FakeHookd {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

impl StepCall {
    /// Sends output at the position that follows what was sent.
    pub(crate) async fn output(&mut self, stream: Stream, data: &[u8]) {
        let written = &mut self.written[usize::from(stream == Stream::Stderr)];
        let offset = *written;
        *written += data.len() as u64;
        self.output_at(stream, offset, data).await;
    }

    /// Sends standard output.
    pub(crate) async fn stdout(&mut self, data: impl AsRef<[u8]>) {
        self.output(Stream::Stdout, data.as_ref()).await;
    }

    /// Sends standard error.
    pub(crate) async fn stderr(&mut self, data: impl AsRef<[u8]>) {
        self.output(Stream::Stderr, data.as_ref()).await;
    }

    /// Sends output at any position.
    pub(crate) async fn output_at(&mut self, stream: Stream, offset: u64, data: &[u8]) {
        let output = Output { stream: stream.into(), offset, data: data.to_vec() };
        self.event(Kind::Output(output)).await;
    }

    /// Sends a progress message.
    pub(crate) async fn progress(&mut self, message: &str) {
        let message = message.to_owned();
        self.event(Kind::Progress(Progress { message, ..Progress::default() })).await;
    }

    /// Sends the result.
    pub(crate) async fn result(&mut self, exit_code: i32) {
        let result = Answer::Result(StepResult { exit_code });
        within("room for a result", self.send(result)).await;
    }

    /// Ends the stream with an error.
    pub(crate) async fn fail(&mut self, status: Status) {
        let events = self.events.as_ref().unwrap();
        within("room for an error", events.send(Err(status))).await.unwrap();
    }

    /// Ends the stream, and goes on reading hook's side.
    pub(crate) fn end(&mut self) {
        self.events = None;
    }

    /// Sends an event under the next cursor.
    pub(crate) async fn event(&mut self, event: Kind) {
        within("room for an event", self.try_event(event)).await;
    }

    /// Sends an event under the next cursor, however long it takes to get there.
    pub(crate) async fn try_event(&mut self, event: Kind) {
        self.cursor += 1;
        let cursor = format!("cursor {}", self.cursor).into_bytes();
        self.send(Answer::Event(StepEvent { cursor, kind: Some(event) })).await;
    }

    async fn send(&self, message: Answer) {
        let message = RunContainerStepResponse { message: Some(message) };
        self.events.as_ref().unwrap().send(Ok(message)).await.unwrap();
    }

    /// What hook says next; `None`: it has ended its side in order.
    pub(crate) async fn request(&mut self) -> Option<Control> {
        let request = within("a request", self.requests.message()).await;
        request.unwrap().map(|request| match request.message.unwrap() {
            Message::Control(control) => control.kind.unwrap(),
            Message::Start(start) => panic!("a second start: {start:?}"),
        })
    }

    /// Reads acknowledgements up to one that `wanted` accepts.
    pub(crate) async fn ack(&mut self, wanted: impl Fn(&Ack) -> bool) -> Ack {
        loop {
            match self.request().await {
                Some(Control::Ack(ack)) if wanted(&ack) => return ack,
                Some(Control::Ack(_)) => {}
                other => panic!("not an Ack: {other:?}"),
            }
        }
    }

    /// Sends the result and reads everything up to the end of hook's side, which must acknowledge
    /// it and then end.
    pub(crate) async fn conclude(mut self, exit_code: i32) -> Ack {
        self.result(exit_code).await;
        let ack = self.ack(|ack| ack.result).await;
        assert_eq!(self.request().await, None);
        ack
    }
}

type Events<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HookService for Service {
    type PrepareJobStream = Events<PrepareJobResponse>;
    type RunScriptStepStream = Events<RunScriptStepResponse>;
    type RunContainerStepStream = Events<RunContainerStepResponse>;
    type BuildImageStream = Events<BuildImageResponse>;

    async fn prepare_job(
        &self,
        request: Request<Streaming<PrepareJobRequest>>,
    ) -> Result<Response<Self::PrepareJobStream>, Status> {
        let first = request.into_inner().message().await?.and_then(|first| first.message);
        let Some(prepare_job_request::Message::Start(start)) = first else { panic!("{first:?}") };
        let (events, stream) = mpsc::channel(8);
        let _ = self.0.send(Call::Prepare(Box::new(start), events));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn run_script_step(
        &self,
        request: Request<Streaming<RunScriptStepRequest>>,
    ) -> Result<Response<Self::RunScriptStepStream>, Status> {
        let first = request.into_inner().message().await?.and_then(|first| first.message);
        let Some(run_script_step_request::Message::Start(start)) = first else {
            panic!("{first:?}")
        };
        let (events, stream) = mpsc::channel(8);
        let _ = self.0.send(Call::Script(Box::new(start), events));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn run_container_step(
        &self,
        request: Request<Streaming<RunContainerStepRequest>>,
    ) -> Result<Response<Self::RunContainerStepStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(Message::Start(start)) = first else { panic!("no start: {first:?}") };
        let (events, stream) = mpsc::channel(1);
        let resume = start.resume.clone().unwrap_or_default();
        let written = [resume.stdout_offset, resume.stderr_offset];
        let call = StepCall { start, requests, events: Some(events), written, cursor: 0 };
        let _ = self.0.send(Call::Step(Box::new(call)));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn build_image(
        &self,
        _request: Request<Streaming<BuildImageRequest>>,
    ) -> Result<Response<Self::BuildImageStream>, Status> {
        Err(Status::unimplemented("hook never builds"))
    }

    async fn cancel_step(
        &self,
        request: Request<CancelStepRequest>,
    ) -> Result<Response<CancelStepResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(Call::Cancel(request.into_inner().step_id, answer));
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("dying"))).map(Response::new)
    }

    async fn cleanup_job(
        &self,
        _request: Request<CleanupJobRequest>,
    ) -> Result<Response<CleanupJobResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(Call::Cleanup(answer));
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("dying"))).map(Response::new)
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("hook never asks"))
    }
}
