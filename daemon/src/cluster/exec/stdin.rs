//! Sends bytes to a container's standard input.

use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use http::Request;
use kube::Client;
use kube::client::Connection;
use kube::core::Status;
use kube::core::response::StatusSummary;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::cluster::client::ANSWER;
use crate::cluster::error::ClusterError;
use crate::cluster::retry::{Backoff, is_transient};
use crate::cluster::{Cluster, ContainerRef};
use crate::error::{Failure, report};

/// Channels of the WebSocket protocol "v5.channel.k8s.io".
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;
/// How long the other end may take to pass on what was sent and to say so.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the other end may take to accept a chunk: a program that unpacks may pause, a dead
/// connection does not end by itself.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an attachment is asked for again that cannot have been begun.
const OPENING_TIMEOUT: Duration = Duration::from_secs(20);

/// Attaches to the container, sends `input` to its end, and closes its standard input.
///
/// It succeeds only if the API server confirms after that end that the attachment ended well.
///
/// # Errors
/// Anything else: it is then unknown what the container has read, and it cannot be
/// attached to again, since its standard input ends with its first attachment.
pub async fn send_stdin(
    cluster: &Cluster,
    target: ContainerRef<'_>,
    input: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let ContainerRef { pod, container } = target;
    let namespace = &cluster.namespace;
    let uri = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/attach?container={container}&stdin=true\
         &stdout=false&stderr=false&tty=false"
    );
    let broken = |error: Undelivered| {
        let (pod, source) = (pod.to_owned(), Box::new(error));
        ClusterError::ContextNotSent { pod, source }
    };
    let opened = open(&cluster.client, &uri).await;
    let connection = opened.map_err(|error| broken(Undelivered::NotAttached(error)))?;
    if !connection.supports_stream_close() {
        return Err(broken(Undelivered::OldProtocol).into());
    }
    let (sender, receiver) = connection.into_stream().split();
    Ok(deliver(sender, receiver, input).await.map_err(broken)?)
}

/// Attaches. It tries again only if no attachment can have been begun: an answer that was lost on its
/// way leaves one behind whose end closes the container's standard input.
async fn open(client: &Client, uri: &str) -> kube::Result<Connection> {
    let (started, mut backoff) = (Instant::now(), Backoff::default());
    loop {
        let request = Request::get(uri).body(Vec::new()).map_err(kube::Error::HttpError)?;
        let error = match tokio::time::timeout(ANSWER, client.connect(request)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => return Err(kube::Error::Service("no answer within 15 s".into())),
        };
        if !never_began(&error) || started.elapsed() >= OPENING_TIMEOUT {
            return Err(error);
        }
        tracing::debug!(error = report(&error), "attaching again");
        backoff.wait().await;
    }
}

/// True if the API server refused the request for a reason that may pass, or never had it.
fn never_began(error: &kube::Error) -> bool {
    match error {
        // A gateway says the same of a server that it has asked.
        kube::Error::Api(status) if matches!(status.code, 502 | 504) => false,
        kube::Error::Api(_) => is_transient(error),
        _ => {
            let error: &(dyn std::error::Error + 'static) = error;
            let mut causes = std::iter::successors(Some(error), |error| error.source());
            causes.any(|cause| {
                let connecting = cause.downcast_ref::<hyper_util::client::legacy::Error>();
                connecting.is_some_and(hyper_util::client::legacy::Error::is_connect)
            })
        }
    }
}

/// Sends all chunks and the end of the standard input, and waits until the other end confirms it.
async fn deliver(
    mut sender: impl Sink<Message, Error = WsError> + Unpin,
    receiver: impl Stream<Item = Result<Message, WsError>> + Unpin,
    mut input: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Undelivered> {
    let end = end_of(receiver);
    tokio::pin!(end);
    loop {
        tokio::select! {
            chunk = input.recv() => match chunk {
                Some(mut chunk) => {
                    chunk.insert(0, STDIN);
                    let sent = tokio::time::timeout(CHUNK_TIMEOUT, sender.send(Message::binary(chunk)));
                    sent.await.map_err(|_| Undelivered::Stuck)??;
                }
                None => break,
            },
            // However it ended: what was not sent has not arrived, and neither has the end.
            ended = &mut end => return ended.and(Err(Undelivered::Stopped)),
        }
    }
    // What is on its way is lost if the connection is closed now: the other end closes it.
    sender.send(Message::binary(vec![CLOSE, STDIN])).await?;
    tokio::time::timeout(CONFIRMATION_TIMEOUT, end).await.map_err(|_| Undelivered::Unconfirmed)?
}

/// Reads until the other end says how the attachment ended.
async fn end_of(
    mut receiver: impl Stream<Item = Result<Message, WsError>> + Unpin,
) -> Result<(), Undelivered> {
    while let Some(message) = receiver.next().await {
        match message? {
            Message::Binary(data) if is_end(&data) => return outcome(&data[1..]),
            Message::Close(_) => return Err(Undelivered::Closed),
            _ => {}
        }
    }
    Err(Undelivered::Connection(WsError::ConnectionClosed))
}

/// What the Status at the end of an attachment says.
fn outcome(status: &[u8]) -> Result<(), Undelivered> {
    let raw = || String::from_utf8_lossy(status).chars().take(300).collect();
    match serde_json::from_slice::<Status>(status) {
        Ok(Status { status: Some(StatusSummary::Success), .. }) => Ok(()),
        Ok(Status { message, .. }) if !message.is_empty() => Err(Undelivered::Failed(message)),
        _ => Err(Undelivered::Failed(raw())),
    }
}

/// The API server opens the error channel with an empty message; its end is one with a Status.
fn is_end(message: &[u8]) -> bool {
    matches!(message, [ERROR, _, ..])
}

/// Why it is not known that the container has all of its input.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    /// The API server took no attachment.
    #[error(transparent)]
    NotAttached(kube::Error),
    /// The end of the input cannot be sent.
    #[error("the API server does not speak v5.channel.k8s.io, which Kubernetes has from 1.30 on")]
    OldProtocol,
    /// The other end accepts no more chunks.
    #[error("nothing was taken for {} s", CHUNK_TIMEOUT.as_secs())]
    Stuck,
    /// A dead connection takes what is sent, too.
    #[error("its arrival was not confirmed within {} s", CONFIRMATION_TIMEOUT.as_secs())]
    Unconfirmed,
    /// The attachment ended before the input did.
    #[error("the container stopped reading")]
    Stopped,
    /// The connection was closed without a status of the attachment.
    #[error("the connection was closed before its arrival was confirmed")]
    Closed,
    /// The API server or the kubelet says that the attachment failed.
    #[error("the attachment failed: {0}")]
    Failed(String),
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[from] WsError),
}

/// A blocking writer of what [`send_stdin`] sends, in chunks of a sensible size.
pub struct ChunkWriter {
    sender: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    const SIZE: usize = 64 << 10;

    /// A writer whose chunks go to `sender`.
    pub fn new(sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { sender, buffer: Vec::new() }
    }
}

impl std::io::Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= Self::SIZE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        if chunk.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(chunk);
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        // The reader is gone if this fails, and has said so.
        let _ = std::io::Write::flush(self);
    }
}

#[cfg(test)]
mod tests;
