//! One client and one operation, from the first event to the deletion of what was made.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{FutureExt, Stream, StreamExt};
use hookd_api::v1::Phase;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::error::{CommonError, Failure};
use crate::ids::StepId;
use crate::metrics::{CallInProgress, metrics};
use crate::names::origin::Origin;
use crate::session::crashes::Crashes;
use crate::session::cursor::{Cursor, Offsets};
use crate::session::error::SessionError;
use crate::session::events::{Acked, Event, EventKind, Session};
use crate::session::log_group;
use crate::session::operation::Operation;
use crate::session::runner_deletion::RunnerDeletion;
use crate::session::state::{Action, Event as Transition};
use crate::session::steps::{Attached, Steps};

mod counts;
mod refusal;

/// Events that wait for a slow client, each of 64 KiB at most.
const QUEUE: usize = 4;
/// The runner gives a cancelled hook 7.5 s; the answer must not take them all.
const ROLL_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that takes nothing any more does not get the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// When a roll-back is repeated, for a create that was under way when it was cancelled.
const LATE_CREATE: Duration = Duration::from_secs(1);

/// The sessions of this daemon, and what they share.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// The steps that this daemon has seen.
    pub steps: Steps,
    /// The calls that daemons died with.
    pub crashes: Crashes,
    /// Work that outlives its call.
    pub tasks: TaskTracker,
    /// Fires when hookd stops.
    pub stopping: CancellationToken,
    /// Cancels the steps of a runner that is deleted.
    pub runner_deletion: RunnerDeletion,
    /// The job of the newest call that names one: a runner has one job at a time.
    pub origin: watch::Sender<Origin>,
}

/// Who calls, and from where on.
#[derive(Debug)]
pub struct Start {
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub cursor: Cursor,
    /// Bytes of each stream that the client has.
    pub offsets: Offsets,
    /// The client acknowledges nothing.
    pub auto_ack: bool,
    /// Around each line of the log that belongs to the call.
    pub span: Span,
    /// The job that it says it belongs to.
    pub origin: Option<Origin>,
}

/// What a client says after its first message.
#[derive(Debug)]
pub enum Control {
    /// What it has acted on.
    Ack(Acked),
    /// A signal for the step, by number.
    Signal(i32),
    /// It will leave, and the step is to go on.
    Detach,
}

/// What a client hears.
#[derive(Debug)]
pub enum Message<T> {
    /// Of a step under way.
    Event(Event),
    /// Its end.
    Result(T),
}

/// What a client hears, up to the result or the failure.
pub type Messages<T> = ReceiverStream<Result<Message<T>, Failure>>;

type Outbound<T> = mpsc::Sender<Result<Message<T>, Failure>>;

/// What a client has said so far.
#[derive(Clone)]
struct Wishes {
    acked: watch::Receiver<Acked>,
    /// The step is to be cancelled.
    cancel: CancellationToken,
    /// Where the step stands.
    attached: Arc<Attached>,
}

/// How an operation ended.
enum Outcome<T> {
    Returned(T),
    Failed(Failure),
    Cancelled,
    /// The client is not there any more.
    Closed,
}

impl<T> Outcome<T> {
    fn event(&self) -> Transition {
        match self {
            Self::Returned(_) => Transition::Returned,
            Self::Failed(_) => Transition::Failed,
            Self::Cancelled => Transition::Cancelled,
            Self::Closed => Transition::Closed,
        }
    }
}

/// The way to a client.
struct Link<'a, T> {
    sessions: &'a Sessions,
    wishes: Wishes,
    out: &'a Outbound<T>,
}

