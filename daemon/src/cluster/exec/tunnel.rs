//! A byte stream to a program in a container, over one exec session of the API server.
//!
//! kube's own exec helper serves both directions in one loop with small pipes: when both are full
//! it waits for ever, and it takes a connection that closes without a Status for success. Here each
//! direction has a task and a buffer of its own, and the reader of the stream sees its end.

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::Request;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf,
};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::cluster::{Cluster, ContainerRef};
use crate::error::report;

/// Channels of the WebSocket protocol "v5.channel.k8s.io".
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// Bytes that may lie in each direction.
const BUFFER: usize = 256 << 10;
/// Bytes sent in one message.
const CHUNK_SIZE: usize = 64 << 10;

/// Starts `command` in the container; the stream is its standard input and output.
///
/// # Errors
/// What the API says, among it that the container does not run.
pub async fn open(
    cluster: &Cluster,
    target: ContainerRef<'_>,
    command: &[&str],
) -> kube::Result<DuplexStream> {
    let ContainerRef { pod, container } = target;
    let namespace = &cluster.namespace;
    let mut uri = format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/exec?container={container}&stdin=true\
         &stdout=true&stderr=true&tty=false"
    );
    for argument in command {
        // Arguments of our own: letters, digits, "/", "-" and "_" only.
        uri = format!("{uri}&command={argument}");
    }
    let request = Request::get(uri).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let connection = cluster.client.connect(request).await?;
    let (sender, receiver) = connection.into_stream().split();
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (reader, writer) = tokio::io::split(theirs);
    let pod = pod.to_owned();
    let up = tokio::spawn(send(reader, sender));
    tokio::spawn(async move {
        let ended = receive(receiver, writer).await;
        tracing::debug!(pod, ended, "the tunnel ended");
        // Nothing that is sent is read any more.
        up.abort();
    });
    Ok(ours)
}

/// Copies what is written to the stream to the program; ends when the stream is dropped, which
/// closes the session.
async fn send<S>(
    mut reader: ReadHalf<DuplexStream>,
    mut sender: SplitSink<WebSocketStream<S>, Message>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_SIZE + 1);
        chunk.push(STDIN);
        match (&mut reader).take(CHUNK_SIZE as u64).read_buf(&mut chunk).await {
            Ok(length) if length > 0 => {}
            _ => break,
        }
        if sender.send(Message::binary(chunk)).await.is_err() {
            break;
        }
    }
    // A failure to close the connection in order has no reader any more.
    let _ = sender.close().await;
}

/// Copies what the program writes to the stream; says why it ended.
async fn receive<S>(
    mut receiver: SplitStream<WebSocketStream<S>>,
    mut writer: WriteHalf<DuplexStream>,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = match receiver.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return broken(&error),
            None => return "closed without a status".to_owned(),
        };
        let Message::Binary(data) = message else { continue };
        match data.split_first() {
            Some((&STDOUT, data)) if writer.write_all(data).await.is_err() => {
                return "not read any more".to_owned();
            }
            Some((&STDERR, text)) if !text.is_empty() => {
                tracing::info!(text = %String::from_utf8_lossy(text).trim(), "the agent wrote to stderr");
            }
            Some((&ERROR, status)) if !status.is_empty() => {
                return String::from_utf8_lossy(status).into_owned();
            }
            _ => {}
        }
    }
}

fn broken(error: &WsError) -> String {
    report(error)
}
