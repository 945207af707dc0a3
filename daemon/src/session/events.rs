//! A session: what its client hears, and what the client has acted on.

use bytes::Bytes;
use hookd_api::transport::{MAX_OUTPUT_SIZE, OUTPUT_WINDOW};
use hookd_api::v1::{Phase, Stream};
use tokio::sync::{mpsc, watch};

use crate::error::{CommonError, Failure};
use crate::session::crashes::Working;
use crate::session::cursor::{Cursor, Offsets};
use crate::session::timings::Timings;

/// What the client is sent.
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

/// What the client has acted on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acked {
    /// Bytes of standard output; the maximum once the client leaves it to us.
    pub stdout: u64,
    /// Bytes of standard error, likewise.
    pub stderr: u64,
    /// The result.
    pub result: bool,
}

/// The sending half towards a client, and what it wants.
#[derive(Debug)]
pub struct Session {
    /// Where the step stands. What changes here goes out with the next event.
    pub cursor: Cursor,
    /// What its parts took so far.
    pub timings: Timings,
    sent: Offsets,
    is_new: bool,
    events: mpsc::Sender<Event>,
    acked: watch::Receiver<Acked>,
    /// hookd's own work on the call; none once that is done.
    working: Option<Working>,
}

impl Acked {
    /// Everything, now and later.
    pub const ALL: Self = Self { stdout: u64::MAX, stderr: u64::MAX, result: true };

    /// A client that resumes has acted on what it counts.
    pub fn up_to(offsets: Offsets) -> Self {
        Self { stdout: offsets.stdout, stderr: offsets.stderr, result: false }
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

impl Session {
    /// A client that has received the step up to `cursor` and these offsets.
    pub fn new(
        cursor: Cursor,
        sent: Offsets,
        events: mpsc::Sender<Event>,
        acked: watch::Receiver<Acked>,
    ) -> Self {
        let is_new = cursor == Cursor::default() && sent == Offsets::default();
        let timings = Timings::default();
        Self { cursor, timings, sent, is_new, events, acked, working: None }
    }

    /// True if no earlier call was for this step: what takes time is seen whole.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The same client, with the record of hookd's work on its call.
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

    /// Sends output of one stream, at most [`MAX_OUTPUT_SIZE`] bytes; `advance` moves the cursor past
    /// them: an event is taken whole or not at all. Waits while too much is unacknowledged. May be
    /// dropped while it waits: nothing has moved then.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn output(
        &mut self,
        stream: Stream,
        data: Bytes,
        advance: impl FnOnce(&mut Cursor),
    ) -> Result<(), Failure> {
        debug_assert!(data.len() <= MAX_OUTPUT_SIZE, "{} bytes in one event", data.len());
        self.wait_for_window().await?;
        let permit = self.events.reserve().await.map_err(|_| CommonError::Cancelled)?;
        self.working = None;
        advance(&mut self.cursor);
        let sent = match stream {
            Stream::Stderr => &mut self.sent.stderr,
            Stream::Stdout | Stream::Unspecified => &mut self.sent.stdout,
        };
        let offset = *sent;
        *sent += data.len() as u64;
        let kind = EventKind::Output { stream, offset, data };
        permit.send(Event { cursor: self.cursor.encode(), kind });
        Ok(())
    }

    /// Bytes sent, from the start of the step.
    pub fn sent(&self) -> Offsets {
        self.sent
    }

    /// What the client has acted on, and what it will.
    pub fn acked(&self) -> watch::Receiver<Acked> {
        self.acked.clone()
    }

    /// Hands the cursor over, so that the client resumes from here.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn checkpoint(&mut self, phase: Phase) -> Result<(), Failure> {
        self.send(EventKind::Progress { phase, message: String::new() }).await
    }

    /// Reports what is going on, in one line.
    ///
    /// # Errors
    /// `CANCELLED` when the client is gone.
    pub async fn progress(
        &mut self,
        phase: Phase,
        message: impl Into<String>,
    ) -> Result<(), Failure> {
        self.send(EventKind::Progress { phase, message: message.into() }).await
    }

    async fn send(&mut self, kind: EventKind) -> Result<(), Failure> {
        let event = Event { cursor: self.cursor.encode(), kind };
        Ok(self.events.send(event).await.map_err(|_| CommonError::Cancelled)?)
    }

    async fn wait_for_window(&mut self) -> Result<(), Failure> {
        let sent = self.sent.stdout + self.sent.stderr;
        let room =
            self.acked.wait_for(|acked| sent < acked.total().saturating_add(OUTPUT_WINDOW)).await;
        Ok(room.map(|_| ()).map_err(|_| CommonError::Cancelled)?)
    }
}
