//! Calls that are refused before any work.

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Message, QUEUE, Session};
use crate::error::Failure;
use crate::hooks::Context;
use crate::image::group;
use crate::rpc::status;
use crate::step::caller::{Acked, Caller};

/// Refuses a call. The group of a build's log that an earlier daemon opened is closed first: until
/// then the runner takes no command, the error's own line included.
pub(super) fn refuse<T: Send + 'static>(
    context: &Context,
    session: Session,
    failure: &Failure,
) -> ReceiverStream<Result<Message<T>, Status>> {
    let status = status::of(failure);
    let (out, outbound) = mpsc::channel(QUEUE);
    context.tasks.spawn(async move {
        let (events, mut received) = mpsc::channel(QUEUE);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut caller = Caller::new(session.cursor, session.offsets, events, acked);
        let _ = group::close(&mut caller).await;
        drop(caller);
        while let Some(event) = received.recv().await {
            let _ = out.send(Ok(Message::Event(event))).await;
        }
        let _ = out.send(Err(status)).await;
    });
    ReceiverStream::new(outbound)
}
