//! A thread for looks at processes: they take time, and output goes on meanwhile.
//!
//! It is started before the first step. Where a step has used up the number of processes that its
//! container may have, no thread can be started any more, and that step is to be ended.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

use tokio::sync::oneshot;

type Look = Box<dyn FnOnce() + Send>;

static THREAD: OnceLock<Sender<Look>> = OnceLock::new();

/// Starts the thread.
///
/// # Errors
/// When there can be none.
pub(crate) fn start() -> io::Result<()> {
    let (sender, looks) = mpsc::channel::<Look>();
    let run = move || looks.into_iter().for_each(|look| look());
    std::thread::Builder::new().name("looks".to_owned()).spawn(run)?;
    // A second one is not started: PID 1 starts once.
    let _ = THREAD.set(sender);
    Ok(())
}

/// What `look` finds; none if the thread is not there.
pub(crate) async fn off_thread<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let look = Box::new(move || drop(sender.send(look())));
    THREAD.get()?.send(look).ok()?;
    receiver.await.ok()
}
