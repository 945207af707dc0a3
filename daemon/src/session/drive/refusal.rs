//! Calls that are refused before any work.

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;

use super::{Message, Messages, QUEUE, Start};
use crate::error::Failure;
use crate::session::events::{Acked, Session};
use crate::session::log_group;

/// Refuses a call. The group of a build's log that an earlier daemon opened is closed first: until
/// then the runner takes no command, the error's own line included.
pub(super) fn refuse<T: Send + 'static>(
    tasks: &TaskTracker,
    start: Start,
    failure: Failure,
) -> Messages<T> {
    let (out, outbound) = mpsc::channel(QUEUE);
    tasks.spawn(async move {
        let (events, mut received) = mpsc::channel(QUEUE);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(start.cursor, start.offsets, events, acked);
        let _ = log_group::close(&mut session).await;
        drop(session);
        while let Some(event) = received.recv().await {
            let _ = out.send(Ok(Message::Event(event))).await;
        }
        let _ = out.send(Err(failure)).await;
    });
    ReceiverStream::new(outbound)
}
