//! One stream of a log, from its opening to its end or a break.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::lines::MIN_TIMESTAMP_GAP;
use super::position::LogPosition;
use super::probe::Probe;
use super::{End, Lines, Log, Sink, lost};
use crate::error::{Failure, report};

/// Bytes read at a time; one event carries them.
pub(super) const READ_SIZE: usize = 32 << 10;
/// A log that is quiet for so long after its container's end is read again instead.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a log that cannot have been rotated yet: reading it again loses nothing, and the
/// kubelet closes a log up to 1 s after its container's end.
const SMALL_LOG_END_TIMEOUT: Duration = Duration::from_millis(30);
/// A stream that is quiet for so long may have come to the end of its file.
pub(super) const END_OF_FILE_TIMEOUT: Duration = Duration::from_millis(500);
/// A log that is quiet for so long may be one whose connection is dead, without an error: it is asked
/// for again, which costs little and which no user needs to know.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Far from the size at which the kubelet starts a new log: 10 MiB by default.
pub(super) const SMALL: usize = 512 << 10;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Read {
    /// The server ended it.
    Closed,
    /// Nothing came for a short while after the container's end.
    Quiet,
    /// Nothing came for a long while, or the kubelet gave up; asking again loses nothing.
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
pub(super) struct RotationTracker {
    /// Bytes since the log's start, or at least [`SMALL`].
    pub(super) total: usize,
    /// The newest stream came to the end of its file before another was begun.
    pub(super) follows: bool,
    /// How long nothing had come when the newest chunk, or the end, came.
    pub(super) waited: Duration,
    /// The newest stream brought something new, or was there for a while.
    pub(super) held: bool,
}

impl RotationTracker {
    /// Of a log that was read up to here, perhaps by another daemon.
    pub(super) fn from(position: &LogPosition) -> Self {
        let total = if position.timestamp.is_none() { 0 } else { SMALL };
        Self { total, follows: false, waited: Duration::ZERO, held: false }
    }

    /// True if no file can have been skipped between two moments, so many seconds apart, of which the
    /// second is that of the newest chunk, or of the end. A reader that was behind did not wait.
    pub(super) fn is_unbroken(&self, apart: SignedDuration) -> bool {
        let waited = SignedDuration::try_from(self.waited).unwrap_or(SignedDuration::MAX);
        let in_time =
            apart < MIN_TIMESTAMP_GAP || (self.follows && apart <= waited.saturating_add(BEHIND));
        in_time || self.is_small()
    }

    /// The container's end, and how long after it the log may be quiet.
    async fn end_timeout(&self, ended: Option<End<'_>>) {
        let quiet =
            if ended.is_some() && self.is_small() { SMALL_LOG_END_TIMEOUT } else { END_TIMEOUT };
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
        rotation: &mut RotationTracker,
        ended: Option<End<'_>>,
        sink: &mut (impl Sink + Send),
    ) -> Result<Read, Failure> {
        let stream = self.open(lines, ended.as_ref()).await?;
        tokio::pin!(stream);
        (rotation.follows, rotation.held) = (false, false);
        let (mut buffer, mut idle) = (vec![0; READ_SIZE], END_OF_FILE_TIMEOUT);
        let (opened, mut drained) = (Instant::now(), Instant::now());
        loop {
            let end_timeout = rotation.end_timeout(ended.clone());
            let next = next(&mut stream, &mut buffer, end_timeout, idle).await;
            rotation.waited = drained.elapsed();
            rotation.held |= opened.elapsed() > STEADY;
            match next {
                Next::Bytes(length) => {
                    self.take(&buffer[..length], ended.is_some(), lines, rotation, sink).await?;
                    if let Some(error) = lines.kubelet_error() {
                        tracing::info!(pod = self.pod, error, "the kubelet ended the log");
                        return Ok(Read::Idle);
                    }
                    idle = if rotation.follows { IDLE } else { END_OF_FILE_TIMEOUT };
                    drained = Instant::now();
                }
                Next::End(Read::Broken(why)) => return Ok(Read::Broken(why)),
                Next::End(read) => {
                    sink.broken(false).await?;
                    if !matches!(read, Read::Idle) {
                        return Ok(read);
                    }
                    let Some(more) = self.when_idle(lines, rotation, idle).await? else {
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
        rotation: &mut RotationTracker,
        idle: Duration,
    ) -> Result<Option<Duration>, Failure> {
        if idle == END_OF_FILE_TIMEOUT {
            rotation.follows = self.is_at_end(lines).await;
            return Ok(Some(IDLE));
        }
        Ok(match self.probe(lines.position()).await {
            Probe::Joins | Probe::Unknown => None,
            // The stream may live: nothing else leads from the old file to the new one.
            Probe::Empty => Some(IDLE),
            // If it lives, it shows soon what stands there.
            Probe::Gap(_) if idle == IDLE => Some(END_TIMEOUT),
            Probe::Gap(gap) => return Err(lost(gap)),
        })
    }

    /// Takes what came; `follow`: it may stand in several files.
    async fn take(
        &self,
        bytes: &[u8],
        follow: bool,
        lines: &mut Lines,
        rotation: &mut RotationTracker,
        sink: &mut (impl Sink + Send),
    ) -> Result<(), Failure> {
        rotation.total = rotation.total.saturating_add(bytes.len());
        let output = lines.feed(bytes).map_err(lost)?;
        if !output.is_empty() {
            rotation.held = true;
            sink.broken(false).await?;
            sink.write(output, lines.position()).await?;
        }
        let timestamp_gap = lines
            .take_timestamp_gap()
            .filter(|timestamp_gap| !rotation.is_unbroken(timestamp_gap.time));
        if let Some(timestamp_gap) = timestamp_gap.filter(|_| follow) {
            self.verify(timestamp_gap).await?;
        }
        Ok(())
    }
}

/// Waits for the next chunk, for `end_timeout`, the time after the end, or for as long as a log may be
/// idle.
pub(super) async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    end_timeout: impl Future<Output = ()>,
    idle: Duration,
) -> Next {
    tokio::select! {
        biased;
        read = stream.read(buffer) => match read {
            Ok(0) => Next::End(Read::Closed),
            Ok(length) => Next::Bytes(length),
            Err(error) => Next::End(Read::Broken(report(&error))),
        },
        () = end_timeout => Next::End(Read::Quiet),
        () = tokio::time::sleep(idle) => Next::End(Read::Idle),
    }
}
