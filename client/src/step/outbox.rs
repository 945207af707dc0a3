//! What hook tells hookd in the course of a step: acknowledgements, a signal, the end.
//!
//! It is kept as a state, not as a queue: the request stream of the current connection sends what
//! hookd does not know yet. So acknowledgements never pile up behind a slow connection, and a
//! signal is told again after a break.

use std::time::Duration;

use futures::Stream;
use hookd_api::v1::run_container_step_request::Message;
use hookd_api::v1::{Ack, RunContainerStepRequest, RunContainerStepStart, Signal as SignalMessage};
use tokio::sync::watch;

use super::events::Events;
use super::position::Offsets;
use crate::signals::Signal;

/// Longest time for the last acknowledgement to reach hookd. The step's end does not depend on it.
const CLOSING: Duration = Duration::from_millis(200);

/// What hookd is to know.
#[derive(Debug)]
pub(crate) struct Outbox(watch::Sender<News>);

/// What hookd is to know, or does know.
#[derive(Clone, Debug, Default)]
struct News {
    offsets: Offsets,
    signal: Option<Signal>,
    /// True once the result was received; nothing follows.
    result: bool,
}

/// The request stream of one connection.
struct Requests {
    /// The first message, until it is sent.
    start: Option<RunContainerStepStart>,
    /// What was told on this connection.
    told: News,
    news: watch::Receiver<News>,
}

// === impl Outbox ===

impl Outbox {
    /// An outbox with nothing to tell.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Tells hookd of `signal`.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.send_modify(|news| news.signal = Some(signal));
    }

    /// The signal, if there was one.
    pub(super) fn last_signal(&self) -> Option<Signal> {
        self.0.borrow().signal
    }

    /// The signal, once there was one.
    pub(super) async fn signalled(&self) -> Signal {
        let mut news = self.0.subscribe();
        loop {
            if let Some(signal) = news.borrow_and_update().signal {
                return signal;
            }
            // Cannot fail: the sender is `self`.
            let _ = news.changed().await;
        }
    }

    /// Bytes within `offsets` that hookd was not told of.
    pub(super) fn unacknowledged(&self, offsets: Offsets) -> u64 {
        offsets.total() - self.0.borrow().offsets.total()
    }

    /// Tells hookd that output up to `offsets` is written.
    pub(super) fn acknowledge(&self, offsets: Offsets) {
        self.0.send_if_modified(|news| std::mem::replace(&mut news.offsets, offsets) != offsets);
    }

    /// The messages of a new connection: `start`, and then whatever there is to tell.
    pub(super) fn requests(
        &self,
        start: RunContainerStepStart,
    ) -> impl Stream<Item = RunContainerStepRequest> + Send + 'static {
        let news = self.0.subscribe();
        // `start` itself says where we are.
        let told = News { offsets: news.borrow().offsets, ..News::default() };
        let requests = Requests { start: Some(start), told, news };
        futures::stream::unfold(requests, |mut requests| async move {
            let message = Some(requests.next().await?);
            Some((RunContainerStepRequest { message }, requests))
        })
    }

    /// Acknowledges the result and all output, ends the request stream and gives both a moment to
    /// reach hookd, which ends `events` when it has seen them.
    pub(super) async fn close(&self, offsets: Offsets, events: &mut Events) {
        self.0.send_modify(|news| {
            news.offsets = offsets;
            news.result = true;
        });
        let seen = async {
            // Any end will do: the result is known.
            while let Ok(Some(_)) = events.next().await {}
            // The request stream lets go of its receiver when all of it was taken; the task of the
            // connection, which is due by then, writes it to the socket.
            self.0.closed().await;
            tokio::task::yield_now().await;
        };
        let _ = tokio::time::timeout(CLOSING, seen).await;
    }
}

// === impl Requests ===

impl Requests {
    /// The next message; waits for one to become due. `None`: there will be none.
    async fn next(&mut self) -> Option<Message> {
        if let Some(start) = self.start.take() {
            return Some(Message::Start(start));
        }
        loop {
            if self.told.result {
                return None;
            }
            let news = self.news.borrow_and_update().clone();
            if let Some(message) = self.told.catch_up(&news) {
                return Some(message);
            }
            self.news.changed().await.ok()?;
        }
    }
}

// === impl News ===

impl News {
    /// The most urgent message that leads from this to `news`; `None`: they are the same.
    fn catch_up(&mut self, news: &Self) -> Option<Message> {
        if let Some(signal) = news.signal.filter(|_| self.signal.is_none()) {
            self.signal = Some(signal);
            return Some(Message::Signal(SignalMessage { number: signal.number() }));
        }
        if self.offsets == news.offsets && self.result == news.result {
            return None;
        }
        self.offsets = news.offsets;
        self.result = news.result;
        Some(Message::Ack(Ack {
            stdout_offset: news.offsets.stdout,
            stderr_offset: news.offsets.stderr,
            result: news.result,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(stdout: u64) -> Offsets {
        Offsets { stdout, stderr: 1 }
    }

    fn ack(stdout_offset: u64, result: bool) -> Option<Message> {
        Some(Message::Ack(Ack { stdout_offset, stderr_offset: 1, result }))
    }

    #[test]
    fn acknowledgements_that_were_not_sent_yet_become_one() {
        let outbox = Outbox::new();
        let mut told = News::default();
        outbox.acknowledge(offsets(10));
        outbox.acknowledge(offsets(20));
        let news = outbox.0.borrow().clone();
        assert_eq!(told.catch_up(&news), ack(20, false));
        assert_eq!(told.catch_up(&news), None);
    }

    #[test]
    fn a_signal_goes_before_acknowledgements_and_once_a_connection() {
        let news = News { offsets: offsets(5), signal: Some(Signal::Interrupt), ..News::default() };
        for _connection in 0..2 {
            let mut told = News::default();
            let signal = Message::Signal(SignalMessage { number: 2 });
            assert_eq!(told.catch_up(&news), Some(signal));
            assert_eq!(told.catch_up(&news), ack(5, false));
            assert_eq!(told.catch_up(&news), None);
        }
    }

    #[test]
    fn the_result_is_acknowledged_even_if_the_offsets_were_before() {
        let mut told = News { offsets: offsets(5), ..News::default() };
        let news = News { result: true, ..told.clone() };
        assert_eq!(told.catch_up(&news), ack(5, true));
    }
}
