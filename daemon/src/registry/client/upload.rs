//! A body on its way to a registry. It takes as long as its sender takes; the registry has a limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use reqwest::Body;
use tokio::time::Instant;

/// What is known of a body that is sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// Since when the registry is waited for; none: its sender is.
    since: Arc<Mutex<Option<Instant>>>,
}

impl Upload {
    /// The body, as it is to be sent.
    pub(super) fn of(body: Body) -> (Self, Body) {
        let since = Arc::new(Mutex::new(Some(Instant::now())));
        (Self { since: since.clone() }, Body::wrap(Watched { body, since }))
    }

    /// Waits until the registry has taken nothing of it, or has not answered to all of it, for so long.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let waited = lock(&self.since).map_or(Duration::ZERO, |since| since.elapsed());
            match limit.checked_sub(waited).filter(|left| !left.is_zero()) {
                Some(left) => tokio::time::sleep(left).await,
                None => return,
            }
        }
    }
}

struct Watched {
    body: Body,
    since: Arc<Mutex<Option<Instant>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        *lock(&self.since) = polled.is_ready().then(Instant::now);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio::time::timeout;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn is_stalled(upload: &Upload) -> bool {
        timeout(10 * LIMIT, upload.stalled(LIMIT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_has_a_limit_and_a_sender_has_none() {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let body = Body::wrap(StreamBody::new(ReceiverStream::new(receiver)));
        let (upload, mut body) = Upload::of(body);
        // Nothing of it is taken.
        assert!(is_stalled(&upload).await);
        // What was taken is waiting for more of it.
        let waiting = timeout(LIMIT, body.frame()).await;
        assert!(waiting.is_err() && !is_stalled(&upload).await);
        // The next part is not asked for.
        sender.send(Ok(Frame::data(Bytes::from_static(b"layer")))).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let begun = Instant::now();
        assert!(is_stalled(&upload).await);
        assert_eq!(begun.elapsed(), LIMIT);
        // All of it is taken, and not answered to.
        drop(sender);
        assert!(body.frame().await.is_none() && is_stalled(&upload).await);
    }
}
