//! One stream of a log, from its opening to its end or a break.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::lines::LEAP;
use super::look::Look;
use super::position::LogPosition;
use super::{End, Lines, Log, Sink, lost};
use crate::error::{Failure, report};

/// Bytes read at a time; one event carries them.
pub(super) const READ: usize = 32 << 10;
/// A log that is quiet for so long after its container's end is read again instead.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// The same for a log that cannot have been rotated yet: reading it again loses nothing, and the
/// kubelet closes a log up to 1 s after its container's end.
const PROMPT_LINGER: Duration = Duration::from_millis(30);
/// A stream that is quiet for so long may have come to the end of its file.
pub(super) const SETTLE: Duration = Duration::from_millis(500);
/// A log that is quiet for so long may be one whose connection is dead, with nobody told: it is asked
/// for again, which costs little and which no user needs to know.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Far from the size at which the kubelet starts a new log: 10 MiB, if nobody set less.
pub(super) const SMALL: usize = 512 << 10;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Read {
    /// The server ended it.
    Closed,
    /// Nothing came for a short while after the container's end.
    Quiet,
    /// Nothing came for a long while, or the kubelet gave up; whoever asks again loses nothing.
    Idle,
    /// It broke.
    Broken(String),
}

/// A reader that was behind for less long was not led past a file: the kubelet looks at the size of its
/// logs each 10 s, and a node takes its time to turn them over.
const BEHIND: SignedDuration = SignedDuration::from_secs(8);
/// A stream that was there for so long is no break right after an opening.
const STEADY: Duration = Duration::from_secs(10);

/// What is known of a log's way through the files of the node.
#[derive(Debug)]
pub(super) struct Course {
    /// Bytes since the log's start, or at least [`SMALL`].
    pub(super) total: usize,
    /// The newest stream came to the end of its file before another was begun.
    pub(super) follows: bool,
    /// How long nothing had come when the newest piece, or the end, came.
    pub(super) waited: Duration,
    /// The newest stream brought something new, or was there for a while.
    pub(super) held: bool,
}

impl Course {
    /// Of a log that was read up to here, perhaps by another daemon.
    pub(super) fn from(position: &LogPosition) -> Self {
        let total = if position.timestamp.is_none() { 0 } else { SMALL };
        Self { total, follows: false, waited: Duration::ZERO, held: false }
    }

    /// True if no file can have been skipped between two moments, so many seconds apart, of which the
    /// second is that of the newest piece, or of the end. Whoever was behind did not wait.
    pub(super) fn is_unbroken(&self, apart: SignedDuration) -> bool {
        let waited = SignedDuration::try_from(self.waited).unwrap_or(SignedDuration::MAX);
        let in_time = apart < LEAP || (self.follows && apart <= waited.saturating_add(BEHIND));
        in_time || self.is_small()
    }

    /// The container's end, and how long after it the log may be quiet.
    async fn linger(&self, ended: Option<End<'_>>) {
        let quiet = if ended.is_some() && self.is_small() { PROMPT_LINGER } else { LINGER };
        if let Some(ended) = ended {
            ended.await;
        }
        tokio::time::sleep(quiet).await;
    }

    /// Too little was written for a second file.
    fn is_small(&self) -> bool {
        self.total < SMALL
    }
}

/// What came next.
pub(super) enum Next {
    Bytes(usize),
    End(Read),
}

impl Log<'_> {
    /// Reads once from the position of `lines` on; without `ended` what there is, and otherwise what
    /// is still written.
    pub(super) async fn read(
        &self,
        lines: &mut Lines,
        course: &mut Course,
        ended: Option<End<'_>>,
        sink: &mut (impl Sink + Send),
    ) -> Result<Read, Failure> {
        let stream = self.open(lines, ended.as_ref()).await?;
        tokio::pin!(stream);
        (course.follows, course.held) = (false, false);
        let (mut buffer, mut idle) = (vec![0; READ], SETTLE);
        let (opened, mut drained) = (Instant::now(), Instant::now());
        loop {
            let lingered = course.linger(ended.clone());
            let next = next(&mut stream, &mut buffer, lingered, idle).await;
            course.waited = drained.elapsed();
            course.held |= opened.elapsed() > STEADY;
            match next {
                Next::Bytes(length) => {
                    self.take(&buffer[..length], ended.is_some(), lines, course, sink).await?;
                    if let Some(words) = lines.words() {
                        tracing::info!(pod = self.pod, words, "the kubelet ended the log");
                        return Ok(Read::Idle);
                    }
                    idle = if course.follows { IDLE } else { SETTLE };
                    drained = Instant::now();
                }
                Next::End(Read::Broken(why)) => return Ok(Read::Broken(why)),
                Next::End(read) => {
                    sink.broken(false).await?;
                    if !matches!(read, Read::Idle) {
                        return Ok(read);
                    }
                    let Some(more) = self.when_idle(lines, course, idle).await? else {
                        return Ok(Read::Idle);
                    };
                    idle = more;
                }
            }
        }
    }

    /// How long a log may go on to be idle; none: it is to be asked for again.
    async fn when_idle(
        &self,
        lines: &Lines,
        course: &mut Course,
        idle: Duration,
    ) -> Result<Option<Duration>, Failure> {
        if idle == SETTLE {
            course.follows = self.is_at_end(lines).await;
            return Ok(Some(IDLE));
        }
        Ok(match self.look(lines.position()).await {
            Look::Joins | Look::Unknown => None,
            // The stream may live: nothing else leads from the old file to the new one.
            Look::Empty => Some(IDLE),
            // If it lives, it shows soon what stands there.
            Look::Gap(_) if idle == IDLE => Some(LINGER),
            Look::Gap(gap) => return Err(lost(gap)),
        })
    }

    /// Takes what came; `follow`: it may stand in several files.
    async fn take(
        &self,
        bytes: &[u8],
        follow: bool,
        lines: &mut Lines,
        course: &mut Course,
        sink: &mut (impl Sink + Send),
    ) -> Result<(), Failure> {
        course.total = course.total.saturating_add(bytes.len());
        let output = lines.feed(bytes).map_err(lost)?;
        if !output.is_empty() {
            course.held = true;
            sink.broken(false).await?;
            sink.write(output, lines.position()).await?;
        }
        let leap = lines.take_leap().filter(|leap| !course.is_unbroken(leap.time));
        if let Some(leap) = leap.filter(|_| follow) {
            self.verify(leap).await?;
        }
        Ok(())
    }
}

/// Waits for the next piece, for `lingered`, the time after the end, or for as long as a log may be
/// idle.
pub(super) async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    lingered: impl Future<Output = ()>,
    idle: Duration,
) -> Next {
    tokio::select! {
        biased;
        read = stream.read(buffer) => match read {
            Ok(0) => Next::End(Read::Closed),
            Ok(length) => Next::Bytes(length),
            Err(error) => Next::End(Read::Broken(report(&error))),
        },
        () = lingered => Next::End(Read::Quiet),
        () = tokio::time::sleep(idle) => Next::End(Read::Idle),
    }
}
