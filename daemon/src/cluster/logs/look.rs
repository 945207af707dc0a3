//! What the node has of a log beside the stream that is read.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::Instant;

use super::lines::Leap;
use super::position::LogPosition;
use super::stream::{LINGER, READ};
use super::{Gap, Lines, Log, lost};
use crate::cluster::retry::Pauses;
use crate::error::Failure;

/// The longest entry of a log: the kubelet shows a longer line's last entry with a stamp of its own.
const ENTRY: u64 = 16 << 10;
/// A log that goes on meanwhile waits for no longer.
const MOMENT: Duration = Duration::from_secs(2);

/// What the node has of a log from a line on.
pub(super) enum Look {
    /// The line, at least: whoever asks again from there on loses nothing.
    Joins,
    /// A file that was begun since, with nothing in it.
    Empty,
    /// A file that was begun since, with more in it.
    Gap(Gap),
    /// Nobody knows.
    Unknown,
}

impl Log<'_> {
    /// Whether a log that is quiet can be asked for again.
    pub(super) async fn look(&self, position: &LogPosition) -> Look {
        let mut lines = Lines::resume(position.clone());
        if lines.joins() {
            return Look::Joins;
        }
        let Ok(stream) = self.open(&lines, None).await else { return Look::Unknown };
        tokio::pin!(stream);
        look(&mut stream, &mut lines).await
    }

    /// Makes sure that no file was skipped where the log leapt: both lines stand in one.
    pub(super) async fn verify(&self, leap: Leap) -> Result<(), Failure> {
        let (started, mut pauses) = (Instant::now(), Pauses::default());
        loop {
            match self.look(&leap.before).await {
                Look::Joins => return Ok(()),
                Look::Unknown if started.elapsed() < self.api_timeout => pauses.pass().await,
                _ => return Err(lost(leap.gap)),
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
        tokio::time::timeout(MOMENT, asked).await.ok().flatten().unwrap_or(false)
    }
}

/// True if the log ends where `lines` stand.
pub(super) async fn ends_there(
    stream: &mut (impl AsyncRead + Unpin),
    lines: &mut Lines,
) -> Option<bool> {
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer).await.ok()? {
            // The kubelet's own words instead of the rest tell nothing.
            0 => return Some(lines.joins() && lines.words().is_none()),
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

/// Reads as much of the log as it takes to tell.
pub(super) async fn look(stream: &mut (impl AsyncRead + Unpin), lines: &mut Lines) -> Look {
    let mut buffer = vec![0; READ];
    loop {
        let fed = match tokio::time::timeout(LINGER, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return lines.finish(true).map_or_else(Look::Gap, |()| Look::Empty),
            Ok(Ok(length)) => lines.feed(&buffer[..length]),
            Ok(Err(_)) | Err(_) => return Look::Unknown,
        };
        match fed {
            Ok(_) if lines.joins() => return Look::Joins,
            Ok(_) if lines.words().is_some() => return Look::Unknown,
            Ok(_) => {}
            Err(gap) => return Look::Gap(gap),
        }
    }
}
