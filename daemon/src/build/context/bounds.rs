//! How much of hookd's time and of an archive one context may take.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::ContextError;

/// Steps between two looks at the clock: some milliseconds at most.
const STEPS: u64 = 1 << 16;

/// Limits of reading a context.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes of the archive before compression.
    pub bytes: u64,
    /// Time that reading and sending may take.
    pub timeout: Duration,
    /// Ends the work when it is cancelled.
    pub cancelled: CancellationToken,
}

/// Counts the work that is done for a context and ends it in time.
pub(super) struct Meter {
    context: PathBuf,
    bounds: Bounds,
    started: Instant,
    steps: Cell<u64>,
}

impl Meter {
    /// The time starts now.
    pub(super) fn new(context: PathBuf, bounds: &Bounds) -> Self {
        Self { context, bounds: bounds.clone(), started: Instant::now(), steps: Cell::new(STEPS) }
    }

    /// Accounts for so many steps, of some nanoseconds each.
    pub(super) fn spend(&self, steps: u64) -> Result<(), ContextError> {
        let left = self.steps.get().saturating_sub(steps);
        if left > 0 {
            self.steps.set(left);
            return Ok(());
        }
        // Once the time is up each further step fails.
        self.steps.set(0);
        if self.bounds.cancelled.is_cancelled() {
            return Err(ContextError::Cancelled);
        }
        if self.started.elapsed() < self.bounds.timeout {
            self.steps.set(STEPS);
            return Ok(());
        }
        let seconds = self.bounds.timeout.as_secs();
        Err(ContextError::TimedOut { path: self.context.clone(), seconds })
    }
}
