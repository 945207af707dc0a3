//! A program that stepd runs: stepd keeps its output until our client has it. Whatever breaks on the
//! way, the program is attached to again.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use hookd_api::stepd::v1::attach_request::Message;
use hookd_api::stepd::v1::attach_response::Event;
use hookd_api::stepd::v1::{
    AttachRequest, AttachStart, Offsets as ProgramOffsets, Output, StartStepRequest, StepEnd,
};
use hookd_api::v1::{Phase, Stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::cluster::client::ANSWER;
use crate::cluster::pod::{self, FailedProgram};
use crate::cluster::retry::Backoff;
use crate::error::{Failure, report};
use crate::metrics::{self, Connection, metrics};
use crate::names;
use crate::session::cursor::Offsets;
use crate::session::events::{Acked, Session};
use crate::stepd::calls::lost;
use crate::stepd::error::AgentError;
use crate::stepd::pid_1::{self, Tail};
use crate::stepd::pods::{Agent, AgentPod};

mod watched;

pub use watched::{TakeOutput, watched};

/// An outage as long as this is worth a line.
const REPORT_AFTER: Duration = Duration::from_secs(1);
/// An attachment that lasted as long as this ends an outage, though the step wrote nothing.
const STEADY: Duration = Duration::from_secs(10);

/// Why an attachment ended before the step did.
enum Broken {
    /// The way to the agent broke.
    Lost(String),
    /// For good.
    Failed(Failure),
}

/// Who has the program's output, and what hookd knows of it.
struct Receiver<'a> {
    session: &'a mut Session,
    /// Since when the program is attached to.
    attached: Option<Instant>,
    tail: Tail,
}

impl<'a> Receiver<'a> {
    fn new(session: &'a mut Session) -> Self {
        Self { session, attached: None, tail: Tail::default() }
    }
}

/// A time without the agent: it lasts until the step has moved on.
struct Outage {
    since: Instant,
    reported: bool,
    backoff: Backoff,
}

impl Outage {
    fn begin() -> Self {
        Self { since: Instant::now(), reported: false, backoff: Backoff::default() }
    }

    /// The step was attached to from `since` on until now; `moved`: it wrote something. The timeout
    /// is for the time without the agent.
    fn was_attached(&mut self, since: Option<Instant>, moved: bool) {
        match since.map(|since| since.elapsed()) {
            Some(time) if moved || time >= STEADY => *self = Self::begin(),
            Some(time) => self.since += time,
            None => {}
        }
    }

    /// A tunnel that broke while nothing ran is made again without a message.
    async fn goes_on(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.since.elapsed() < REPORT_AFTER || std::mem::replace(&mut self.reported, true) {
            return Ok(());
        }
        let message = "The connection to the step's pod broke; hookd goes on when it is back";
        session.progress(Phase::Reconnecting, message).await
    }
}

/// A program in a pod, and what its client had before it.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// What is started.
    pub start: &'a StartStepRequest,
    /// Bytes of each stream that the client had before the program wrote any: a build's log.
    pub before: Offsets,
}

/// Runs the program in the pod, or finds it started, and follows it to its end; its exit code.
///
/// # Errors
/// Why it did not run to its end.
pub async fn run(
    pod: &AgentPod,
    program: Program<'_>,
    session: &mut Session,
) -> Result<i32, Failure> {
    let mut outage: Option<Outage> = None;
    let mut receiver = Receiver::new(session);
    let began = Instant::now();
    loop {
        receiver.attached = None;
        let sent = receiver.session.sent();
        let attempt = attempt(pod, program, &mut receiver);
        let why = tokio::select! {
            biased;
            ended = attempt => match ended {
                Ok(end) => {
                    if receiver.session.is_new() {
                        let timings = &mut receiver.session.timings;
                        timings.took(metrics::Phase::Run, began.elapsed());
                    }
                    return exit_code(pod, program, end, &mut receiver).await;
                }
                Err(Broken::Failed(failure)) => return Err(failure),
                Err(Broken::Lost(why)) => why,
            },
            failure = lost(pod) => return Err(failure),
        };
        tracing::info!(why, "lost the connection to the agent; connecting again");
        if outage.is_none() {
            metrics().reconnected(Connection::Agent);
        }
        let outage = outage.get_or_insert_with(Outage::begin);
        outage.was_attached(receiver.attached, receiver.session.sent() != sent);
        outage.goes_on(receiver.session).await?;
        if outage.since.elapsed() > pod.timeout() {
            let (pod, timeout) = (pod.name().to_owned(), pod.timeout());
            return Err(AgentError::Unreachable { pod, timeout, why }.into());
        }
        tokio::select! {
            () = outage.backoff.wait() => {}
            failure = lost(pod) => return Err(failure),
        }
    }
}

/// Starts the program, or finds it started, and follows it to its end or a break.
async fn attempt(
    pod: &AgentPod,
    program: Program<'_>,
    receiver: &mut Receiver<'_>,
) -> Result<StepEnd, Broken> {
    let agent = pod.agent().await;
    let (number, mut agent) = agent.map_err(|error| Broken::Lost(report(&error)))?;
    let ended = follow(&mut agent, program, receiver).await;
    if matches!(ended, Err(Broken::Lost(_))) {
        pod.broke(number).await;
    }
    ended
}

