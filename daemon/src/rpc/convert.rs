//! Between the wire and the types within: the only place where a call is checked.

use std::path::PathBuf;

use futures::{Stream, StreamExt};
use hookd_api::v1;
use tonic::{Status, Streaming};

use super::attend::{Control, Message, Session};
use super::{Events, status};
use crate::error::{Failure, Reason};
use crate::ids::StepId;
use crate::spec::container::ContainerStep;
use crate::spec::job_pod::JobSpec;
use crate::spec::script::ScriptStep;
use crate::step::caller::{Acked, Event, EventKind};
use crate::step::cursor::{BuiltReference, Cursor, LARGEST_OFFSET};

/// The first message of a stream.
pub(super) struct Start<T> {
    pub(super) session: Session,
    pub(super) body: T,
}

/// The id, checked.
pub(super) fn step_id(text: &str) -> Result<StepId, Status> {
    text.parse().map_err(|error: crate::ids::InvalidStepId| invalid(error.to_string()))
}

fn invalid(message: impl Into<String>) -> Status {
    let remedy = "Correct the call; the comments in proto/hookd/v1 say what is expected";
    status::of(&Failure::new(Reason::InvalidInput, message, remedy))
}

pub(super) fn run_start(
    first: Option<v1::RunContainerStepRequest>,
) -> Result<Start<ContainerStep>, Status> {
    use v1::run_container_step_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid("The first message of RunContainerStep must be `start`"));
    };
    let session = session(&start.step_id, start.resume, start.auto_ack)?;
    let Some(container) = start.container else {
        return Err(invalid("RunContainerStep has no `container`"));
    };
    let body = ContainerStep::try_from(container).map_err(|failure| status::of(&failure))?;
    Ok(Start { session, body })
}

pub(super) fn build_start(first: Option<v1::BuildImageRequest>) -> Result<Start<PathBuf>, Status> {
    use v1::build_image_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid("The first message of BuildImage must be `start`"));
    };
    let session = session(&start.step_id, start.resume, start.auto_ack)?;
    if start.dockerfile.is_empty() {
        return Err(invalid("BuildImage names no `dockerfile`"));
    }
    Ok(Start { session, body: PathBuf::from(start.dockerfile) })
}

pub(super) fn prepare_start(
    first: Option<v1::PrepareJobRequest>,
) -> Result<Start<JobSpec>, Status> {
    use v1::prepare_job_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid("The first message of PrepareJob must be `start`"));
    };
    let session = session(&start.step_id, start.resume, start.auto_ack)?;
    let body = JobSpec { container: start.container, services: start.services };
    Ok(Start { session, body })
}

pub(super) fn script_start(
    first: Option<v1::RunScriptStepRequest>,
) -> Result<Start<ScriptStep>, Status> {
    use v1::run_script_step_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid("The first message of RunScriptStep must be `start`"));
    };
    let session = session(&start.step_id, start.resume, start.auto_ack)?;
    let Some(script) = start.script else {
        return Err(invalid("RunScriptStep has no `script`"));
    };
    let body = ScriptStep::try_from(script).map_err(|failure| status::of(&failure))?;
    Ok(Start { session, body })
}

fn session(step: &str, resume: Option<v1::Resume>, auto_ack: bool) -> Result<Session, Status> {
    let resume = resume.unwrap_or_default();
    let cursor = Cursor::decode(&resume.cursor)
        .map_err(|error| invalid(format!("`resume.cursor` is not one of hookd's: {error}")))?;
    let offsets = (resume.stdout_offset, resume.stderr_offset);
    if offsets.0.max(offsets.1) > LARGEST_OFFSET {
        return Err(invalid(format!("`resume` has an offset above {LARGEST_OFFSET}")));
    }
    Ok(Session { step: step_id(step)?, cursor, offsets, auto_ack })
}

/// The further messages of a caller, until it has no more.
pub(super) fn controls<T: Send + 'static>(
    inbound: Streaming<T>,
    convert: fn(T) -> Option<Control>,
) -> impl Stream<Item = Control> + Send {
    inbound
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(move |message| std::future::ready(message.ok().and_then(convert)))
}

/// The later messages of a call to hookd's own, and hookd's events to those of the call. The calls
/// are alike but for the names of their messages.
macro_rules! wire {
    ($control:ident, $request:ident, $request_mod:ident, $events:ident, $response:ident,
     $response_mod:ident, $result:ty, $to_wire:expr) => {
        pub(super) fn $control(request: v1::$request) -> Option<Control> {
            use v1::$request_mod::Message;
            match request.message? {
                Message::Start(_) => None,
                Message::Ack(ack) => Some(ack.into()),
                Message::Signal(signal) => Some(Control::Signal(signal.number)),
                Message::Detach(v1::Detach {}) => Some(Control::Detach),
            }
        }

        pub(super) fn $events(
            events: impl Stream<Item = Result<Message<$result>, Status>> + Send + 'static,
        ) -> Events<v1::$response> {
            use v1::$response_mod::Event;
            Box::pin(events.map(|message| {
                let (cursor, event) = match message? {
                    Message::Event(event) => match wire(event) {
                        (cursor, Wire::Output(output)) => (cursor, Event::Output(output)),
                        (cursor, Wire::Progress(progress)) => (cursor, Event::Progress(progress)),
                    },
                    Message::Result { cursor, result } => (cursor, Event::Result($to_wire(result))),
                };
                Ok(v1::$response { cursor, event: Some(event) })
            }))
        }
    };
}

wire!(
    prepare_control,
    PrepareJobRequest,
    prepare_job_request,
    prepare_events,
    PrepareJobResponse,
    prepare_job_response,
    v1::JobPrepared,
    std::convert::identity
);
wire!(
    script_control,
    RunScriptStepRequest,
    run_script_step_request,
    script_events,
    RunScriptStepResponse,
    run_script_step_response,
    i32,
    |exit_code| v1::StepResult { exit_code }
);
wire!(
    run_control,
    RunContainerStepRequest,
    run_container_step_request,
    run_events,
    RunContainerStepResponse,
    run_container_step_response,
    i32,
    |exit_code| v1::StepResult { exit_code }
);
wire!(
    build_control,
    BuildImageRequest,
    build_image_request,
    build_events,
    BuildImageResponse,
    build_image_response,
    BuiltReference,
    |BuiltReference { reference, digest }| v1::BuiltImage { reference, digest }
);

impl From<v1::Ack> for Control {
    fn from(ack: v1::Ack) -> Self {
        let v1::Ack { stdout_offset: stdout, stderr_offset: stderr, result } = ack;
        Self::Ack(Acked { stdout, stderr, result })
    }
}

enum Wire {
    Output(v1::Output),
    Progress(v1::Progress),
}

fn wire(event: Event) -> (Vec<u8>, Wire) {
    let wire = match event.kind {
        EventKind::Output { stream, offset, data } => {
            Wire::Output(v1::Output { stream: stream.into(), offset, data: data.into() })
        }
        EventKind::Progress { phase, message } => {
            Wire::Progress(v1::Progress { phase: phase.into(), message })
        }
    };
    (event.cursor, wire)
}
