//! What hook sends to hookd in the course of a step: acknowledgements, a signal, the end.
//!
//! It is kept as a state, not as a queue: the request stream of the current connection sends what
//! hookd does not know yet. So acknowledgements never pile up behind a slow connection, and a
//! signal is sent again after a break.

use std::time::Duration;

use futures::Stream;
use hookd_api::v1::control::Kind;
use hookd_api::v1::{Ack, Control, Signal as SignalMessage};
use tokio::sync::watch;

use super::call::Call;
use super::events::Events;
use super::position::Offsets;
use crate::signals::Signal;

/// Longest time for the last acknowledgement to reach hookd. The step's end does not depend on it.
const CLOSING: Duration = Duration::from_millis(200);

/// What hookd is to know.
#[derive(Debug)]
pub(crate) struct Outbox(watch::Sender<State>);

/// What hookd is to know, or does know.
#[derive(Clone, Debug, Default)]
struct State {
    offsets: Offsets,
    signal: Option<Signal>,
    /// True once the result was received; nothing follows.
    result: bool,
}

/// The request stream of one connection.
struct Requests<C: Call> {
    /// The first message, until it is sent.
    start: Option<C::Request>,
    /// What was sent on this connection.
    sent: State,
    state: watch::Receiver<State>,
}

// === impl Outbox ===

impl Outbox {
    /// An outbox with nothing to send.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Sends `signal` to hookd.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.send_modify(|state| state.signal = Some(signal));
    }

    /// The signal, if there was one.
    pub(super) fn last_signal(&self) -> Option<Signal> {
        self.0.borrow().signal
    }

    /// The signal, once there was one.
    pub(super) async fn signalled(&self) -> Signal {
        let mut state = self.0.subscribe();
        loop {
            if let Some(signal) = state.borrow_and_update().signal {
                return signal;
            }
            // Cannot fail: the sender is `self`.
            let _ = state.changed().await;
        }
    }

    /// Bytes within `offsets` that were not reported to hookd.
    pub(super) fn unacknowledged(&self, offsets: Offsets) -> u64 {
        offsets.total() - self.0.borrow().offsets.total()
    }

    /// Reports to hookd that output up to `offsets` is written.
    pub(super) fn acknowledge(&self, offsets: Offsets) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.offsets, offsets) != offsets);
    }

    /// The messages of a new connection: `start`, and then all that is due.
    pub(super) fn requests<C: Call>(
        &self,
        start: C::Request,
    ) -> impl Stream<Item = C::Request> + Send + 'static {
        let state = self.0.subscribe();
        // `start` itself says where we are.
        let sent = State { offsets: state.borrow().offsets, ..State::default() };
        let requests = Requests::<C> { start: Some(start), sent, state };
        futures::stream::unfold(requests, |mut requests| async move {
            Some((requests.next().await?, requests))
        })
    }

    /// Acknowledges the result and all output, ends the request stream and gives both a moment to
    /// reach hookd, which ends `events` when it has seen them.
    pub(super) async fn close<C: Call>(&self, offsets: Offsets, events: &mut Events<C>) {
        self.0.send_modify(|state| {
            state.offsets = offsets;
            state.result = true;
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

impl<C: Call> Requests<C> {
    /// The next message; waits for one to become due. `None`: there will be none.
    async fn next(&mut self) -> Option<C::Request> {
        if let Some(start) = self.start.take() {
            return Some(start);
        }
        loop {
            if self.sent.result {
                return None;
            }
            let state = self.state.borrow_and_update().clone();
            if let Some(control) = self.sent.catch_up(&state) {
                return Some(C::control(control));
            }
            self.state.changed().await.ok()?;
        }
    }
}

// === impl State ===

impl State {
    /// The most urgent news that lead from this to `state`; `None`: they are the same.
    fn catch_up(&mut self, state: &Self) -> Option<Control> {
        if let Some(signal) = state.signal.filter(|_| self.signal.is_none()) {
            self.signal = Some(signal);
            return Some(control(Kind::Signal(SignalMessage { number: signal.number() })));
        }
        if self.offsets == state.offsets && self.result == state.result {
            return None;
        }
        self.offsets = state.offsets;
        self.result = state.result;
        Some(control(Kind::Ack(Ack {
            stdout_offset: state.offsets.stdout,
            stderr_offset: state.offsets.stderr,
            result: state.result,
        })))
    }
}

fn control(kind: Kind) -> Control {
    Control { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(stdout: u64) -> Offsets {
        Offsets { stdout, stderr: 1 }
    }

    fn ack(stdout_offset: u64, result: bool) -> Option<Control> {
        Some(control(Kind::Ack(Ack { stdout_offset, stderr_offset: 1, result })))
    }

    #[test]
    fn acknowledgements_that_were_not_sent_yet_become_one() {
        let outbox = Outbox::new();
        let mut sent = State::default();
        outbox.acknowledge(offsets(10));
        outbox.acknowledge(offsets(20));
        let news = outbox.0.borrow().clone();
        assert_eq!(sent.catch_up(&news), ack(20, false));
        assert_eq!(sent.catch_up(&news), None);
    }

    #[test]
    fn a_signal_goes_before_acknowledgements_and_once_a_connection() {
        let news =
            State { offsets: offsets(5), signal: Some(Signal::Interrupt), ..State::default() };
        for _connection in 0..2 {
            let mut sent = State::default();
            let signal = control(Kind::Signal(SignalMessage { number: 2 }));
            assert_eq!(sent.catch_up(&news), Some(signal));
            assert_eq!(sent.catch_up(&news), ack(5, false));
            assert_eq!(sent.catch_up(&news), None);
        }
    }

    #[test]
    fn the_result_is_acknowledged_even_if_the_offsets_were_before() {
        let mut sent = State { offsets: offsets(5), ..State::default() };
        let news = State { result: true, ..sent.clone() };
        assert_eq!(sent.catch_up(&news), ack(5, true));
    }
}
