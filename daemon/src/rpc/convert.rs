//! Between the wire and the types within: the only place where a call is checked.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use hookd_api::v1;
use tonic::{Status, Streaming};
use tracing::Span;

use super::error::CallError;
use super::{origin, status};
use crate::build::publish::PublishedImage;
use crate::build::spec::BuildSpec;
use crate::ids::{InvalidStepId, StepId};
use crate::metrics::Call;
use crate::names::origin::Origin;
use crate::objects::bounds;
use crate::objects::container::ContainerStep;
use crate::objects::job_pod::JobSpec;
use crate::objects::script::ScriptStep;
use crate::registry::reference::Reference;
use crate::session::cursor::{BuiltReference, Cursor, MAX_OFFSET, Offsets};
use crate::session::drive::{Control, Message, Messages, Start};
use crate::session::events::{Acked, Event, EventKind};
use crate::traces::{CallTrace, Called, TRACEPARENT, Traces};

/// The first message of a stream.
pub(super) struct Read<T> {
    pub(super) start: Start,
    /// What is asked for.
    pub(super) spec: T,
}

/// The id, checked.
pub(super) fn step_id(text: &str) -> Result<StepId, Status> {
    text.parse().map_err(invalid::<InvalidStepId>)
}

fn invalid<E: Into<CallError>>(error: E) -> Status {
    let error: CallError = error.into();
    status::of(&error.into())
}

pub(super) fn run_start(
    first: Option<v1::RunContainerStepRequest>,
    traces: &Traces,
) -> Result<Read<ContainerStep>, Status> {
    use v1::run_container_step_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid(CallError::NoStart { call: "RunContainerStep" }));
    };
    let job = start.job.as_ref();
    let start_at = session_start(&start.step_id, start.resume, start.auto_ack, job)?;
    let _in_span = start_at.span.clone().entered();
    let Some(mut container) = start.container else {
        return Err(invalid(CallError::NoField { call: "RunContainerStep", field: "container" }));
    };
    let event = event(start.event)?;
    trace_step(
        traces,
        Call::RunContainerStep,
        &start_at,
        job,
        &mut container.environment_variables,
    );
    let mut spec = ContainerStep::try_from(container).map_err(|failure| status::of(&failure))?;
    spec.event = event;
    Ok(Read { start: start_at, spec })
}

/// The workflow's event, checked.
fn event(event: String) -> Result<String, Status> {
    bounds::check_text("event", &event).map_err(|error| status::of(&error.into()))?;
    Ok(event)
}

pub(super) fn build_start(
    first: Option<v1::BuildImageRequest>,
    traces: &Traces,
) -> Result<Read<BuildSpec>, Status> {
    use v1::build_image_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid(CallError::NoStart { call: "BuildImage" }));
    };
    let mut start = start;
    let (resume, job) = (start.resume.take(), start.job.take());
    let start_at = session_start(&start.step_id, resume, start.auto_ack, job.as_ref())?;
    let _in_span = start_at.span.clone().entered();
    trace(traces, Call::BuildImage, &start_at, job.as_ref(), None);
    let spec = BuildSpec::read(start).map_err(|error| status::of(&error.into()))?;
    Ok(Read { start: start_at, spec })
}

pub(super) fn prepare_start(
    first: Option<v1::PrepareJobRequest>,
    traces: &Traces,
) -> Result<Read<JobSpec>, Status> {
    use v1::prepare_job_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid(CallError::NoStart { call: "PrepareJob" }));
    };
    let job = start.job.as_ref();
    let start_at = session_start(&start.step_id, start.resume, start.auto_ack, job)?;
    let _in_span = start_at.span.clone().entered();
    let variables = start.container.as_ref().map(|container| &container.environment_variables);
    let parent = variables.and_then(|variables| variables.get(TRACEPARENT)).map(String::as_str);
    trace(traces, Call::PrepareJob, &start_at, job, parent);
    let event = event(start.event)?;
    let spec =
        JobSpec::read(start.container, start.services).map_err(|failure| status::of(&failure))?;
    Ok(Read { start: start_at, spec: JobSpec { event, ..spec } })
}

pub(super) fn script_start(
    first: Option<v1::RunScriptStepRequest>,
    traces: &Traces,
) -> Result<Read<ScriptStep>, Status> {
    use v1::run_script_step_request::Message;
    let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
        return Err(invalid(CallError::NoStart { call: "RunScriptStep" }));
    };
    let job = start.job.as_ref();
    let start_at = session_start(&start.step_id, start.resume, start.auto_ack, job)?;
    let _in_span = start_at.span.clone().entered();
    let Some(mut script) = start.script else {
        return Err(invalid(CallError::NoField { call: "RunScriptStep", field: "script" }));
    };
    trace_step(traces, Call::RunScriptStep, &start_at, job, &mut script.environment_variables);
    let spec = ScriptStep::try_from(script).map_err(|failure| status::of(&failure))?;
    Ok(Read { start: start_at, spec })
}

fn session_start(
    step: &str,
    resume: Option<v1::Resume>,
    auto_ack: bool,
    job: Option<&v1::JobContext>,
) -> Result<Start, Status> {
    let known: Result<StepId, InvalidStepId> = step.parse();
    let origin = job.map(Origin::of);
    let span = origin::span(known.as_ref().ok().map(StepId::as_str), job);
    // A refusal is of this job, too.
    let checked = span.in_scope(|| {
        let resume = resume.unwrap_or_default();
        let cursor = Cursor::decode(&resume.cursor).map_err(invalid)?;
        let offsets = Offsets { stdout: resume.stdout_offset, stderr: resume.stderr_offset };
        if offsets.stdout.max(offsets.stderr) > MAX_OFFSET {
            return Err(invalid(CallError::OffsetTooLarge { limit: MAX_OFFSET }));
        }
        Ok((known.map_err(invalid)?, cursor, offsets))
    });
    let (step, cursor, offsets) = checked?;
    Ok(Start { step, cursor, offsets, auto_ack, span, origin })
}

