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
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Since when the registry is waited for; none: its sender is.
    since: Option<Instant>,
    /// The registry has taken all of it.
    is_whole: bool,
}

impl Upload {
    /// The body, as it is to be sent.
    pub(super) fn of(body: Body) -> (Self, Body) {
        let state = State { since: Some(Instant::now()), is_whole: is_over(&body) };
        let state = Arc::new(Mutex::new(state));
        (Self { state: state.clone() }, Body::wrap(Watched { body, state }))
    }

    /// Waits until the registry has not taken the next `part` of it, or given no `answer` to all of it, for
    /// so long.
    pub(super) async fn stalled(&self, part: Duration, answer: Duration) {
        loop {
            let State { since, is_whole } = *lock(&self.state);
            let limit = if is_whole { answer } else { part };
            let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
            match limit.checked_sub(waited).filter(|left| !left.is_zero()) {
                Some(left) => tokio::time::sleep(left).await,
                None => return,
            }
        }
    }
}

struct Watched {
    body: Body,
    state: Arc<Mutex<State>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_whole = matches!(polled, Poll::Ready(None)) || is_over(&self.body);
        *lock(&self.state) = State { since: polled.is_ready().then(Instant::now), is_whole };
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// True for a body that is not asked for more: the connection knows that it has none.
fn is_over(body: &Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
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

    const PART: Duration = Duration::from_secs(10);
    const ANSWER: Duration = Duration::from_secs(30);

    async fn is_stalled(upload: &Upload) -> bool {
        timeout(10 * ANSWER, upload.stalled(PART, ANSWER)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_has_a_limit_and_a_sender_has_none() {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let body = Body::wrap(StreamBody::new(ReceiverStream::new(receiver)));
        let (upload, mut body) = Upload::of(body);
        // Nothing of it is taken.
        assert!(is_stalled(&upload).await);
        // What was taken is waiting for more of it.
        let waiting = timeout(PART, body.frame()).await;
        assert!(waiting.is_err() && !is_stalled(&upload).await);
        // The next part is not asked for.
        sender.send(Ok(Frame::data(Bytes::from_static(b"layer")))).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        let begun = Instant::now();
        assert!(is_stalled(&upload).await);
        assert_eq!(begun.elapsed(), PART);
        // All of it is taken, and not answered to.
        drop(sender);
        assert!(body.frame().await.is_none());
        let begun = Instant::now();
        assert!(is_stalled(&upload).await);
        assert_eq!(begun.elapsed(), ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_a_known_length_is_whole_with_its_last_part() {
        for part in ["", "layer"] {
            let (upload, mut body) = Upload::of(Body::wrap(Body::from(part)));
            if !part.is_empty() {
                assert!(body.frame().await.unwrap().is_ok());
            }
            let begun = Instant::now();
            assert!(is_stalled(&upload).await);
            assert_eq!(begun.elapsed(), ANSWER, "{part:?}");
        }
    }
}
