//! Whether a log that is quiet can be asked for again: once the kubelet has begun a new file, only the
//! stream that was there before leads from the old one to it.

use futures::{AsyncRead, AsyncReadExt};

use super::{Gap, LINGER, Lines, READ};

/// What the node has of a log that is idle.
pub(super) enum Look {
    /// The newest line seen, at least: whoever asks again from there on loses nothing.
    Joins,
    /// A file that was begun since, with nothing in it.
    Empty,
    /// A file that was begun since, with more in it.
    Gap(Gap),
    /// Nobody knows.
    Unknown,
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
            Ok(_) => {}
            Err(gap) => return Look::Gap(gap),
        }
    }
}
