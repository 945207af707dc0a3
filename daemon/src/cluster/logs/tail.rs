//! The end of a log, for a message, and its beginning.

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::stream::READ_SIZE;
use crate::cluster::ContainerRef;

/// Longest text that is returned, in bytes.
const MOST: usize = 256 << 10;

/// Room for the note on what is left out.
const NOTE: usize = 64;

/// The last whole lines of a log within `limit` bytes, under a note if there were more.
pub fn last_lines(mut text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let mut from = text.len() - limit.saturating_sub(NOTE).min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    // Of a single line that is longer the end is shown.
    let line = text[from..].find('\n').map(|end| from + end + 1);
    let from = line.filter(|start| *start < text.len()).unwrap_or(from);
    text.replace_range(..from, &format!("({from} bytes of the log are left out here)\n"));
    text
}

/// The last `count` lines of a container's log, 256 KiB of them at most; bytes that are no UTF-8 are
/// replaced.
///
/// # Errors
/// What the API says.
pub async fn tail(
    pods: &Api<Pod>,
    container: ContainerRef<'_>,
    count: i64,
) -> kube::Result<String> {
    let params = LogParams {
        container: Some(container.container.to_owned()),
        tail_lines: Some(count),
        ..LogParams::default()
    };
    let stream = pods.log_stream(container.pod, &params).await?;
    tokio::pin!(stream);
    let (mut end, mut buffer) = (Vec::new(), vec![0; READ_SIZE]);
    loop {
        let length = stream.read(&mut buffer).await.map_err(kube::Error::ReadEvents)?;
        if length == 0 {
            break;
        }
        end.extend_from_slice(&buffer[..length]);
        end.drain(..end.len().saturating_sub(MOST));
    }
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// The first bytes of a container's log, so many at most; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// What the API says.
pub async fn head(pods: &Api<Pod>, container: ContainerRef<'_>, most: i64) -> kube::Result<String> {
    let params = LogParams {
        container: Some(container.container.to_owned()),
        limit_bytes: Some(most),
        ..LogParams::default()
    };
    let limit = u64::try_from(most).unwrap_or_default();
    let (stream, mut head) = (pods.log_stream(container.pod, &params).await?, Vec::new());
    let mut stream = std::pin::pin!(stream.take(limit));
    stream.read_to_end(&mut head).await.map_err(kube::Error::ReadEvents)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_kept_with_a_note() {
        assert_eq!(last_lines("a\nb\n".into(), 100), "a\nb\n");
        let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let cut = last_lines(lines, 200);
        assert!(cut.len() <= 200 && cut.ends_with("\nline 998\nline 999\n"), "{cut}");
        assert!(cut.starts_with('(') && cut.lines().skip(1).all(|line| line.starts_with("line ")));
        for text in ["é".repeat(5000), "\u{fffd}".repeat(5000), format!("{}\n", "x".repeat(5000))]
        {
            for limit in [0, 1, 63, 64, 65, 66, 200] {
                let cut = last_lines(text.clone(), limit);
                assert!(cut.len() <= limit.max(NOTE), "{limit}: {} bytes", cut.len());
            }
        }
    }
}
