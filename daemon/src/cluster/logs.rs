//! Follows a Pod log and goes on after a break without repeating or silently losing a line.
//!
//! The kubelet cannot resume at a byte: it takes a time, cut to whole seconds, and serves the
//! newest log file only (they rotate at 10 MiB). So lines are asked for with time stamps; after a
//! break the log is asked for again from the last whole second, and what was seen, down to the
//! byte of the newest line, is dropped. If that line does not come back, output was lost, which is
//! an error and never passed over.
//!
//! A stream leads from a file to the next only if the kubelet had come to the end of the first before
//! the second was begun: it watches for new files from then on, and opens the newest. One that was behind
//! stays where it is, and skips a file. So a gap between time stamps is accepted only if it was waited for
//! (`RotationTracker::is_unbroken`), or if both lines stand in one file.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Shared};
use futures::{AsyncRead, FutureExt};
use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::Instant;

use crate::cluster::error::ClusterError;
use crate::cluster::retry::{Backoff, Retry, is_transient};
use crate::error::Failure;
use crate::metrics::{Connection, metrics};

mod lines;
mod position;
mod probe;
mod stream;
mod tail;

pub use lines::{Gap, Lines};
pub use position::LogPosition;
use stream::{Read, RotationTracker};
pub use tail::{head, last_lines, tail};

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

/// The log of a container that has ended may be gone with it, though its pod is there: after an eviction.
/// A kubelet that has just been started needs less to know its pods again.
const ABSENT: Duration = Duration::from_secs(10);

/// The end of the container, with the time of it if that is known.
type End<'a> = Shared<BoxFuture<'a, Option<Timestamp>>>;

impl Log<'_> {
    /// Copies the log from `position` on to `sink` until the container has ended and all was
    /// read. `ended` completes when the container has ended, with the time at which it did.
    ///
    /// # Errors
    /// `OUTPUT_LOST` when output is not available any more; `API_UNREACHABLE` when the API stays
    /// away; what `sink` says.
    pub async fn follow(
        &self,
        mut position: LogPosition,
        ended: impl Future<Output = Option<Timestamp>> + Send,
        sink: &mut (impl Sink + Send),
    ) -> Result<LogPosition, Failure> {
        let ended: End<'_> = ended.boxed().shared();
        let mut rotation = RotationTracker::from(&position);
        let (mut outage, mut backoff) = (Instant::now(), Backoff::default());
        let mut is_broken = false;
        loop {
            let mut lines = Lines::resume(position);
            let read = self.read(&mut lines, &mut rotation, Some(ended.clone()), sink).await?;
            position = lines.position().clone();
            if rotation.held {
                is_broken = false;
                (outage, backoff) = (Instant::now(), Backoff::default());
            }
            let Read::Broken(why) = read else {
                let Some(end) = ends_within(ended.clone(), Duration::from_secs(1)).await else {
                    continue;
                };
                let all = matches!(read, Read::Closed) && lines.joins();
                let quiet = end.and_then(|end| lines.quiet_until(end));
                let whole = all && quiet.is_some_and(|quiet| rotation.is_unbroken(quiet));
                return self.check_tail(position, whole, sink).await;
            };
            tracing::info!(pod = self.pod, why, "the stream of the log broke; opening it again");
            if !std::mem::replace(&mut is_broken, true) {
                metrics().reconnected(Connection::Log);
            }
            sink.broken(true).await?;
            if ends_within(ended.clone(), Duration::ZERO).await.is_some() {
                return self.check_tail(position, false, sink).await;
            }
            if outage.elapsed() > self.api_timeout {
                return Err(self.unreadable(why));
            }
            backoff.wait().await;
        }
    }

    /// After the end: reads what is there once more, for what a break may have swallowed; `whole`:
    /// nothing can have been.
    async fn check_tail(
        &self,
        mut position: LogPosition,
        whole: bool,
        sink: &mut (impl Sink + Send),
    ) -> Result<LogPosition, Failure> {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let mut rotation = RotationTracker::from(&position);
            let mut lines = Lines::resume(position);
            let read = self.read(&mut lines, &mut rotation, None, sink).await?;
            position = lines.position().clone();
            let (why, timeout) = match read {
                Read::Closed => return lines.finish(whole).map(|()| position).map_err(lost),
                Read::Quiet => ("nothing came for 5 s".to_owned(), self.api_timeout),
                Read::Idle => (lines.kubelet_error().unwrap_or_default(), ABSENT),
                Read::Broken(why) => (why, self.api_timeout),
            };
            sink.broken(true).await?;
            if started.elapsed() > timeout {
                return Err(self.unreadable(why));
            }
            backoff.wait().await;
        }
    }

    /// Asks for the log from the position of `lines` on, and with `ended` for what is still written.
    async fn open(
        &self,
        lines: &Lines,
        ended: Option<&End<'_>>,
    ) -> Result<impl AsyncRead + use<>, Failure> {
        let params = LogParams {
            container: Some(self.container.to_owned()),
            follow: ended.is_some(),
            timestamps: true,
            since_time: lines.since().and_then(whole_second),
            ..LogParams::default()
        };
        let (mut absent, mut backoff) = (None, Backoff::default());
        loop {
            let opened = Retry::new(self.api_timeout)
                .attempt(|| self.pods.log_stream(self.pod, &params))
                .await;
            let error = match opened {
                Ok(stream) => return Ok(stream),
                Err(error) if is_absent(&error) => error,
                Err(error) => {
                    let action = format!("read the log of pod {}", self.pod);
                    return Err(ClusterError::from_request(action, error).into());
                }
            };
            let over = ended.is_none_or(|ended| ended.clone().now_or_never().is_some());
            let timeout = if over { ABSENT } else { self.api_timeout };
            let since = *absent.get_or_insert_with(Instant::now);
            if since.elapsed() > timeout || !self.has_pod().await {
                let (pod, source) = (self.pod.to_owned(), Box::new(error));
                return Err(ClusterError::LogGone { pod, source }.into());
            }
            backoff.wait().await;
        }
    }

    fn unreadable(&self, why: String) -> Failure {
        ClusterError::LogUnreadable { pod: self.pod.to_owned(), why }.into()
    }

    /// A kubelet that has just been started says of each pod for a moment that it does not exist.
    async fn has_pod(&self) -> bool {
        let asked = Retry::new(self.api_timeout);
        let found = asked.attempt(|| self.pods.get_metadata_opt(self.pod)).await;
        matches!(found, Ok(Some(pod)) if pod.metadata.deletion_timestamp.is_none())
    }
}

/// `ended`, if it completes within `time`.
async fn ends_within(ended: End<'_>, time: Duration) -> Option<Option<Timestamp>> {
    tokio::time::timeout(time, ended).await.ok()
}

/// The pod, or the container in it, is not there (any more).
fn is_absent(error: &kube::Error) -> bool {
    !is_transient(error)
        && matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 404))
}

fn lost(gap: Gap) -> Failure {
    let Gap { after, next } = gap;
    ClusterError::OutputLost { after, next }.into()
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
