//! SIGINT and SIGTERM: how the runner cancels a step.
//!
//! The runner sends SIGINT (twice, where its own shutdown reaches the whole process group), SIGTERM
//! 7.5 s later and SIGKILL 2.5 s after that. The first signal starts a budget that ends before the
//! second kind arrives; what comes after it changes nothing.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};

/// Time for the end of the work, from the first signal.
const BUDGET: Duration = Duration::from_millis(6500);

/// A signal that asks hook to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The two signals, heard from the moment this exists.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

/// What became of work that signals can end.
#[derive(Debug)]
pub(crate) enum Watched<T> {
    /// It ended by itself.
    Done(T),
    /// A signal came first.
    Signalled {
        /// The first one.
        signal: Signal,
        /// What the work returned after it; `None`: the budget ran out first.
        done: Option<T>,
    },
}

// === impl Signal ===

impl Signal {
    /// Number of the signal.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Interrupt => SignalKind::interrupt().as_raw_value(),
            Self::Terminate => SignalKind::terminate().as_raw_value(),
        }
    }
}

// === impl Signals ===

impl Signals {
    /// Starts to listen. Without this a signal ends the process at once.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Runs `work` to its end, or to the end of the budget that the first signal starts.
    /// `on_first` is called with that signal; the work itself does not get it.
    pub(crate) async fn watch<T>(
        &mut self,
        work: impl Future<Output = T>,
        on_first: impl FnOnce(Signal),
    ) -> Watched<T> {
        let mut work = pin!(work);
        let signal = tokio::select! {
            done = &mut work => return Watched::Done(done),
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        };
        on_first(signal);
        let done = tokio::time::timeout(BUDGET, work).await.ok();
        Watched::Signalled { signal, done }
    }
}
