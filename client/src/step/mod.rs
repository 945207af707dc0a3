//! One streaming call of hookd, over as many connections as it takes.
//!
//! Each connection says where the last one stopped, so hookd goes on there. What counts as done is
//! what was written to our own standard output and error, not what was received.

use std::io;

use hookd_api::transport::ACK_INTERVAL;
use hookd_api::v1::{CancelStepRequest, Output as OutputEvent};
use tonic::Status;

use crate::connect::{Client, ConnectError, Connection};
use crate::output::Output;
use crate::report::{self, Explain};
use crate::signals::Signal;
use crate::status::{ErrorClass, HookdError, classify};

mod call;
mod commands;
mod events;
pub(crate) mod id;
mod outbox;
mod position;

pub(crate) use call::{Call, ContainerStep, Preparation, ScriptStep};
use call::{Event, Positioned};
use commands::Commands;
use events::{Events, Received};
pub(crate) use outbox::Outbox;
use position::{OutOfPlace, Position};

/// How a step ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending<R> {
    /// By itself, with this result.
    Ended(R),
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
pub(crate) struct Step<'a, C> {
    connection: Connection<'a>,
    output: &'a Output,
    outbox: &'a Outbox,
    /// The step's name.
    id: String,
    /// What to run; sent again on each connection, since hookd may have been replaced.
    call: C,
    position: Position,
    commands: Commands,
    /// True once hookd may know of the step.
    started: bool,
}

// === impl Step ===

impl<'a, C: Call> Step<'a, C> {
    /// A step that makes `call`, under a fresh name.
    pub(crate) fn new(
        connection: Connection<'a>,
        output: &'a Output,
        outbox: &'a Outbox,
        call: C,
    ) -> Result<Self, StepError> {
        let id = id::fresh().map_err(StepError::Id)?;
        let position = Position::default();
        let commands = Commands::default();
        Ok(Self { connection, output, outbox, id, call, position, commands, started: false })
    }

    /// Runs the step to its end. Workflow commands that its output has stopped are started again
    /// if it fails.
    pub(crate) async fn run(mut self) -> Result<Ending<C::Result>, StepError> {
        let ended = self.run_to_end().await;
        if let (Err(_), Some(line)) = (&ended, self.commands.resume()) {
            self.output.line_settled(line).await;
        }
        ended
    }

    async fn run_to_end(&mut self) -> Result<Ending<C::Result>, StepError> {
        loop {
            let client = tokio::select! {
                biased;
                signal = self.outbox.signalled(), if !self.started => {
                    return Ok(Ending::Cancelled(signal));
                }
                client = self.connection.connect() => client?,
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
                    self.connection.broke(&status, self.position.bytes() > before);
                }
            }
        }
    }

    /// Starts the step, or goes on where the last connection stopped.
    async fn attach(&mut self, mut client: Client) -> Result<Ending<C::Result>, Broken> {
        self.started = true;
        self.outbox.acknowledge(self.position.offsets());
        let start = self.call.start(self.id.clone(), self.position.resume());
        let response = C::open(&mut client, self.outbox.requests::<C>(start)).await?;
        let mut events = Events::<C>::new(response.into_inner());
        self.connection.answered();
        loop {
            let Some(next) = self.next(&mut events).await? else {
                return Err(Broken::Lost(Status::unavailable("the stream ended too early")));
            };
            if let Some(result) = self.act_on(next).await? {
                self.outbox.close(self.position.offsets(), &mut events).await;
                return Ok(Ending::Ended(result));
            }
        }
    }

    /// Deletes the step when its stream is gone and it is not wanted any more.
    async fn cancel(&mut self, mut client: Client) -> Result<(), Broken> {
        let step_id = self.id.clone();
        client.cancel_step(CancelStepRequest { step_id }).await?;
        Ok(())
    }

    /// The next event. Before it waits for one, it acknowledges what is done.
    async fn next(&self, events: &mut Events<C>) -> Received<C::Result> {
        let offsets = self.position.offsets();
        if self.outbox.unacknowledged(offsets) < ACK_INTERVAL
            && let Some(received) = events.ready()
        {
            return received;
        }
        self.outbox.acknowledge(offsets);
        events.next().await
    }

    /// Acts on one event; returns the result if it is the last one.
    async fn act_on(&mut self, next: Positioned<C::Result>) -> Result<Option<C::Result>, Broken> {
        let result = match next.event {
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
            Some(Event::Result(result)) => Some(result),
            // An event of a later hookd: nothing that this version must act on.
            None => None,
        };
        self.position.reached(next.cursor);
        Ok(result)
    }

    /// Writes what is new in `output`.
    async fn write(&mut self, output: OutputEvent) -> Result<(), Broken> {
        let (channel, bytes) = self.position.new_bytes(output)?;
        let length = bytes.len();
        self.commands.seen(&bytes);
        self.output.data(channel, bytes).await.map_err(StepError::Write)?;
        self.position.wrote(channel, length);
        Ok(())
    }
}

// === impl Broken ===

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match classify(status) {
            ErrorClass::Lost(status) => Self::Lost(status),
            ErrorClass::Final(error) => Self::Failed(StepError::Hookd(error)),
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
