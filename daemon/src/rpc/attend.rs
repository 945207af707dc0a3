//! One caller and one operation, from the first event to the deletion of what was made.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use hookd_api::v1::Phase;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument;

use super::limits::Share;
use super::status;
use crate::error::{Failure, Reason};
use crate::hooks::{Context, Leaves, build_image, cleanup_job};
use crate::ids::StepId;
use crate::image::group;
use crate::step::caller::{Acked, Caller, Event, EventKind};
use crate::step::cursor::Cursor;
use crate::step::lifecycle::{self as step, Action};
use crate::step::registry::Attached;

mod refusal;

/// Events that wait for a slow caller, each of 64 KiB at most.
const QUEUE: usize = 4;
/// The runner gives a cancelled hook 7.5 s; the answer must not take them all.
const DELETION_PATIENCE: Duration = Duration::from_secs(5);
/// A caller that takes nothing any more is not told the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Who calls, and from where on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) step: StepId,
    pub(super) cursor: Cursor,
    pub(super) offsets: (u64, u64),
    pub(super) auto_ack: bool,
}

/// What a caller says after its first message.
#[derive(Debug)]
pub(super) enum Control {
    Ack(Acked),
    Signal(i32),
    Detach,
}

/// What a caller hears.
#[derive(Debug)]
pub(super) enum Message<T> {
    Event(Event),
    Result { cursor: Vec<u8>, result: T },
}

/// An operation at work for a caller.
pub(super) type Operation<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

type Outbound<T> = mpsc::Sender<Result<Message<T>, Status>>;

/// What a caller has said so far.
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
    /// The caller is not there any more.
    Closed,
}

impl<T> Outcome<T> {
    fn event(&self) -> step::Event {
        match self {
            Self::Returned(_) => step::Event::Returned,
            Self::Failed(_) => step::Event::Failed,
            Self::Cancelled => step::Event::Cancelled,
            Self::Closed => step::Event::Closed,
        }
    }
}

/// Starts the operation; returns the stream of what it tells its caller.
pub(super) fn attend<T, F>(
    (context, (session, share), leaves): (Arc<Context>, (Session, Share), Leaves),
    controls: impl Stream<Item = Control> + Send + 'static,
    operation: F,
) -> Result<ReceiverStream<Result<Message<T>, Status>>, Status>
where
    T: Send + 'static,
    F: for<'a> FnOnce(&'a Context, &'a StepId, &'a mut Caller) -> Operation<'a, T> + Send + 'static,
{
    let cancel = context.stopping.child_token();
    let attached = context.crashes.check(&session.step);
    let attached = attached.and_then(|()| context.steps.attach(&session.step, cancel.clone()));
    let attached = match attached {
        Ok(attached) => Arc::new(attached),
        Err(failure) => return Ok(refusal::refuse(&context, session, &failure)),
    };
    let working = context.crashes.begin(&session.step);
    let acked = if session.auto_ack { Acked::ALL } else { Acked::up_to(session.offsets) };
    let (acks, acked) = watch::channel(acked);
    let wishes = Wishes { acked, cancel, attached: attached.clone() };
    let (out, outbound) = mpsc::channel(1);
    let span = tracing::info_span!("step", id = %session.step);
    let tasks = context.tasks.clone();
    let work = async move {
        let (events, received) = mpsc::channel(QUEUE);
        let listen = listen(controls, acks, wishes.clone(), events.downgrade());
        let acked = wishes.acked.clone();
        let caller = Caller::new(session.cursor, session.offsets, events, acked).during(working);
        let work =
            work(&context, (&session.step, leaves), caller, received, (wishes, &out), operation);
        let work = async {
            tokio::select! {
                finished = work => finished,
                () = listen => None,
            }
        };
        let finished = AssertUnwindSafe(work).catch_unwind().await;
        if finished.is_err() {
            // A stream that only breaks off would make hook come back again and again.
            if attached.on(step::Event::Failed) == Action::Undo {
                let all = (build_image::ATTEMPTS, true);
                undo(&context, (&session.step, leaves), all).await;
                attached.on(step::Event::Undone);
            }
            let failure = Failure::internal("hookd failed in the middle of the step");
            let _ = out.send(Err(status::of(&failure))).await;
        }
        drop(share);
        // The caller waits for the end of the stream, and for nothing after it.
        drop(out);
        drop(attached);
        if let Ok(Some(builds)) = finished {
            cleanup_job::after_success(&context, leaves, &session.step, builds).await;
        }
    };
    tasks.spawn(work.instrument(span));
    Ok(ReceiverStream::new(outbound))
}

