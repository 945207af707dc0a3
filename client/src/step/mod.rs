//! run_container_step: one step, over as many connections as it takes.
//!
//! Each connection says where the last one stopped, so hookd goes on there. What counts as done is
//! what was written to our own standard output and error, not what was received.

use std::io;

use hookd_api::v1::run_container_step_response::Event;
use hookd_api::v1::{
    CancelStepRequest, ContainerSpec, Output as OutputEvent, RunContainerStepResponse,
    RunContainerStepStart,
};
use tonic::Status;

use crate::connect::{Client, ConnectError, Link};
use crate::output::Output;
use crate::report::{self, Explain};
use crate::signals::Signal;
use crate::status::{HookdError, Verdict, judge};

mod events;
mod id;
mod outbox;
mod position;

use events::{Events, Received};
pub(crate) use outbox::Outbox;
use position::{OutOfPlace, Position};

/// Unacknowledged output after which an acknowledgement is due even while more is coming.
const ACK_EVERY: u64 = 64 << 10;

/// How a step ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending {
    /// Its program ended with this exit code.
    Exited(i32),
    /// This signal cancelled it: hookd has confirmed that, or never knew of the step.
    Cancelled(Signal),
}

/// The machinery of a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// There is no randomness to name the step with.
    #[error("The step cannot be named: no random bytes")]
    Id(#[source] io::Error),
    /// hookd cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// hookd reported a failure.
    #[error(transparent)]
    Hookd(HookdError),
    /// The step's output has nowhere to go.
    #[error("The step's output cannot be passed on; the step is cancelled")]
    Write(#[source] io::Error),
    /// hookd's output does not fit what came before.
    #[error(transparent)]
    OutOfPlace(#[from] OutOfPlace),
}

/// Why a connection ended before the step did.
enum Broken {
    /// By itself: connect again.
    Lost(Status),
    /// For good.
    Failed(StepError),
}

/// A step on its way.
pub(crate) struct Step<'a> {
    link: Link<'a>,
    output: &'a Output,
    outbox: &'a Outbox,
    /// What to run; sent again on each connection, since hookd may have been replaced.
    start: RunContainerStepStart,
    position: Position,
    /// True once hookd may know of the step.
    started: bool,
}

// === impl Step ===

impl<'a> Step<'a> {
    /// A step that runs `container`, under a fresh name.
    pub(crate) fn new(
        link: Link<'a>,
        output: &'a Output,
        outbox: &'a Outbox,
        container: ContainerSpec,
    ) -> Result<Self, StepError> {
        let start = RunContainerStepStart {
            step_id: id::fresh().map_err(StepError::Id)?,
            container: Some(container),
            resume: None,
            auto_ack: false,
        };
        let position = Position::default();
        Ok(Self { link, output, outbox, start, position, started: false })
    }

    /// Runs the step to its end.
    pub(crate) async fn run(mut self) -> Result<Ending, StepError> {
        loop {
            let client = tokio::select! {
                biased;
                signal = self.outbox.signalled(), if !self.started => {
                    return Ok(Ending::Cancelled(signal));
                }
                client = self.link.connect() => client?,
            };
            let before = self.position.bytes();
            let ended = match self.outbox.last_signal().filter(|_| self.started) {
                Some(signal) => self.cancel(client).await.map(|()| Ending::Cancelled(signal)),
                None => self.attach(client).await,
            };
            match ended {
                Ok(ending) => return Ok(ending),
                Err(Broken::Failed(error)) => return Err(error),
                Err(Broken::Lost(status)) => {
                    self.link.broke(&status, self.position.bytes() > before);
                }
            }
        }
    }

    /// Starts the step, or goes on where the last connection stopped.
    async fn attach(&mut self, mut client: Client) -> Result<Ending, Broken> {
        self.started = true;
        self.outbox.acknowledge(self.position.offsets());
        let start = RunContainerStepStart { resume: self.position.resume(), ..self.start.clone() };
        let response = client.run_container_step(self.outbox.requests(start)).await?;
        let mut events = Events::new(response.into_inner());
        self.link.answered();
        loop {
            let Some(event) = self.next(&mut events).await? else {
                return Err(Broken::Lost(Status::unavailable("the stream ended too early")));
            };
            if let Some(code) = self.act_on(event).await? {
                self.outbox.close(self.position.offsets(), &mut events).await;
                return Ok(Ending::Exited(code));
            }
        }
    }

    /// Deletes the step when its stream is gone and it is not wanted any more.
    async fn cancel(&mut self, mut client: Client) -> Result<(), Broken> {
        let step_id = self.start.step_id.clone();
        client.cancel_step(CancelStepRequest { step_id }).await?;
        Ok(())
    }

    /// The next event. Before it waits for one, it acknowledges what is done.
    async fn next(&self, events: &mut Events) -> Received {
        let offsets = self.position.offsets();
        if self.outbox.unacknowledged(offsets) < ACK_EVERY
            && let Some(received) = events.ready()
        {
            return received;
        }
        self.outbox.acknowledge(offsets);
        events.next().await
    }

    /// Acts on one event; returns the exit code if it is the last one.
    async fn act_on(&mut self, event: RunContainerStepResponse) -> Result<Option<i32>, Broken> {
        let code = match event.event {
            Some(Event::Output(output)) => {
                self.write(output).await?;
                None
            }
            // Only hands over the cursor.
            Some(Event::Progress(progress)) if progress.message.is_empty() => None,
            Some(Event::Progress(progress)) => {
                self.output.line_settled(report::plain(&progress.message)).await;
                None
            }
            Some(Event::Result(result)) => Some(result.exit_code),
            // An event of a later hookd: nothing that this version must act on.
            None => None,
        };
        self.position.reached(event.cursor);
        Ok(code)
    }

    /// Writes what is new in `output`.
    async fn write(&mut self, output: OutputEvent) -> Result<(), Broken> {
        let (channel, bytes) = self.position.new_bytes(output)?;
        let length = bytes.len();
        self.output.data(channel, bytes).await.map_err(StepError::Write)?;
        self.position.wrote(channel, length);
        Ok(())
    }
}

// === impl Broken ===

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match judge(status) {
            Verdict::Lost(status) => Self::Lost(status),
            Verdict::Final(error) => Self::Failed(StepError::Hookd(error)),
        }
    }
}

impl From<StepError> for Broken {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

impl From<OutOfPlace> for Broken {
    fn from(error: OutOfPlace) -> Self {
        Self::Failed(error.into())
    }
}

// === impl StepError ===

impl StepError {
    /// True if the step was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Hookd(error) if error.is_cancelled())
    }
}

impl Explain for StepError {
    fn title(&self) -> String {
        match self {
            Self::Connect(error) => error.title(),
            Self::Hookd(error) => error.title(),
            Self::Write(_) => "Output cannot be written".to_owned(),
            Self::Id(_) | Self::OutOfPlace(_) => "Internal error of hook".to_owned(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Connect(error) => error.remedy(),
            Self::Hookd(error) => error.remedy(),
            Self::Write(_) => "Whatever started hook must read its output to the end".to_owned(),
            Self::Id(_) => "/dev/urandom must be readable in the runner container".to_owned(),
            Self::OutOfPlace(_) => {
                "The output so far is right; this is a fault of hookd: please report it with the \
                 log of the hookd container"
                    .to_owned()
            }
        }
    }
}