/// Gives the call its place in the trace of its job, where there is a collector.
fn trace(
    traces: &Traces,
    call: Call,
    start: &Start,
    job: Option<&v1::JobContext>,
    parent: Option<&str>,
) -> Option<CallTrace> {
    let (step, began) = (Some(start.step.as_str()), start.cursor.asked);
    let trace = traces.call(&Called { call, step, job, parent, began })?;
    trace.attach(&start.span);
    Some(trace)
}

/// As [`trace`], of a step, whose program goes on with the trace. Before its environment is checked, which then
/// has one variable more.
fn trace_step(
    traces: &Traces,
    call: Call,
    start: &Start,
    job: Option<&v1::JobContext>,
    environment: &mut BTreeMap<String, String>,
) {
    let parent = environment.get(TRACEPARENT).map(String::as_str);
    if let Some(trace) = trace(traces, call, start, job, parent) {
        trace.pass_on(environment);
    }
}

/// A request of a streaming call after the first.
pub(super) trait LaterRequest: Send + 'static {
    /// What it says; nothing for a second `start`.
    fn control(self) -> Option<v1::Control>;
}

impl LaterRequest for v1::PrepareJobRequest {
    fn control(self) -> Option<v1::Control> {
        match self.message? {
            v1::prepare_job_request::Message::Start(_) => None,
            v1::prepare_job_request::Message::Control(control) => Some(control),
        }
    }
}

impl LaterRequest for v1::RunScriptStepRequest {
    fn control(self) -> Option<v1::Control> {
        match self.message? {
            v1::run_script_step_request::Message::Start(_) => None,
            v1::run_script_step_request::Message::Control(control) => Some(control),
        }
    }
}

impl LaterRequest for v1::RunContainerStepRequest {
    fn control(self) -> Option<v1::Control> {
        match self.message? {
            v1::run_container_step_request::Message::Start(_) => None,
            v1::run_container_step_request::Message::Control(control) => Some(control),
        }
    }
}

impl LaterRequest for v1::BuildImageRequest {
    fn control(self) -> Option<v1::Control> {
        match self.message? {
            v1::build_image_request::Message::Start(_) => None,
            v1::build_image_request::Message::Control(control) => Some(control),
        }
    }
}

/// The further messages of a client, until it has no more.
pub(super) fn controls<T: LaterRequest>(
    inbound: Streaming<T>,
) -> impl Stream<Item = Control> + Send {
    inbound
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(|message| std::future::ready(message.ok().and_then(control)))
}

fn control(request: impl LaterRequest) -> Option<Control> {
    use v1::control::Kind;
    Some(match request.control()?.kind? {
        Kind::Ack(v1::Ack { stdout_offset: stdout, stderr_offset: stderr, result }) => {
            Control::Ack(Acked { stdout, stderr, result })
        }
        Kind::Signal(signal) => Control::Signal(signal.number),
        Kind::Detach(v1::Detach {}) => Control::Detach,
    })
}

/// What a streaming call answers with.
pub(super) type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The messages of a session as those of its call.
pub(super) fn responses<T: Send + 'static, R: 'static>(
    messages: Messages<T>,
    span: Span,
    convert: fn(Message<T>) -> R,
) -> Responses<R> {
    Box::pin(messages.map(move |message| {
        message.map(convert).map_err(|failure| span.in_scope(|| status::of(&failure)))
    }))
}

pub(super) fn prepare_response(message: Message<v1::JobPrepared>) -> v1::PrepareJobResponse {
    use v1::prepare_job_response::Message as Wire;
    let message = match message {
        Message::Event(event) => Wire::Event(step_event(event)),
        Message::Result(prepared) => Wire::Result(prepared),
    };
    v1::PrepareJobResponse { message: Some(message) }
}

pub(super) fn script_response(message: Message<i32>) -> v1::RunScriptStepResponse {
    use v1::run_script_step_response::Message as Wire;
    let message = match message {
        Message::Event(event) => Wire::Event(step_event(event)),
        Message::Result(exit_code) => Wire::Result(v1::StepResult { exit_code }),
    };
    v1::RunScriptStepResponse { message: Some(message) }
}

pub(super) fn run_response(message: Message<i32>) -> v1::RunContainerStepResponse {
    use v1::run_container_step_response::Message as Wire;
    let message = match message {
        Message::Event(event) => Wire::Event(step_event(event)),
        Message::Result(exit_code) => Wire::Result(v1::StepResult { exit_code }),
    };
    v1::RunContainerStepResponse { message: Some(message) }
}

pub(super) fn build_response(message: Message<PublishedImage>) -> v1::BuildImageResponse {
    use v1::build_image_response::Message as Wire;
    let message = match message {
        Message::Event(event) => Wire::Event(step_event(event)),
        Message::Result(PublishedImage { image, size, tags }) => {
            let BuiltReference { reference, digest } = image;
            let tags = tags.iter().map(Reference::to_string).collect();
            Wire::Result(v1::BuiltImage { reference, digest, size, tags })
        }
    };
    v1::BuildImageResponse { message: Some(message) }
}

fn step_event(event: Event) -> v1::StepEvent {
    use v1::step_event::Kind;
    let kind = match event.kind {
        EventKind::Output { stream, offset, data } => {
            Kind::Output(v1::Output { stream: stream.into(), offset, data: data.into() })
        }
        EventKind::Progress { phase, message } => {
            Kind::Progress(v1::Progress { phase: phase.into(), message })
        }
    };
    v1::StepEvent { cursor: event.cursor, kind: Some(kind) }
}
