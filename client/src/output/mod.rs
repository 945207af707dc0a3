//! Everything that hook prints.
//!
//! A thread of its own does the writing, since a write to a pipe without a reader blocks, and
//! signals must be heard meanwhile. A caller with data waits until it is written: that wait is what
//! slows hookd down, and what keeps the memory bounded.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;

use tokio::sync::oneshot;

mod printer;

use printer::Printer;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdStream {
    /// Standard output: the program's alone.
    Stdout,
    /// Standard error; hook's own lines go there too.
    Stderr,
}

/// The writing thread; dropping it lets what is queued be written.
pub(crate) struct Output {
    commands: mpsc::Sender<Command>,
}

/// What the thread is asked to do, in command.
enum Command {
    /// Write bytes as they are.
    Data { channel: StdStream, bytes: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    /// Print a line of hook's own at the next line boundary.
    Line(String),
    /// Say when everything before this is done.
    Settle { done: oneshot::Sender<()> },
    /// Print the lines still held back, and `last`.
    Finish { last: Option<String>, done: oneshot::Sender<()> },
}

// === impl Output ===

impl Output {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        // Copies of the descriptors, past the buffers of std's own streams.
        let stdout = duplicate(io::stdout().as_fd())?;
        let stderr = duplicate(io::stderr().as_fd())?;
        let (commands, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || run(&queue, Printer::new(stdout, stderr)))?;
        Ok(Self { commands })
    }

    /// Writes `bytes` to `channel`; returns once they are written.
    pub(crate) async fn data(&self, channel: StdStream, bytes: Vec<u8>) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        self.send(Command::Data { channel, bytes, done });
        written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Queues a line of hook's own and returns at once.
    pub(crate) fn line(&self, text: impl Into<String>) {
        self.send(Command::Line(text.into()));
    }

    /// Prints a line of hook's own; returns once it is written or held back. For lines that come
    /// in any number: nothing else bounds the queue.
    pub(crate) async fn line_settled(&self, text: impl Into<String>) {
        let (done, settled) = oneshot::channel();
        self.line(text);
        self.send(Command::Settle { done });
        // The thread ends with the process only.
        let _ = settled.await;
    }

    /// Prints what is held back and `last`, each as a line; returns once they are written.
    pub(crate) async fn finish(&self, last: Option<String>) {
        let (done, finished) = oneshot::channel();
        self.send(Command::Finish { last, done });
        let _ = finished.await;
    }

    /// Hands one command to the thread.
    fn send(&self, command: Command) {
        // Without the thread, `done` of the command is dropped: its waiter learns it.
        let _ = self.commands.send(command);
    }
}

/// A file on the same descriptor, without a buffer.
fn duplicate(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    descriptor.try_clone_to_owned().map(File::from)
}

/// The thread: carries out commands until no sender is left.
fn run<O: Write, E: Write>(queue: &mpsc::Receiver<Command>, mut printer: Printer<O, E>) {
    // A waiter that has gone, after a cancellation, needs no answer.
    while let Ok(command) = queue.recv() {
        match command {
            Command::Data { channel, bytes, done } => {
                let _ = done.send(printer.data(channel, &bytes));
            }
            Command::Line(text) => printer.line(text),
            Command::Settle { done } => {
                let _ = done.send(());
            }
            Command::Finish { last, done } => {
                printer.finish(last);
                let _ = done.send(());
            }
        }
    }
}
