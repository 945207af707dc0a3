//! The other end of the socket: hookd as a client of its own daemon.

use std::io;
use std::path::Path;
use std::time::Duration;

use hookd_api::transport::HOOK_KEEPALIVE;
use hookd_api::v1::hook_service_client::HookServiceClient;
use hookd_api::v1::{GetStatusRequest, GetStatusResponse};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// For a daemon that does not answer on a connection that is there.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// What GetStatus may take: it asks nothing of the cluster.
const STATUS: Duration = Duration::from_secs(3);

/// The daemon does not say how it is.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// There is no connection.
    #[error("hookd's daemon does not answer on {}", .socket.display())]
    Away {
        /// Its socket.
        socket: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It refuses the call.
    #[error("hookd's daemon refuses the call: {}", .0.message())]
    Refused(#[source] Box<Status>),
    /// It is silent.
    #[error("hookd's daemon does not answer within {} s", STATUS.as_secs())]
    Silent,
}

/// Connects to the daemon, once: the channel does not connect again.
///
/// # Errors
/// There is no daemon, or it serves no user of this id.
pub async fn connect(socket: &Path) -> io::Result<Channel> {
    let mut stream = Some(TokioIo::new(UnixStream::connect(socket).await?));
    // One connection only: the next one resumes.
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe)))
    });
    Endpoint::from_static("http://hookd")
        .http2_keep_alive_interval(HOOK_KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)
}

/// The answer of GetStatus.
///
/// # Errors
/// See [`StatusError`].
pub async fn status(socket: &Path) -> Result<GetStatusResponse, StatusError> {
    let away = |source| StatusError::Away { socket: socket.to_owned(), source };
    let asked = async {
        let channel = connect(socket).await.map_err(away)?;
        let answer = HookServiceClient::new(channel).get_status(GetStatusRequest {}).await;
        answer.map_err(|status| StatusError::Refused(Box::new(status)))
    };
    let answer = tokio::time::timeout(STATUS, asked).await.map_err(|_| StatusError::Silent)??;
    Ok(answer.into_inner())
}
