//! The end of a log, for a message, and its beginning.

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::stream::READ;

/// Longest text that is returned, in bytes.
const MOST: usize = 256 << 10;

/// The last `count` lines of a container's log, 256 KiB of them at most; bytes that are no UTF-8 are
/// replaced.
///
/// # Errors
/// What the API says.
pub async fn tail(
    pods: &Api<Pod>,
    (pod, container): (&str, &str),
    count: i64,
) -> kube::Result<String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(count),
        ..LogParams::default()
    };
    let stream = pods.log_stream(pod, &params).await?;
    tokio::pin!(stream);
    let (mut end, mut buffer) = (Vec::new(), vec![0; READ]);
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
pub async fn head(
    pods: &Api<Pod>,
    (pod, container): (&str, &str),
    most: i64,
) -> kube::Result<String> {
    let params = LogParams {
        container: Some(container.to_owned()),
        limit_bytes: Some(most),
        ..LogParams::default()
    };
    let limit = u64::try_from(most).unwrap_or_default();
    let (stream, mut head) = (pods.log_stream(pod, &params).await?, Vec::new());
    let mut stream = std::pin::pin!(stream.take(limit));
    stream.read_to_end(&mut head).await.map_err(kube::Error::ReadEvents)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
