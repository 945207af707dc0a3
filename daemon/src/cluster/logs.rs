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

pub use lines::{Gap, Lines};

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
/// Far from the 10 MiB at which the kubelet starts a new log.
const SMALL: usize = 4 << 20;

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
    /// Nothing came for a while: a short one after the container's end.
    Quiet,
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
                Read::Closed | Read::Quiet => {
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
                Read::Quiet | Read::Broken(_) => sink.broken(true).await?,
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
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) if is_absent(&error) => return Err(lost_pod(self.pod, &error)),
            Err(error) => return Err(failure(&action, error)),
        };
        sink.broken(false).await?;
        tokio::pin!(stream);
        let from_start = follow && params.since_time.is_none();
        copy(&mut stream, lines, from_start, ended, sink).await
    }
}

/// Copies one stream through `lines` to the sink; `from_start`: it has the whole log.
async fn copy(
    stream: &mut (impl AsyncRead + Unpin),
    lines: &mut Lines,
    from_start: bool,
    ended: impl Future<Output = ()> + Clone + Send,
    sink: &mut (impl Sink + Send),
) -> Result<Read, Failure> {
    let mut buffer = vec![0; READ];
    let mut total = 0;
    loop {
        let quiet = if from_start && total < SMALL { PROMPT_LINGER } else { LINGER };
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read,
            () = linger(ended.clone(), quiet) => return Ok(Read::Quiet),
            () = tokio::time::sleep(IDLE) => return Ok(Read::Quiet),
        };
        match read {
            Ok(0) => return Ok(Read::Closed),
            Ok(length) => {
                total += length;
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
mod tests {
    use futures::TryStreamExt;

    use super::*;

    /// Fails the test if it hears of a break.
    struct Unbroken;

    impl Sink for Unbroken {
        async fn write(&mut self, _: Bytes, _: &LogPosition) -> Result<(), Failure> {
            Ok(())
        }

        async fn broken(&mut self, broken: bool) -> Result<(), Failure> {
            assert!(!broken, "a break was told");
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_quiet_for_a_minute_is_asked_for_again_without_a_word() {
        let silent = futures::stream::pending::<std::io::Result<Vec<u8>>>();
        let mut silent = silent.into_async_read();
        let mut lines = Lines::resume(LogPosition::default());
        let began = Instant::now();
        let never = futures::future::pending();
        let read = copy(&mut silent, &mut lines, true, never, &mut Unbroken).await;
        assert!(matches!(read, Ok(Read::Quiet)) && began.elapsed() == IDLE);
    }
}
