//! What the node has of a log beside the stream that is read.

use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::Instant;

use super::lines::Leap;
use super::stream::{LINGER, READ};
use super::{Gap, Lines, Log, lost};
use crate::cluster::retry::{Pauses, Retry};
use crate::error::Failure;
use crate::step::cursor::LogPosition;

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
        let Ok(stream) = self.open(&lines, false).await else { return Look::Unknown };
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

    /// True if the newest line is the last of the newest file.
    pub(super) async fn is_at_end(&self, lines: &Lines) -> bool {
        let asked = Retry::new(LINGER);
        let last = asked.attempt(|| last_line(self.pods, self.pod, self.container)).await;
        let Ok(last) = last else { return false };
        lines.since().is_some_and(|newest| last.starts_with(newest.as_bytes()))
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
