//! `stepd.v1` over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use hookd_api::stepd::v1::attach_request::Message;
use hookd_api::stepd::v1::attach_response::Event;
use hookd_api::stepd::v1::step_service_server::StepService;
use hookd_api::stepd::v1::{
    AttachRequest, AttachResponse, CancelStepRequest, CancelStepResponse, ConfigureRequest,
    ConfigureResponse, ForgetStepRequest, ForgetStepResponse, GetStatusRequest, GetStatusResponse,
    IdentifyRequest, IdentifyResponse, Offsets, Output, SpoolFull, StartStepRequest,
    StartStepResponse, StopRequest, StopResponse,
};
use hookd_api::transport::{MAX_OUTPUT_SIZE, MAX_STEP_ID_LEN};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use crate::environment;
use crate::serve::error_chain;
use crate::step::{STREAMS, State, StdStream, Step};
use crate::steps::{Refused, Steps};

/// Pause after INT and after TERM when a step is cancelled.
const GRACE: Duration = Duration::from_millis(1500);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Service(Steps);

impl Service {
    /// The service of these steps.
    pub(crate) fn new(steps: Steps) -> Self {
        Self(steps)
    }

    /// True if the step was not started before.
    fn start(&self, step: StartStepRequest) -> Result<bool, Status> {
        check_id(&step.step_id)?;
        if step.argv.first().is_none_or(String::is_empty) {
            return Err(Status::invalid_argument("a step needs a program"));
        }
        self.0.start(step).map_err(|refused| match refused {
            Refused::Forgotten(_) => Status::failed_precondition(error_chain(&refused)),
            Refused::Stopping => Status::unavailable(error_chain(&refused)),
            Refused::TooMany => Status::resource_exhausted(error_chain(&refused)),
        })
    }

    fn find(&self, id: &str) -> Result<Arc<Step>, Status> {
        self.0.find(id).ok_or_else(|| Status::not_found(format!("step {id:?} is not known")))
    }
}

fn grace(milliseconds: u32) -> Duration {
    match milliseconds {
        0 => GRACE,
        milliseconds => Duration::from_millis(milliseconds.into()),
    }
}

#[tonic::async_trait]
impl StepService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureResponse>, Status> {
        self.0.configure(request.into_inner().environment);
        Ok(Response::new(ConfigureResponse { is_alpine: environment::is_alpine() }))
    }

    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let identity = self.0.identify(request.into_inner().identity);
        Ok(Response::new(IdentifyResponse { identity }))
    }

    async fn start_step(
        &self,
        request: Request<StartStepRequest>,
    ) -> Result<Response<StartStepResponse>, Status> {
        let started = self.start(request.into_inner())?;
        Ok(Response::new(StartStepResponse { started }))
    }

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut inbound = request.into_inner();
        let Some(Message::Start(start)) = inbound.message().await?.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("the first message of Attach must be `start`"));
        };
        let resume = start.resume.unwrap_or_default();
        // Output was received already: the step was started, here or nowhere.
        if let Some(step) = start.step.filter(|_| resume == Offsets::default()) {
            self.start(step)?;
        }
        let step = self.find(&start.step_id)?;
        let number =
            step.attach(&resume).map_err(|error| Status::out_of_range(error_chain(&error)))?;
        let acknowledged = step.clone();
        let acknowledge = tokio::spawn(async move {
            while let Ok(Some(request)) = inbound.message().await {
                if let Some(Message::Acknowledge(offsets)) = request.message {
                    // What was never written cannot have been acted on: nothing is released.
                    let _ = acknowledged.acknowledge(&offsets);
                }
            }
        });
        let attachment = Attachment {
            state: step.watch(),
            step,
            number,
            at: [resume.stdout, resume.stderr],
            last: StdStream::Stderr,
            reported_full: false,
            over: false,
            _acknowledge: AbortOnDropHandle::new(acknowledge),
        };
        Ok(Response::new(Box::pin(attachment.events())))
    }

    async fn cancel_step(
        &self,
        request: Request<CancelStepRequest>,
    ) -> Result<Response<CancelStepResponse>, Status> {
        let request = request.into_inner();
        check_id(&request.step_id)?;
        let grace = grace(request.grace_milliseconds);
        let step = self.0.find(&request.step_id);
        match &step {
            Some(step) => step.cancel(grace).await,
            // Its start may still be under way.
            None => self.0.forget(&request.step_id),
        }
        Ok(Response::new(CancelStepResponse { found: step.is_some() }))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        let (steps, grace) = (self.0.clone(), grace(request.into_inner().grace_milliseconds));
        // It goes on when its client does not wait for it.
        let stopped = tokio::spawn(async move { steps.stop(grace).await }).await;
        stopped.map_err(|error| Status::internal(error_chain(&error)))?;
        Ok(Response::new(StopResponse {}))
    }

    async fn forget_step(
        &self,
        request: Request<ForgetStepRequest>,
    ) -> Result<Response<ForgetStepResponse>, Status> {
        let id = request.into_inner().step_id;
        check_id(&id)?;
        self.0.forget(&id);
        Ok(Response::new(ForgetStepResponse {}))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetStatusResponse { version, steps: self.0.status() }))
    }
}

