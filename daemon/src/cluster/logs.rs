//! Follows a Pod log and goes on after a break without repeating or silently losing a line.
//!
//! The kubelet cannot resume at a byte: it takes a time, cut to whole seconds, and serves the
//! newest log file only (they rotate at 10 MiB). So lines are asked for with time stamps; after a
//! break the log is asked for again from the last whole second, and what was seen, down to the
//! byte of the newest line, is dropped. If that line does not come back, output was lost, which is
//! an error and never passed over.

use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, FutureExt};
use jiff::Timestamp;
use jiff::Unit;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::Instant;

use crate::cluster::client::failure;
use crate::cluster::retry::{Retry, is_transient};
use crate::error::{Failure, Reason, report};
use crate::step::cursor::LogPosition;

mod lines;
mod look;

pub use lines::{Gap, Lines};
use look::{Look, look};

/// Bytes read at a time; one event carries them.
const READ: usize = 32 << 10;
/// A log that is quiet for so long after its container's end is read again instead.
const LINGER: Duration = Duration::from_secs(5);
/// The same for a log that cannot have been rotated yet: reading it again loses nothing, and the
/// kubelet closes a log up to 1 s after its container's end.
const PROMPT_LINGER: Duration = Duration::from_millis(30);
/// A log that is quiet for so long may be one whose connection is dead, with nobody told: it is asked
/// for again, which costs little and which no user needs to know.
const IDLE: Duration = Duration::from_secs(60);
/// Far from the size at which the kubelet starts a new log: 10 MiB, if nobody set less.
const SMALL: usize = 512 << 10;

/// Takes output as it comes.
pub trait Sink {
    /// Bytes of the program, and the position after them.
    fn write(
        &mut self,
        data: Bytes,
        position: &LogPosition,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
    /// The connection to the log broke (`true`), and was found again (`false`).
    fn broken(&mut self, broken: bool) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A container's log.
#[derive(Clone, Debug)]
pub struct Log<'a> {
    /// API of the pod's namespace.
    pub pods: &'a Api<Pod>,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
    /// Time without the API after which the log is given up.
    pub api_timeout: Duration,
}

/// How one read of the log ended.
enum Read {
    /// The server ended it.
    Closed,
    /// Nothing came for a short while after the container's end.
    Quiet,
    /// Nothing came for a long while.
    Idle,
    /// It broke.
    Broken(String),
}

impl Log<'_> {
    /// Copies the log from `position` on to `sink` until the container has ended and all was
    /// read. `ended` completes when the container has ended.
    ///
    /// # Errors
    /// `OUTPUT_LOST` when output cannot be had any more; `API_UNREACHABLE` when the API stays
    /// away; what `sink` says.
    pub async fn follow(
        &self,
        mut position: LogPosition,
        ended: impl Future<Output = ()> + Send,
        sink: &mut (impl Sink + Send),
    ) -> Result<LogPosition, Failure> {
        let ended = ended.boxed().shared();
        let (mut over, mut whole) = (false, false);
        while !over {
            let mut lines = Lines::resume(position.clone());
            let read = self.read(&mut lines, true, ended.clone(), sink).await?;
            position = lines.position().clone();
            over = match &read {
                Read::Closed | Read::Quiet | Read::Idle => {
                    ends_within(ended.clone(), Duration::from_secs(1)).await
                }
                Read::Broken(why) => {
                    tracing::info!(pod = self.pod, why, "the log broke; asking for it again");
                    sink.broken(true).await?;
                    ends_within(ended.clone(), Duration::ZERO).await
                }
            };
            whole = over && matches!(read, Read::Closed) && lines.joins();
        }
        self.check_tail(position, whole, sink).await
    }

    /// After the end: reads what is there once more, for what a break may have swallowed; `whole`:
    /// nothing can have been.
    async fn check_tail(
        &self,
        mut position: LogPosition,
        whole: bool,
        sink: &mut (impl Sink + Send),
    ) -> Result<LogPosition, Failure> {
        let started = Instant::now();
        loop {
            let mut lines = Lines::resume(position);
            let read = self.read(&mut lines, false, futures::future::ready(()), sink).await?;
            position = lines.position().clone();
            match read {
                Read::Closed => return lines.finish(whole).map(|()| position).map_err(lost),
                _ if started.elapsed() > self.api_timeout => return Err(unread(self.pod)),
                Read::Quiet | Read::Idle | Read::Broken(_) => sink.broken(true).await?,
            }
        }
    }

