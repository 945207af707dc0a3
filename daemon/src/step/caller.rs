//! The caller of a streaming operation.

use bytes::Bytes;
use hookd_api::v1::{Phase, Stream};
use tokio::sync::{mpsc, watch};

use super::crashes::Working;
use super::cursor::Cursor;
use crate::error::Failure;

/// Output that may be under way to the caller, unacknowledged.
pub const WINDOW: u64 = 1 << 20;
/// Largest piece of output in one event.
pub const CHUNK: usize = 64 << 10;

/// What the caller is told.
#[derive(Debug)]
pub struct Event {
    /// Position after the event.
    pub cursor: Vec<u8>,
    /// The event itself.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug)]
pub enum EventKind {
    /// Bytes of output.
    Output {
        /// Which stream.
        stream: Stream,
        /// Position of the first byte in its stream.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// A note; without a message it only carries the cursor.
    Progress {
        /// Where the step stands.
        phase: Phase,
        /// One line, or empty.
        message: String,
    },
}

/// What the caller has acted on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acked {
    /// Bytes of standard output; the maximum once the caller leaves it to us.
    pub stdout: u64,
    /// Bytes of standard error, likewise.
    pub stderr: u64,
    /// The result.
    pub result: bool,
}

/// The sending half towards a caller, and what it wants.
#[derive(Debug)]
pub struct Caller {
    /// Where the step stands. What changes here goes out with the next event.
    pub cursor: Cursor,
    stdout: u64,
    stderr: u64,
    events: mpsc::Sender<Event>,
    acked: watch::Receiver<Acked>,
    /// hookd's own work on the call; none once that is done.
    working: Option<Working>,
}

impl Acked {
    /// Everything, now and later.
    pub const ALL: Self = Self { stdout: u64::MAX, stderr: u64::MAX, result: true };

    /// A caller that resumes has acted on what it counts.
    pub fn up_to((stdout, stderr): (u64, u64)) -> Self {
        Self { stdout, stderr, result: false }
    }

    /// Takes in what was acted on since; what was said before is not taken back.
    pub fn advance(&mut self, news: Self) {
        self.stdout = self.stdout.max(news.stdout);
        self.stderr = self.stderr.max(news.stderr);
        self.result |= news.result;
    }

    fn total(self) -> u64 {
        self.stdout.saturating_add(self.stderr)
    }
}

impl Caller {
    /// A caller that has received the step up to `cursor` and these offsets.
    pub fn new(
        cursor: Cursor,
        (stdout, stderr): (u64, u64),
        events: mpsc::Sender<Event>,
        acked: watch::Receiver<Acked>,
    ) -> Self {
        Self { cursor, stdout, stderr, events, acked, working: None }
    }

    /// The same caller, with the record of hookd's work on its call.
    pub fn during(self, working: Working) -> Self {
        Self { working: Some(working), ..self }
    }

    /// The call's program or build was found or started: see [`Working::settle`]. So does its first
    /// output.
    pub fn settled(&mut self) {
        self.working = None;
    }

    /// Where the step stands at the end.
    pub fn into_cursor(self) -> Cursor {
        self.cursor
    }

    /// Sends standard output, at most [`CHUNK`] bytes; `advance` moves the cursor past them: an
    /// event is taken whole or not at all. Waits while too much is unacknowledged. May be dropped
    /// while it waits: nothing has moved then.
    ///
    /// # Errors
    /// `CANCELLED` when the caller is gone.
    pub async fn output(
        &mut self,
        data: Bytes,
        advance: impl FnOnce(&mut Cursor),
    ) -> Result<(), Failure> {
        self.output_of(Stream::Stdout, data, advance).await
    }

    /// As [`Caller::output`], of either stream.
    ///
    /// # Errors
    /// `CANCELLED` when the caller is gone.
    pub async fn output_of(
        &mut self,
        stream: Stream,
        data: Bytes,
        advance: impl FnOnce(&mut Cursor),
    ) -> Result<(), Failure> {
        debug_assert!(data.len() <= CHUNK, "{} bytes in one event", data.len());
        self.wait_for_window().await?;
        let permit = self.events.reserve().await.map_err(|_| Failure::cancelled())?;
        self.working = None;
        advance(&mut self.cursor);
        let sent = if stream == Stream::Stderr { &mut self.stderr } else { &mut self.stdout };
        let offset = *sent;
        *sent += data.len() as u64;
        let kind = EventKind::Output { stream, offset, data };
        permit.send(Event { cursor: self.cursor.encode(), kind });
        Ok(())
    }

    /// Bytes sent of standard output and of standard error, from the start of the step.
    pub fn sent(&self) -> (u64, u64) {
        (self.stdout, self.stderr)
    }

    /// What the caller has acted on, and what it will.
    pub fn acked(&self) -> watch::Receiver<Acked> {
        self.acked.clone()
    }

    /// Tells what is going on; an empty message only hands over the cursor.
    ///
    /// # Errors
    /// `CANCELLED` when the caller is gone.
    pub async fn progress(
        &mut self,
        phase: Phase,
        message: impl Into<String>,
    ) -> Result<(), Failure> {
        self.send(EventKind::Progress { phase, message: message.into() }).await
    }

    async fn send(&mut self, kind: EventKind) -> Result<(), Failure> {
        let event = Event { cursor: self.cursor.encode(), kind };
        self.events.send(event).await.map_err(|_| Failure::cancelled())
    }

    async fn wait_for_window(&mut self) -> Result<(), Failure> {
        let sent = self.stdout + self.stderr;
        let room = self.acked.wait_for(|acked| sent < acked.total().saturating_add(WINDOW)).await;
        room.map(|_| ()).map_err(|_| Failure::cancelled())
    }
}