impl Sessions {
    /// Starts the operation; returns what its client hears. `input` is held until the client has heard
    /// the end.
    pub fn drive<O: Operation>(
        &self,
        start: Start,
        controls: impl Stream<Item = Control> + Send + 'static,
        mut operation: O,
        input: impl Send + 'static,
    ) -> Messages<O::Output> {
        let cancel = self.stopping.child_token();
        let attached = self.crashes.check(&start.step);
        let attached = attached.and_then(|()| self.steps.attach(&start.step, cancel.clone()));
        let attached = match attached {
            Ok(attached) => Arc::new(attached),
            Err(failure) => return refusal::refuse(&self.tasks, start, failure),
        };
        if let Some(origin) = start.origin {
            self.origin.send_replace(origin);
        }
        let working = self.crashes.begin(&start.step);
        let counted = metrics().begin(O::CALL);
        let acked = if start.auto_ack { Acked::ALL } else { Acked::up_to(start.offsets) };
        let (acks, acked) = watch::channel(acked);
        let wishes = Wishes { acked, cancel, attached };
        let (out, outbound) = mpsc::channel(1);
        let span = start.span.clone();
        let sessions = self.clone();
        let work = async move {
            let (events, received) = mpsc::channel(QUEUE);
            let listening = listen(controls, acks, wishes.clone(), events.downgrade());
            let acked = wishes.acked.clone();
            let mut session = Session::new(start.cursor, start.offsets, events, acked);
            session.cursor.asked.get_or_insert_with(SystemTime::now);
            let link = Link { sessions: &sessions, wishes, out: &out };
            let session = session.during(working);
            let work = link.attend(&mut operation, session, received, counted);
            let work = async {
                tokio::select! {
                    finished = work => finished,
                    () = listening => None,
                }
            };
            let finished = AssertUnwindSafe(work).catch_unwind().await;
            if finished.is_err() {
                link.panicked(&operation).await;
            }
            drop(input);
            // The client waits for the end of the stream, and for nothing after it.
            drop(link);
            drop(out);
            if let Ok(Some(cursor)) = finished {
                operation.finish(&cursor).await;
            }
        };
        self.tasks.spawn(work.instrument(span));
        ReceiverStream::new(outbound)
    }
}

impl<T: Send + 'static> Link<'_, T> {
    /// Performs the operation and reports its end. What a failed one made is deleted; the cursor of one
    /// whose client has acted on the result is returned, for [`Operation::finish`].
    async fn attend<O: Operation<Output = T>>(
        &self,
        operation: &mut O,
        mut session: Session,
        mut received: mpsc::Receiver<Event>,
        counted: CallInProgress,
    ) -> Option<Cursor> {
        let deletion = self.sessions.runner_deletion.watch();
        let forward = async {
            while let Some(event) = received.recv().await {
                counts::count_output(&event);
                if self.out.send(Ok(Message::Event(event))).await.is_err() {
                    return;
                }
            }
        };
        let perform = async {
            let outcome = self.perform(operation, &mut session).await;
            let action = self.wishes.attached.on(outcome.event());
            counted.ended(outcome.counted::<O>(action), outcome.reason());
            if action == Action::Undo {
                // Side by side: a client that takes nothing does not hold up the end of its step.
                let late = operation.creates_objects() && !matches!(outcome, Outcome::Failed(_));
                let cursor = session.cursor.clone();
                let rolled_back = self.roll_back(operation, Some(&cursor), late);
                let last_lines = tokio::time::timeout(LAST_LINES, log_group::close(&mut session));
                let _ = tokio::join!(rolled_back, last_lines);
                self.wishes.attached.on(Transition::Undone);
            }
            // Without its session the forwarding ends.
            (outcome, action, session.into_cursor())
        };
        let ((outcome, action, cursor), ()) = tokio::join!(perform, forward);
        drop(deletion);
        match (action, outcome) {
            (Action::Report, Outcome::Returned(result)) => self.deliver(cursor, result).await,
            (Action::Undo, outcome) => {
                let failure = match outcome {
                    Outcome::Failed(failure) => failure,
                    _ => CommonError::Cancelled.into(),
                };
                let _ = self.out.send(Err(failure)).await;
                None
            }
            // The step goes on without its client.
            _ => None,
        }
    }

