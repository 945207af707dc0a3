//! File operations on volumes that may hang (a dead NFS server): each has a deadline, and the
//! threads that hang are counted.
//!
//! A thread that waits for the kernel cannot be ended. What can be done is to stop waiting for it,
//! to report the volume, and to bound the number of such threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::error::{Explain, Failure, Reason};

/// Time without progress after which a volume counts as stalled: longer than a failover of common
/// storage takes, shorter than a user waits for a step that shows nothing.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Threads at work or stuck at the same time. Each costs some 20 KB of memory.
const THREADS: usize = 48;

static SLOTS: Semaphore = Semaphore::const_new(THREADS);

/// How work on a thread reports that it makes progress, and learns that no caller waits for it.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    /// Milliseconds from `began` to the last beat.
    last: AtomicU64,
    abandoned: AtomicBool,
}

/// The calling task is gone or its deadline has passed: the work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operation was abandoned by its caller")]
pub struct Abandoned;

impl Pulse {
    fn new() -> Self {
        let (last, abandoned) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(State { began: Instant::now(), last, abandoned }))
    }

    /// Reports progress: the deadline counts from here. Cheap enough for each file or buffer.
    ///
    /// # Errors
    /// [`Abandoned`] when the work is to stop.
    pub fn beat(&self) -> Result<(), Abandoned> {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
        if self.0.abandoned.load(Ordering::Relaxed) { Err(Abandoned) } else { Ok(()) }
    }

    fn quiet(&self) -> Duration {
        let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(last)
    }
}

/// Sets the flag when the waiting future ends, however it ends.
struct Abandon(Pulse);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.0.abandoned.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on a thread of its own and waits for `deadline` at most. `what` names the operation
/// and its object for the message: "Reading the action.yml beneath /home/runner/_work".
///
/// # Errors
/// `VOLUME_STALLED` when the deadline passes, or when too many earlier operations hang; `INTERNAL`
/// when `work` panics.
pub async fn run<T: Send + 'static>(
    deadline: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    run_with_pulse(deadline, what, |_| work()).await
}

/// As [`run`], for long work: `deadline` counts from the last [`Pulse::beat`].
///
/// # Errors
/// As [`run`].
pub async fn run_with_pulse<T: Send + 'static>(
    deadline: Duration,
    what: &str,
    work: impl FnOnce(&Pulse) -> T + Send + 'static,
) -> Result<T, Failure> {
    let slot = tokio::time::timeout(deadline, SLOTS.acquire()).await;
    let Ok(Ok(slot)) = slot else { return Err(stalled(what, deadline)) };
    let pulse = Pulse::new();
    let abandon = Abandon(pulse.clone());
    let mut task = tokio::task::spawn_blocking(move || {
        // Held by the thread: one that hangs keeps its slot.
        let _slot = slot;
        work(&pulse)
    });
    loop {
        let left = deadline.saturating_sub(abandon.0.quiet());
        if left.is_zero() {
            return Err(stalled(what, deadline));
        }
        if let Ok(done) = tokio::time::timeout(left, &mut task).await {
            return done.map_err(|error| {
                BlockingError::Failed { what: what.to_owned(), source: error.into() }.into()
            });
        }
    }
}

fn stalled(what: &str, deadline: Duration) -> Failure {
    BlockingError::Stalled { what: what.to_owned(), deadline }.into()
}

/// A file operation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// It did not end, and did not make progress, in time.
    #[error("{what} did not end within {:.0} s: the volume does not answer", deadline.as_secs_f64())]
    Stalled {
        /// The operation: "Reading the context".
        what: String,
        /// Its deadline.
        deadline: Duration,
    },
    /// It panicked.
    #[error("{what} failed")]
    Failed {
        /// The operation.
        what: String,
        /// The panic.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Explain for BlockingError {
    fn reason(&self) -> Reason {
        match self {
            Self::Stalled { .. } => Reason::VolumeStalled,
            Self::Failed { .. } => Reason::Internal,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Stalled { .. } => {
                "Check the storage behind the runner's work volume (a hung NFS mount, for one); run \
                 the job again"
            }
            Self::Failed { .. } => "This is a defect of hookd: please report it",
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let what = || "Reading the context".to_owned();
    vec![
        Box::new(BlockingError::Stalled { what: what(), deadline: DEADLINE }),
        Box::new(BlockingError::Failed { what: what(), source: "task 7 panicked".into() }),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::error::examples::assert_complete;

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    fn the_examples_have_every_error_of_a_file_operation() {
        assert_complete(include_str!("blocking.rs"), "BlockingError", &examples());
    }

    #[tokio::test]
    async fn work_returns_its_value() {
        assert_eq!(run(DEADLINE, "Adding", || 1 + 1).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn work_that_hangs_is_reported_and_learns_that_it_is_abandoned() {
        let (release, hang) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let stuck = run_with_pulse(SHORT, "Reading /work", move |pulse| {
            let _ = hang.recv();
            let _ = sender.send(pulse.beat());
        });
        let failure = stuck.await.unwrap_err();
        assert_eq!(failure.reason, Reason::VolumeStalled);
        assert!(failure.message.starts_with("Reading /work did not end"), "{failure}");
        drop(release);
        assert_eq!(receiver.recv(), Ok(Err(Abandoned)));
    }

    #[tokio::test]
    async fn work_that_makes_progress_outlives_the_deadline() {
        let long = run_with_pulse(SHORT, "Walking", |pulse| {
            (0..30).try_for_each(|_| {
                std::thread::park_timeout(Duration::from_millis(10));
                pulse.beat()
            })
        });
        assert_eq!(long.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_a_defect_and_not_a_stall() {
        let failure = run(DEADLINE, "Reading", || panic!("no")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Internal);
    }
}
