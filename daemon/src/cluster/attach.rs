//! Sends bytes to a container's standard input.

use futures::{SinkExt, StreamExt};
use http::Request;
use kube::Client;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::error::{Failure, Reason, report};

/// Channels of the WebSocket protocol "v5.channel.k8s.io".
const STDIN: u8 = 0;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;

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
    let request = Request::get(uri).body(Vec::new());
    let request = request.map_err(|error| broken(pod, &error))?;
    let connection = client.connect(request).await.map_err(|error| broken(pod, &error))?;
    if !connection.supports_stream_close() {
        return Err(broken(pod, &std::io::Error::other(
            "the API server does not speak v5.channel.k8s.io, which Kubernetes has from 1.30 on",
        )));
    }
    let (mut sender, mut receiver) = connection.into_stream().split();
    let send = async {
        while let Some(mut piece) = input.recv().await {
            piece.insert(0, STDIN);
            sender.send(Message::binary(piece)).await?;
        }
        sender.send(Message::binary(vec![CLOSE, STDIN])).await
    };
    let watch = async {
        while let Some(message) = receiver.next().await {
            match message? {
                Message::Binary(data) if data.first() == Some(&ERROR) => return Ok(()),
                Message::Close(_) => break,
                _ => {}
            }
        }
        Err(WsError::ConnectionClosed)
    };
    tokio::select! {
        sent = send => sent.map_err(|error| broken(pod, &error)),
        ended = watch => Err(match ended {
            Ok(()) => broken(pod, &std::io::Error::other("the container stopped reading")),
            Err(error) => broken(pod, &error),
        }),
    }
}

fn broken(pod: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Reason::ApiUnreachable,
        format!("The build context could not be sent to pod {pod}: {}", report(error)),
        "Look at the API server and at the kubelet of the pod's node; run the job again",
    )
}
