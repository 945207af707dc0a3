//! A blob on its way from one registry to another. The one that it comes from may not be silent for long.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use reqwest::Response;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::registry::client::{RegistryError, Session};

/// What is sent on of a blob. One piece is in memory at a time.
pub(super) struct Pieces {
    receiver: Receiver<Bytes>,
    /// Bytes that are still to come, if the registry says so.
    left: Option<u64>,
}

/// The body that sends on what [`read`] reads of this answer.
pub(super) fn pieces(blob: &Response) -> (Pieces, Sender<Bytes>) {
    let (sender, receiver) = mpsc::channel(1);
    (Pieces { receiver, left: blob.content_length() }, sender)
}

/// Reads a blob to its end, or for as long as it is sent on.
///
/// # Errors
/// Of the registry that has it.
pub(super) async fn read(
    from: &Session,
    mut blob: Response,
    to: Sender<Bytes>,
) -> Result<(), RegistryError> {
    while let Some(piece) = from.next(&mut blob, "blob").await? {
        if to.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = self.receiver.poll_recv(context);
        if let Poll::Ready(Some(piece)) = &polled {
            let length = piece.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(length));
        }
        polled.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    /// With it the upload says its length, as not all registries take one that does not.
    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
