//! The events of one connection, small pieces of output joined.
//!
//! hookd sends output as it comes, often line by line. What is there already is written at once:
//! a write, and the acknowledgement after it, cost the same for a line as for many.

use futures::FutureExt as _;
use tonic::{Status, Streaming};

use super::call::{Call, Event, Positioned};

/// Output is joined up to about this size.
const JOINED: usize = 64 << 10;

/// An event, the end of the stream (`None`) or its failure.
pub(super) type Received<R> = Result<Option<Positioned<R>>, Status>;

/// The events of one connection.
pub(super) struct Events<C: Call> {
    stream: Streaming<C::Response>,
    /// Received already, and not joined with what came before it.
    ahead: Option<Received<C::Result>>,
}

// === impl Events ===

impl<C: Call> Events<C> {
    /// The events of `stream`.
    pub(super) fn new(stream: Streaming<C::Response>) -> Self {
        Self { stream, ahead: None }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Received<C::Result> {
        let received = match self.ahead.take() {
            Some(received) => received,
            None => self.receive().await,
        };
        self.joined(received)
    }

    /// The next event if it is here already.
    pub(super) fn ready(&mut self) -> Option<Received<C::Result>> {
        let received = self.ahead.take().or_else(|| self.receive().now_or_never())?;
        Some(self.joined(received))
    }

    async fn receive(&mut self) -> Received<C::Result> {
        let message = self.stream.message().await?;
        Ok(message.map(C::event))
    }

    /// `received` with the output that is here already and follows it.
    fn joined(&mut self, received: Received<C::Result>) -> Received<C::Result> {
        let Ok(Some(mut event)) = received else { return received };
        while let Some(received) = self.receive().now_or_never() {
            match received {
                Ok(Some(next)) if follows(&event, &next) => join(&mut event, next),
                other => {
                    self.ahead = Some(other);
                    break;
                }
            }
        }
        Ok(Some(event))
    }
}

/// True if `next` is the output right after that of `event`, and both are small.
fn follows<R>(event: &Positioned<R>, next: &Positioned<R>) -> bool {
    let (Some(Event::Output(output)), Some(Event::Output(next))) = (&event.event, &next.event)
    else {
        return false;
    };
    output.stream == next.stream
        && output.offset.checked_add(output.data.len() as u64) == Some(next.offset)
        && output.data.len() + next.data.len() <= JOINED
}

/// Adds the output of `next` to that of `event`.
fn join<R>(event: &mut Positioned<R>, next: Positioned<R>) {
    if let (Some(Event::Output(output)), Some(Event::Output(next))) = (&mut event.event, next.event)
    {
        output.data.extend(next.data);
    }
    if !next.cursor.is_empty() {
        event.cursor = next.cursor;
    }
}

#[cfg(test)]
mod tests {
    use hookd_api::v1::{Output, Progress, Stream};

    use super::*;

    fn output(stream: Stream, offset: u64, data: &[u8]) -> Positioned<()> {
        let output = Output { stream: stream.into(), offset, data: data.to_vec() };
        let cursor = format!("c{offset}").into_bytes();
        Positioned { cursor, event: Some(Event::Output(output)) }
    }

    #[test]
    fn output_that_follows_is_joined_under_the_later_cursor() {
        let mut event = output(Stream::Stdout, 3, b"ab");
        let next = output(Stream::Stdout, 5, b"c");
        assert!(follows(&event, &next));
        join(&mut event, next);
        let mut expected = output(Stream::Stdout, 3, b"abc");
        expected.cursor = b"c5".to_vec();
        assert_eq!(event, expected);
    }

    #[test]
    fn nothing_else_is_joined() {
        let event = output(Stream::Stdout, 3, b"ab");
        let progress = Some(Event::Progress(Progress::default()));
        let progress = Positioned { cursor: Vec::new(), event: progress };
        for next in [
            output(Stream::Stderr, 5, b"c"),
            output(Stream::Stdout, 4, b"bc"),
            output(Stream::Stdout, 6, b"d"),
            output(Stream::Stdout, 5, &[0; JOINED]),
            progress,
        ] {
            assert!(!follows(&event, &next), "{next:?}");
            assert!(!follows(&next, &event), "{next:?}");
        }
    }
}