    async fn perform<O: Operation<Output = T>>(
        &self,
        operation: &mut O,
        session: &mut Session,
    ) -> Outcome<T> {
        // After a panic the session is there still, and with it the group that is to be closed.
        // Boxed: the operations are large, and a copy of one would fill a thread's stack.
        let run = AssertUnwindSafe(Box::pin(operation.run(session))).catch_unwind();
        let run = async { run.await.unwrap_or_else(|_| Err(panicked())) };
        tokio::select! {
            biased;
            result = run => match result {
                Ok(result) => Outcome::Returned(result),
                // So ends an operation that reports something to a client that is gone.
                Err(failure) if failure.is_cancelled() => Outcome::Closed,
                Err(failure) => Outcome::Failed(failure),
            },
            () = self.wishes.cancel.cancelled() => Outcome::Cancelled,
            () = self.out.closed() => Outcome::Closed,
        }
    }

    /// Hands over the result; the cursor if the client has acted on it.
    async fn deliver(&self, cursor: Cursor, result: T) -> Option<Cursor> {
        let _ = self.out.send(Ok(Message::Result(result))).await;
        let mut acked = self.wishes.acked.clone();
        let event = tokio::select! {
            _ = acked.wait_for(|acked| acked.result) => Transition::Acknowledged,
            () = self.out.closed() => Transition::Closed,
        };
        (self.wishes.attached.on(event) == Action::Clear).then_some(cursor)
    }

    /// Deletes what a failed or cancelled operation made; after a while others go on with that. `late`:
    /// once more, for a create that was under way.
    async fn roll_back(&self, operation: &impl Operation, cursor: Option<&Cursor>, late: bool) {
        let (first, again) = (operation.roll_back(cursor), operation.roll_back(cursor));
        let tasks = self.sessions.tasks.clone();
        let work = self.sessions.tasks.spawn(async move {
            first.await;
            if late {
                tasks.spawn(async move {
                    tokio::time::sleep(LATE_CREATE).await;
                    again.await;
                });
            }
        });
        let _ = tokio::time::timeout(ROLL_BACK_TIMEOUT, work).await;
    }

    /// Ends a session whose work has panicked: a stream that only breaks off would make hook come back
    /// again and again.
    async fn panicked(&self, operation: &impl Operation) {
        if self.wishes.attached.on(Transition::Failed) == Action::Undo {
            self.roll_back(operation, None, operation.creates_objects()).await;
            self.wishes.attached.on(Transition::Undone);
        }
        let _ = self.out.send(Err(panicked())).await;
    }
}

fn panicked() -> Failure {
    SessionError::Panicked.into()
}

/// Takes what the client says; never ends.
async fn listen(
    controls: impl Stream<Item = Control> + Send,
    acks: watch::Sender<Acked>,
    wishes: Wishes,
    events: mpsc::WeakSender<Event>,
) {
    tokio::pin!(controls);
    while let Some(control) = controls.next().await {
        match control {
            Control::Ack(ack) => acks.send_modify(|acked| acked.advance(ack)),
            // INT, TERM and KILL: a pod can be ended, and nothing else.
            Control::Signal(2 | 9 | 15) => wishes.cancel.cancel(),
            Control::Signal(number) => {
                let message = format!("Signal {number} cannot be sent to a step");
                let kind = EventKind::Progress { phase: Phase::Unspecified, message };
                if let Some(events) = events.upgrade() {
                    // Without a cursor: the client keeps the one it has.
                    let _ = events.send(Event { cursor: Vec::new(), kind }).await;
                }
            }
            Control::Detach => drop(wishes.attached.on(Transition::Detached)),
        }
    }
    // A client that closed its half acknowledges nothing by itself any more.
    acks.send_replace(Acked::ALL);
    std::future::pending().await
}

#[cfg(test)]
mod tests;