/// Ids are kept for as long as stepd runs.
fn check_id(id: &str) -> Result<(), Status> {
    let fits = (1..=MAX_STEP_ID_LEN).contains(&id.len())
        && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let refused = || Status::invalid_argument("a step's id has 1 to 40 characters of [a-z0-9-]");
    fits.then_some(()).ok_or_else(refused)
}

/// One caller that follows a step.
struct Attachment {
    step: Arc<Step>,
    state: watch::Receiver<State>,
    number: u64,
    /// Where each stream goes on.
    at: [u64; 2],
    /// The stream that was served last: the other one comes first.
    last: StdStream,
    reported_full: bool,
    over: bool,
    _acknowledge: AbortOnDropHandle<()>,
}

impl Attachment {
    fn events(self) -> impl Stream<Item = Result<AttachResponse, Status>> + Send {
        stream::unfold(self, |mut this| async move {
            if this.over {
                return None;
            }
            let event = this.next().await;
            this.over = matches!(&event, Err(_) | Ok(Event::End(_)));
            Some((event.map(|event| AttachResponse { event: Some(event) }), this))
        })
    }

    async fn next(&mut self) -> Result<Event, Status> {
        loop {
            let state = self.state.borrow_and_update().clone();
            if state.attachment != self.number {
                return Err(Status::aborted("another caller has attached to this step"));
            }
            if let Some(output) = self.output(&state)? {
                return Ok(Event::Output(output));
            }
            if state.full && !std::mem::replace(&mut self.reported_full, state.full) {
                let bytes = state.written.iter().zip(state.acked).map(|(all, acked)| all - acked);
                return Ok(Event::SpoolFull(SpoolFull { bytes: bytes.sum() }));
            }
            self.reported_full = state.full;
            if let Some(end) = state.end {
                return Ok(Event::End(end));
            }
            if self.state.changed().await.is_err() {
                return Err(Status::aborted("the step was forgotten"));
            }
        }
    }

    /// The next piece of output, if there is one.
    fn output(&mut self, state: &State) -> Result<Option<Output>, Status> {
        let mut order = STREAMS;
        if self.last == StdStream::Stdout {
            order.reverse();
        }
        for stream in order {
            let at = &mut self.at[stream as usize];
            if *at >= state.written[stream as usize] {
                continue;
            }
            let read = self.step.read(stream, *at, MAX_OUTPUT_SIZE);
            let (offset, data) = read.map_err(|error| Status::data_loss(error_chain(&error)))?;
            *at = offset + data.len() as u64;
            // All that was left may be acknowledged already.
            if !data.is_empty() {
                self.last = stream;
                return Ok(Some(Output { stderr: stream == StdStream::Stderr, offset, data }));
            }
        }
        Ok(None)
    }
}