/// Brings the step's output to the client, and what the client acted on to the agent.
async fn follow(
    agent: &mut Agent,
    program: Program<'_>,
    receiver: &mut Receiver<'_>,
) -> Result<StepEnd, Broken> {
    let Receiver { session, attached, tail } = receiver;
    let mut acked = session.acked();
    // What was sent and not acted on stays with the agent, should we die: it comes once more.
    let from = acted_on(*acked.borrow_and_update(), session.sent());
    let (acks, acknowledged) = watch::channel(program.own(from));
    let requests = requests(program.start, acknowledged);
    let answer = tokio::time::timeout(ANSWER, agent.attach(requests)).await;
    let answer = answer.map_err(|_| Broken::Lost("no answer within 15 s".to_owned()))?;
    let mut events = answer.map_err(classify)?.into_inner();
    *attached = Some(Instant::now());
    session.settled();
    loop {
        acks.send_if_modified(|acknowledged| {
            let acked = *acked.borrow_and_update();
            let now = program.own(acted_on(acked, session.sent()));
            std::mem::replace(acknowledged, now) != now
        });
        let event = tokio::select! {
            event = events.message() => event.map_err(classify)?,
            changed = acked.changed() => {
                changed.map_err(|_| Broken::Failed(Failure::cancelled()))?;
                continue;
            }
        };
        match event.and_then(|event| event.event) {
            Some(Event::Output(output)) => {
                let stream = if output.stderr { Stream::Stderr } else { Stream::Stdout };
                let data = new_bytes(output, program.own(session.sent()))?;
                if !data.is_empty() {
                    tail.push(stream == Stream::Stderr, &data);
                    session.output(stream, data, |_| {}).await.map_err(Broken::Failed)?;
                }
            }
            Some(Event::SpoolFull(full)) => {
                let message = format!(
                    "Step paused: {} MiB of output are waiting to be read",
                    full.bytes >> 20
                );
                session.progress(Phase::RunRunning, message).await.map_err(Broken::Failed)?;
            }
            // The pod's own end says why.
            Some(Event::End(end)) if end.stopped => {
                return Err(Broken::Lost("the agent was stopped".to_owned()));
            }
            Some(Event::End(end)) => return Ok(end),
            None => return Err(Broken::Lost("the agent ended the stream".to_owned())),
        }
    }
}

/// The bytes that our client was not sent before; `sent`: those that it was.
fn new_bytes(output: Output, sent: ProgramOffsets) -> Result<Bytes, Broken> {
    let sent = if output.stderr { sent.stderr } else { sent.stdout };
    let Some(known) = sent.checked_sub(output.offset) else {
        let gap = AgentError::OutputGap { expected: sent, received: output.offset };
        return Err(Broken::Failed(gap.into()));
    };
    let known = usize::try_from(known).unwrap_or(usize::MAX).min(output.data.len());
    Ok(Bytes::from(output.data).split_off(known))
}

/// The messages of an attachment: its start, which starts the program unless it was started before,
/// and then the newest acknowledgement.
fn requests(
    program: &StartStepRequest,
    acknowledged: watch::Receiver<ProgramOffsets>,
) -> impl futures::Stream<Item = AttachRequest> + Send + 'static {
    let resume = Some(*acknowledged.borrow());
    let (step_id, step) = (program.step_id.clone(), Some(program.clone()));
    let start = Message::Start(AttachStart { step_id, resume, step });
    stream::unfold((Some(start), acknowledged), |(start, mut acknowledged)| async move {
        let message = match start {
            Some(start) => start,
            None => {
                acknowledged.changed().await.ok()?;
                Message::Acknowledge(*acknowledged.borrow_and_update())
            }
        };
        Some((AttachRequest { message: Some(message) }, (None, acknowledged)))
    })
}

impl Program<'_> {
    /// The client's offsets as the program counts them.
    fn own(&self, client: Offsets) -> ProgramOffsets {
        ProgramOffsets {
            stdout: client.stdout.saturating_sub(self.before.stdout),
            stderr: client.stderr.saturating_sub(self.before.stderr),
        }
    }
}

/// A client that acknowledges everything has acted on what was sent to it.
fn acted_on(acked: Acked, sent: Offsets) -> Offsets {
    Offsets { stdout: acked.stdout.min(sent.stdout), stderr: acked.stderr.min(sent.stderr) }
}

fn classify(status: Status) -> Broken {
    let message = status.message().to_owned();
    match status.code() {
        Code::OutOfRange | Code::DataLoss => {
            Broken::Failed(AgentError::OutputDropped { message }.into())
        }
        Code::FailedPrecondition | Code::NotFound => Broken::Failed(Failure::undone()),
        Code::InvalidArgument | Code::Unimplemented => {
            Broken::Failed(AgentError::Refused { message }.into())
        }
        _ => Broken::Lost(report(&status)),
    }
}

/// The program's code, with the notes that belong to it.
async fn exit_code(
    pod: &AgentPod,
    program: Program<'_>,
    end: StepEnd,
    receiver: &mut Receiver<'_>,
) -> Result<i32, Failure> {
    let Receiver { session, tail, .. } = receiver;
    if !end.error.is_empty() {
        session.progress(Phase::RunRunning, format!("The step failed: {}", end.error)).await?;
    }
    if end.signal == 9 && end.oom_kills > 0 {
        let message = pod::oom_note(pod.watch().now().pod(), pod.container());
        tracing::info!(pod = pod.name(), "{message}");
        session.progress(Phase::RunRunning, message).await?;
    } else if end.exit_code != 0 && end.error.is_empty() {
        let failed = FailedProgram {
            exit_code: end.exit_code,
            signal: end.signal,
            cpu_millis: end.cpu_milliseconds,
            peak_memory: end.peak_memory,
            is_built_here: program.start.built_image.is_some(),
        };
        let note = failed.note(pod.watch().now().pod(), pod.container());
        session.progress(Phase::RunRunning, note).await?;
    }
    // A step in a job container is no PID 1 with docker either.
    if end.exit_code != 0 && names::is_of_step(pod.container()) && tail.wants_pid_1() {
        session.progress(Phase::RunRunning, pid_1::NOTE).await?;
    }
    Ok(end.exit_code)
}

#[cfg(test)]
mod tests;