    /// Reads once from the position of `lines` to the end or a break.
    async fn read(
        &self,
        lines: &mut Lines,
        follow: bool,
        ended: impl Future<Output = ()> + Clone + Send,
        sink: &mut (impl Sink + Send),
    ) -> Result<Read, Failure> {
        let (stream, from_start) = self.open(lines, follow).await?;
        sink.broken(false).await?;
        tokio::pin!(stream);
        let (mut total, mut idle) = (if from_start { 0 } else { SMALL }, IDLE);
        loop {
            match copy(&mut stream, lines, (&mut total, idle), ended.clone(), sink).await? {
                Read::Idle => {}
                read => return Ok(read),
            }
            idle = match self.look(lines).await {
                Look::Joins | Look::Unknown => return Ok(Read::Idle),
                // The stream may live: nothing else leads from the old file to the new one.
                Look::Empty => IDLE,
                // If it lives, it shows soon what stands there.
                Look::Gap(_) if idle == IDLE => LINGER,
                Look::Gap(gap) => return Err(lost(gap)),
            };
        }
    }

    /// Asks for the log from the position of `lines` on; true with it if that is from its start.
    async fn open(
        &self,
        lines: &Lines,
        follow: bool,
    ) -> Result<(impl AsyncRead + use<>, bool), Failure> {
        let params = LogParams {
            container: Some(self.container.to_owned()),
            follow,
            timestamps: true,
            since_time: lines.since().and_then(whole_second),
            ..LogParams::default()
        };
        let action = format!("read the log of pod {}", self.pod);
        let opened =
            Retry::new(self.api_timeout).attempt(|| self.pods.log_stream(self.pod, &params)).await;
        match opened {
            Ok(stream) => Ok((stream, follow && params.since_time.is_none())),
            Err(error) if is_absent(&error) => Err(lost_pod(self.pod, &error)),
            Err(error) => Err(failure(&action, error)),
        }
    }

    async fn look(&self, lines: &Lines) -> Look {
        let mut now = Lines::resume(lines.position().clone());
        if now.joins() {
            return Look::Joins;
        }
        let Ok((stream, _)) = self.open(&now, false).await else { return Look::Unknown };
        tokio::pin!(stream);
        look(&mut stream, &mut now).await
    }
}

/// Copies one stream through `lines` to the sink; `total`: bytes since the start of the log, or at
/// least [`SMALL`]; `idle`: how long it may be quiet.
async fn copy(
    stream: &mut (impl AsyncRead + Unpin),
    lines: &mut Lines,
    (total, idle): (&mut usize, Duration),
    ended: impl Future<Output = ()> + Clone + Send,
    sink: &mut (impl Sink + Send),
) -> Result<Read, Failure> {
    let mut buffer = vec![0; READ];
    loop {
        let quiet = if *total < SMALL { PROMPT_LINGER } else { LINGER };
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read,
            () = linger(ended.clone(), quiet) => return Ok(Read::Quiet),
            () = tokio::time::sleep(idle) => return Ok(Read::Idle),
        };
        match read {
            Ok(0) => return Ok(Read::Closed),
            Ok(length) => {
                *total += length;
                let output = lines.feed(&buffer[..length]).map_err(lost)?;
                if !output.is_empty() {
                    sink.write(output, lines.position()).await?;
                }
            }
            Err(error) => return Ok(Read::Broken(report(&error))),
        }
    }
}

/// A while after the end.
async fn linger(ended: impl Future<Output = ()>, quiet: Duration) {
    ended.await;
    tokio::time::sleep(quiet).await;
}

/// True if `ended` completes within `time`.
async fn ends_within(ended: impl Future<Output = ()>, time: Duration) -> bool {
    tokio::time::timeout(time, ended).await.is_ok()
}

/// The pod, or the container in it, is not there (any more).
fn is_absent(error: &kube::Error) -> bool {
    !is_transient(error)
        && matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 404))
}

fn lost_pod(pod: &str, error: &kube::Error) -> Failure {
    Failure::new(
        Reason::StepLost,
        format!("The log of pod {pod} is gone: {}", report(error)),
        "Look in the cluster's audit log for who deleted the pod; run the job again",
    )
}

fn unread(pod: &str) -> Failure {
    Failure::new(
        Reason::OutputLost,
        format!("The end of the log of pod {pod} could not be read"),
        "Look at the API server and at the kubelet of the pod's node; run the job again",
    )
}

fn lost(gap: Gap) -> Failure {
    Failure::new(
        Reason::OutputLost,
        format!(
            "Output after {} is lost: the connection broke, and the node had rotated its log when \
             hookd came back (the log goes on {})",
            gap.after,
            gap.next.map_or_else(|| "with nothing".to_owned(), |next| format!("at {next}"))
        ),
        "Run the job again; let the program print less than 10 MiB in 10 s, or raise the kubelet's \
         containerLogMaxSize",
    )
}

/// The kubelet cuts the time that it is asked for to whole seconds; so do we, downwards, from as
/// early as a line that stands behind the newest one may be stamped.
fn whole_second(timestamp: &str) -> Option<Timestamp> {
    let timestamp: Timestamp = timestamp.parse().ok()?;
    let timestamp = timestamp.checked_sub(lines::DISORDER).ok()?;
    timestamp
        .round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor))
        .ok()
}

#[cfg(test)]
mod tests;
