//! What the node has of a log beside the stream that is read.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::Instant;

use super::lines::TimestampGap;
use super::position::LogPosition;
use super::stream::{END_TIMEOUT, READ_SIZE};
use super::{Gap, Lines, Log, lost};
use crate::cluster::retry::Backoff;
use crate::error::Failure;

/// The longest entry of a log: the kubelet shows a longer line's last entry with a stamp of its own.
const ENTRY: u64 = 16 << 10;
/// A log that goes on meanwhile waits for no longer.
const END_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the node has of a log from a line on.
pub(super) enum Probe {
    /// The line, at least: asking again from there on loses nothing.
    Joins,
    /// A file that was begun since, with nothing in it.
    Empty,
    /// A file that was begun since, with more in it.
    Gap(Gap),
    /// It could not be determined.
    Unknown,
}

impl Log<'_> {
    /// Whether a log that is quiet can be asked for again.
    pub(super) async fn probe(&self, position: &LogPosition) -> Probe {
        let mut lines = Lines::resume(position.clone());
        if lines.joins() {
            return Probe::Joins;
        }
        let Ok(stream) = self.open(&lines, None).await else { return Probe::Unknown };
        tokio::pin!(stream);
        probe(&mut stream, &mut lines).await
    }

    /// Makes sure that no file was skipped where the log leapt: both lines stand in one.
    pub(super) async fn verify(&self, timestamp_gap: TimestampGap) -> Result<(), Failure> {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match self.probe(&timestamp_gap.before).await {
                Probe::Joins => return Ok(()),
                Probe::Unknown if started.elapsed() < self.api_timeout => backoff.wait().await,
                _ => return Err(lost(timestamp_gap.gap)),
            }
        }
    }

    /// True if what was read is all that the newest file has; false if that is not known within a
    /// moment.
    pub(super) async fn is_at_end(&self, lines: &Lines) -> bool {
        let position = lines.position();
        let asked = async {
            if position.bytes < ENTRY {
                let last = last_line(self.pods, self.pod, self.container).await.ok()?;
                let newest = position.timestamp.as_deref().unwrap_or_default();
                Some(last.starts_with(newest.as_bytes()) && newest.is_empty() == last.is_empty())
            } else {
                let mut again = Lines::resume(position.clone());
                let stream = self.open(&again, None).await.ok()?;
                tokio::pin!(stream);
                ends_there(&mut stream, &mut again).await
            }
        };
        tokio::time::timeout(END_CHECK_TIMEOUT, asked).await.ok().flatten().unwrap_or(false)
    }
}

/// True if the log ends where `lines` stand.
pub(super) async fn ends_there(
    stream: &mut (impl AsyncRead + Unpin),
    lines: &mut Lines,
) -> Option<bool> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match stream.read(&mut buffer).await.ok()? {
            // The kubelet's own error instead of the rest proves nothing.
            0 => return Some(lines.joins() && lines.kubelet_error().is_none()),
            length if lines.feed(&buffer[..length]).ok()?.is_empty() => {}
            _ => return Some(false),
        }
    }
}

/// The start of the newest line, with its time stamp.
async fn last_line(pods: &Api<Pod>, pod: &str, container: &str) -> kube::Result<Vec<u8>> {
    let params = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(1),
        timestamps: true,
        limit_bytes: Some(64),
        ..LogParams::default()
    };
    let stream = pods.log_stream(pod, &params).await?;
    tokio::pin!(stream);
    let mut line = Vec::new();
    stream.read_to_end(&mut line).await.map_err(kube::Error::ReadEvents)?;
    Ok(line)
}

/// Reads as much of the log as it takes to know.
pub(super) async fn probe(stream: &mut (impl AsyncRead + Unpin), lines: &mut Lines) -> Probe {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let fed = match tokio::time::timeout(END_TIMEOUT, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return lines.finish(true).map_or_else(Probe::Gap, |()| Probe::Empty),
            Ok(Ok(length)) => lines.feed(&buffer[..length]),
            Ok(Err(_)) | Err(_) => return Probe::Unknown,
        };
        match fed {
            Ok(_) if lines.joins() => return Probe::Joins,
            Ok(_) if lines.kubelet_error().is_some() => return Probe::Unknown,
            Ok(_) => {}
            Err(gap) => return Probe::Gap(gap),
        }
    }
}
