//! What a proxy has done, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts that go on.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) reset: AtomicU64,
    pub(crate) half_closed: AtomicU64,
    pub(crate) withheld: AtomicU64,
    slowed: AtomicU64,
    /// In nanoseconds.
    delay: AtomicU64,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Connections that are there now.
    pub(crate) open: u64,
    /// Bytes passed on, both ways.
    pub(crate) bytes: u64,
    /// Connections that it reset.
    pub(crate) reset: u64,
    /// Connections of which it closed one direction.
    pub(crate) half_closed: u64,
    /// Bytes that came while they were not passed on.
    pub(crate) withheld: u64,
    /// Bytes that had to wait because of the pace.
    pub(crate) slowed: u64,
    /// How long they waited, the pieces of all directions of all connections together.
    pub(crate) delay: Duration,
}

impl Counts {
    /// What they are now.
    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            open: self.open.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            reset: self.reset.load(Relaxed),
            half_closed: self.half_closed.load(Relaxed),
            withheld: self.withheld.load(Relaxed),
            slowed: self.slowed.load(Relaxed),
            delay: Duration::from_nanos(self.delay.load(Relaxed)),
        }
    }

    /// Lets `length` bytes wait as long as they take at `rate` bytes a second.
    pub(crate) async fn slow_down(&self, length: u64, rate: u64) {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
        let waited = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // What is measured, and first: no byte is counted whose time is not.
        self.delay.fetch_add(waited, Relaxed);
        self.slowed.fetch_add(length, Relaxed);
    }
}
