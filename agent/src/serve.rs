//! The life of PID 1: make the directory ready, listen, serve, end all.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use hookd_api::stepd::v1::step_service_server::StepServiceServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::links::{self, Links};
use crate::service::Service;
use crate::steps::Steps;
use crate::{log, peer, process, report};

/// Where the socket and the spool are if nobody says otherwise.
pub(crate) const DEFAULT_DIR: &str = "/__hookd_run";
/// Name of the socket in its directory.
pub(crate) const SOCKET: &str = "stepd.sock";
/// Its name until it is listened on.
const NEW_SOCKET: &str = "stepd.sock.new";
/// A step's environment comes in one message.
const LARGEST_CALL: usize = 64 << 20;
/// h2 breaks a connection on which many small frames lie unread; how many is a share of this.
/// Streams have windows of their own, so this is no memory.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// An exec session ends after 4 hours in which nothing went through it.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The kubelet kills the container 5 s after TERM.
const LAST_GRACE: Duration = Duration::from_millis(1200);
/// Whoever is attached hears the end of its step before stepd's own, but does not hold that up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Settings of `stepd serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Config {
    /// Directory for the socket and the spool: a writable volume of this container only.
    #[arg(long, default_value = DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
    /// Bytes of a step's output that may wait for an acknowledgement; the step waits at the limit.
    #[arg(long, default_value = "67108864")]
    pub(crate) spool_limit: u64,
    /// FROM:TO fills the directory TO with links to what is in FROM.
    #[arg(long)]
    pub(crate) links: Vec<Links>,
}

/// stepd cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The directory for socket and spool.
    #[error("{path:?} cannot be used: it must be a volume that the container's user can write to")]
    Dir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The links.
    #[error(transparent)]
    Links(#[from] links::LinkError),
    /// Signals, or the role of the one that adopts orphans.
    #[error("the process cannot be set up")]
    Process(#[source] io::Error),
    /// The transport.
    #[error("serving failed")]
    Serve(#[source] tonic::transport::Error),
}

/// Runs until TERM.
pub(crate) fn run(config: Config) -> Result<(), ServeError> {
    process::adopt_orphans().map_err(ServeError::Process)?;
    let listener = prepare(&config.dir)?;
    for links in &config.links {
        links.make()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ServeError::Process)?.block_on(serve(config, listener))
}

/// The socket, in a directory that is ours alone.
fn prepare(dir: &Path) -> Result<std::os::unix::net::UnixListener, ServeError> {
    let spool = spool_dir(dir);
    let failed = |path: &Path, source| ServeError::Dir { path: path.to_owned(), source };
    match std::fs::DirBuilder::new().mode(0o700).create(&spool) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(&spool, error));
        }
        _ => {}
    }
    let (socket, new) = (dir.join(SOCKET), dir.join(NEW_SOCKET));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&new, error)),
        _ => {}
    }
    let bind = || {
        let listener = std::os::unix::net::UnixListener::bind(&new)?;
        // An exec session may have another user; who may speak is decided by the peer's process.
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        // Whoever sees the socket under its name can connect.
        std::fs::rename(&new, &socket)?;
        Ok(listener)
    };
    bind().map_err(|error| failed(&socket, error))
}

/// Where the output of steps lies.
pub(crate) fn spool_dir(dir: &Path) -> PathBuf {
    dir.join("spool")
}

async fn serve(
    config: Config,
    listener: std::os::unix::net::UnixListener,
) -> Result<(), ServeError> {
    let listener = UnixListener::from_std(listener).map_err(ServeError::Process)?;
    let mut children = signal(SignalKind::child()).map_err(ServeError::Process)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Process)?;
    let steps = Steps::new(spool_dir(&config.dir), config.spool_limit);
    let service = StepServiceServer::new(Service::new(steps.clone()));
    let connections = UnixListenerStream::new(listener)
        .filter(|connection| std::future::ready(connection.as_ref().is_ok_and(peer::is_allowed)));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(service.max_decoding_message_size(LARGEST_CALL))
        .serve_with_incoming_shutdown(connections, async { drop(stopped.await) });
    let reap = async {
        loop {
            children.recv().await;
            process::reap(|pid| steps.supervisor_ended(pid));
        }
    };
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log("stopping: ending all steps");
        steps.end_all(LAST_GRACE).await;
        // The server ends once its streams have, and they are at their ends.
        drop(stop);
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        served = server => {
            // What lies in a session's process ends with us.
            peer::wait_for_sessions(LAST_WORDS);
            served.map_err(ServeError::Serve)
        }
        () = end => Ok(()),
        () = reap => Ok(()),
    }
}

/// The words of an error for a status.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    report(error)
}