/// Takes what the caller says; never ends.
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
                let message = format!("Signal {number} cannot be sent to a container step");
                let kind = EventKind::Progress { phase: Phase::Unspecified, message };
                if let Some(events) = events.upgrade() {
                    // Without a cursor: the caller keeps the one it has.
                    let _ = events.send(Event { cursor: Vec::new(), kind }).await;
                }
            }
            Control::Detach => drop(wishes.attached.on(step::Event::Detached)),
        }
    }
    // A caller that closed its half acknowledges nothing by itself any more.
    acks.send_replace(Acked::ALL);
    std::future::pending().await
}

/// Performs the operation and tells its end. What a failed one made is deleted; of one that is done
/// and acknowledged the number of its builds is returned, for its deletion.
async fn work<T, F>(
    context: &Arc<Context>,
    (step, leaves): (&StepId, Leaves),
    mut caller: Caller,
    mut received: mpsc::Receiver<Event>,
    (mut wishes, out): (Wishes, &Outbound<T>),
    operation: F,
) -> Option<u32>
where
    F: for<'a> FnOnce(&'a Context, &'a StepId, &'a mut Caller) -> Operation<'a, T> + Send + 'static,
{
    let leaving = context.watch_for_leaving();
    let forward = async {
        while let Some(event) = received.recv().await {
            if out.send(Ok(Message::Event(event))).await.is_err() {
                return;
            }
        }
    };
    let perform = async {
        let outcome = perform(context, step, &mut caller, (&wishes, out), operation).await;
        let action = wishes.attached.on(outcome.event());
        if action == Action::Undo {
            // Side by side: a caller that takes nothing does not hold up the end of its step.
            let twice = !matches!(outcome, Outcome::Failed(_));
            let deletion = undo(context, (step, leaves), (builds(&caller.cursor), twice));
            let last_lines = tokio::time::timeout(LAST_LINES, group::close(&mut caller));
            let _ = tokio::join!(deletion, last_lines);
            wishes.attached.on(step::Event::Undone);
        }
        // Without its caller the forwarding ends.
        (outcome, action, caller.into_cursor())
    };
    let ((outcome, action, cursor), ()) = tokio::join!(perform, forward);
    drop(leaving);
    match (action, outcome) {
        (Action::Tell, Outcome::Returned(result)) => {
            let _ = out.send(Ok(Message::Result { cursor: cursor.encode(), result })).await;
            let event = tokio::select! {
                _ = wishes.acked.wait_for(|acked| acked.result) => step::Event::Acknowledged,
                () = out.closed() => step::Event::Closed,
            };
            (wishes.attached.on(event) == Action::Clear).then_some(builds(&cursor))
        }
        (Action::Undo, outcome) => {
            let failure = match outcome {
                Outcome::Failed(failure) => failure,
                _ => Failure::cancelled(),
            };
            let _ = out.send(Err(status::of(&failure))).await;
            None
        }
        // The step goes on without its caller.
        _ => None,
    }
}

/// Number of Jobs that the step has built with, or may have.
fn builds(cursor: &Cursor) -> u32 {
    let builds = cursor.build.as_ref().map_or(0, |build| build.attempt.saturating_add(1));
    builds.min(build_image::ATTEMPTS)
}

/// Deletes what a failed or cancelled operation made; after a while others go on with that.
async fn undo(
    context: &Arc<Context>,
    (step, leaves): (&StepId, Leaves),
    (builds, twice): (u32, bool),
) {
    let deletion =
        cleanup_job::after_failure(context.clone(), leaves, step.clone(), (builds, twice));
    let _ = tokio::time::timeout(DELETION_PATIENCE, deletion).await;
}

async fn perform<T, F>(
    context: &Arc<Context>,
    step: &StepId,
    caller: &mut Caller,
    (wishes, out): (&Wishes, &Outbound<T>),
    operation: F,
) -> Outcome<T>
where
    F: for<'a> FnOnce(&'a Context, &'a StepId, &'a mut Caller) -> Operation<'a, T> + Send + 'static,
{
    // After a panic the caller is there still, and with it the group that is to be closed.
    let operate = AssertUnwindSafe(async {
        context.known().await?;
        operation(context, step, caller).await
    });
    let operate = async {
        let panicked = |_| Failure::internal("hookd failed in the middle of the step");
        operate.catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic)))
    };
    tokio::select! {
        biased;
        result = operate => match result {
            Ok(result) => Outcome::Returned(result),
            // So ends whoever tells something to a caller that is gone.
            Err(failure) if failure.reason == Reason::Cancelled => Outcome::Closed,
            Err(failure) => Outcome::Failed(failure),
        },
        () = wishes.cancel.cancelled() => Outcome::Cancelled,
        () = out.closed() => Outcome::Closed,
    }
}

#[cfg(test)]
mod tests;
