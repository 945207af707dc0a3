//! Sends bytes to a container's standard input.

use std::time::Duration;

use futures::{SinkExt, Stream, StreamExt};
use http::Request;
use kube::Client;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::cluster::retry::Retry;
use crate::error::{Failure, Reason, report};

/// Channels of the WebSocket protocol "v5.channel.k8s.io".
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;
/// How long the other end may take to pass on what was sent and to say so.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to take a piece: a program that unpacks may pause, a dead connection does
/// not end by itself.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);
/// Nothing was sent yet: the same container can be attached to again.
const OPENING: Duration = Duration::from_secs(20);

/// Attaches to the container, sends `input` to its end, and closes its standard input.
///
/// # Errors
/// When the connection breaks: nothing is known then of what the container has read.
pub async fn send_stdin(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    mut input: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let uri = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/attach?container={container}&stdin=true\
         &stdout=false&stderr=false&tty=false"
    );
    let open = || async {
        let request = Request::get(&uri).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.connect(request).await
    };
    let connection = Retry::new(OPENING).attempt(open).await;
    let connection = connection.map_err(|error| broken(pod, &error))?;
    if !connection.supports_stream_close() {
        return Err(broken(
            pod,
            &std::io::Error::other(
                "the API server does not speak v5.channel.k8s.io, which Kubernetes has from 1.30 on",
            ),
        ));
    }
    let (mut sender, receiver) = connection.into_stream().split();
    let end = end_of(receiver);
    tokio::pin!(end);
    loop {
        tokio::select! {
            piece = input.recv() => match piece {
                Some(mut piece) => {
                    piece.insert(0, STDIN);
                    let sent = tokio::time::timeout(PIECE_PATIENCE, sender.send(Message::binary(piece)));
                    let sent = sent.await.map_err(|_| broken(pod, &Stuck))?;
                    sent.map_err(|error| broken(pod, &error))?;
                }
                None => break,
            },
            ended = &mut end => {
                ended.map_err(|error| broken(pod, &error))?;
                // A reader that knows where its input ends need not wait for us to say so.
                let more = input.recv().await;
                return more.map_or(Ok(()), |_| Err(broken(pod, &Stopped)));
            }
        }
    }
    // What is on its way is lost if the connection is closed now: the other end closes it.
    let close = sender.send(Message::binary(vec![CLOSE, STDIN])).await;
    close.map_err(|error| broken(pod, &error))?;
    let ended = tokio::time::timeout(PATIENCE, end).await.map_err(|_| broken(pod, &Unconfirmed))?;
    ended.map_err(|error| broken(pod, &error))
}

/// Reads until the other end says how the attachment ended, or closes it.
async fn end_of(
    mut receiver: impl Stream<Item = Result<Message, WsError>> + Unpin,
) -> Result<(), WsError> {
    while let Some(message) = receiver.next().await {
        match message? {
            Message::Binary(data) if is_end(&data) => return Ok(()),
            Message::Close(_) => return Ok(()),
            _ => {}
        }
    }
    Err(WsError::ConnectionClosed)
}

/// The API server opens the error channel with an empty message; its end is one with a Status.
fn is_end(message: &[u8]) -> bool {
    matches!(message, [ERROR, _, ..])
}

/// Nobody takes what is sent.
#[derive(Debug, thiserror::Error)]
#[error("nothing was taken for {} s", PIECE_PATIENCE.as_secs())]
struct Stuck;

/// A dead connection takes what is sent, too.
#[derive(Debug, thiserror::Error)]
#[error("nobody said within {} s that all had arrived", PATIENCE.as_secs())]
struct Unconfirmed;

/// The container's end before that of the input.
#[derive(Debug, thiserror::Error)]
#[error("the container stopped reading")]
struct Stopped;

fn broken(pod: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Reason::ApiUnreachable,
        format!("The build context could not be sent to pod {pod}: {}", report(error)),
        "Look at the API server and at the kubelet of the pod's node; run the job again",
    )
}

/// A blocking writer of what [`send_stdin`] sends, in pieces that are worth a message.
pub struct Pieces {
    sender: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pieces {
    const SIZE: usize = 64 << 10;

    /// A writer whose pieces go to `sender`.
    pub fn new(sender: mpsc::Sender<Vec<u8>>) -> Self {
        Self { sender, buffer: Vec::new() }
    }
}

impl std::io::Write for Pieces {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= Self::SIZE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.sender.blocking_send(piece);
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // The reader is gone if this fails, and has said so.
        let _ = std::io::Write::flush(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_empty_message_that_opens_the_error_channel_is_not_the_end() {
        let status = [&[ERROR], &b"{\"status\":\"Success\"}"[..]].concat();
        let messages = [Message::binary(vec![ERROR]), Message::binary(status)];
        let mut messages = futures::stream::iter(messages.map(Ok));
        assert!(end_of(&mut messages).await.is_ok());
        assert!(messages.next().await.is_none(), "the end came before the Status");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_off_is_no_end() {
        let mut messages = futures::stream::iter([Ok(Message::binary(vec![ERROR]))]);
        assert!(matches!(end_of(&mut messages).await, Err(WsError::ConnectionClosed)));
    }
}
