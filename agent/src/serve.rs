//! The life of PID 1: make the container ready, listen, serve, end all.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use hookd_api::stepd::v1::step_service_server::StepServiceServer;
use hookd_api::transport::{
    CONNECTION_WINDOW, MAX_STEPD_MESSAGE_SIZE, STEPD_DIR, STEPD_KEEPALIVE, STEPD_SOCKET as SOCKET,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{geteuid, umask};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::links::{self, Links};
use crate::peer::{self, Clients};
use crate::service::Service;
use crate::steps::{Settings, Steps};
use crate::{log, looks, process, report};

/// Its name until it is listened on.
const NEW_SOCKET: &str = "stepd.sock.new";
/// Name of the directory of the spool, beside the socket.
const SPOOL: &str = "spool";
/// Calls of one connection at a time: hookd makes a few for each step that runs.
const MOST_CALLS: u32 = 256;
/// The kubelet kills the container 5 s after TERM.
const LAST_GRACE: Duration = Duration::from_millis(1200);
/// An attached client gets the end of its step before stepd's own, but does not hold that up.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of `stepd serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Config {
    /// Directory for the socket and the spool: a writable volume of this container only.
    #[arg(long, default_value = STEPD_DIR)]
    pub(crate) dir: PathBuf,
    /// Bytes of a step's output that may wait for an acknowledgement; the step waits at the limit.
    #[arg(long, default_value = "67108864")]
    pub(crate) spool_limit: u64,
    /// FROM:TO fills the directory TO with links to what is in FROM.
    #[arg(long)]
    pub(crate) links: Vec<Links>,
    /// A path, and where it is to lead; several times.
    #[arg(long, num_args = 2, value_names = ["PATH", "TARGET"])]
    pub(crate) link: Vec<PathBuf>,
    /// Who is answered.
    #[arg(long, value_enum, default_value = "exec")]
    pub(crate) clients: Clients,
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

/// Runs until TERM, a call of Stop, or the end of the container's main program; the exit code.
pub(crate) fn run(config: Config) -> Result<u8, ServeError> {
    process::adopt_orphans().map_err(ServeError::Process)?;
    for links in &config.links {
        links.make()?;
    }
    for pair in config.link.chunks_exact(2) {
        links::link(&pair[0], &pair[1])?;
    }
    looks::start().map_err(ServeError::Process)?;
    let open_files = process::raise_open_files().map_err(ServeError::Process)?;
    // Last: who sees the socket takes the container for ready.
    let (listener, spool) = prepare(&config.dir, config.clients)?;
    let (dir, spool) = (config.dir.clone(), spool.into());
    let settings = Settings { dir: config.dir, spool, limit: config.spool_limit, open_files };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served =
        runtime.map_err(ServeError::Process)?.block_on(serve(settings, listener, config.clients));
    // A volume of the runner pod outlives the container.
    let _ = std::fs::remove_dir_all(dir.join(SPOOL));
    let _ = std::fs::remove_file(dir.join(SOCKET));
    served
}

/// The socket and the directory of the spool.
///
/// The kubelet makes a volume that every user of the container can write to. One that is ours is
/// closed to them; in another they can rename what we make, so that nothing is found by its name
/// again: the spool is used by its descriptor, and a session verifies whose socket it has found.
fn prepare(
    dir: &Path,
    clients: Clients,
) -> Result<(std::os::unix::net::UnixListener, OwnedFd), ServeError> {
    let failed = |path: &Path, source: io::Error| ServeError::Dir { path: path.to_owned(), source };
    let at = open_dir(CWD, dir).map_err(|error| failed(dir, error))?;
    if is_ours(&at).map_err(|error| failed(dir, error))? {
        let closed = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        rustix::fs::fchmod(&at, closed).map_err(|error| failed(dir, error.into()))?;
    }
    let spool = spool_dir(&at).map_err(|error| failed(&dir.join(SPOOL), error))?;
    let socket = listen(dir, &at, clients).map_err(|error| failed(&dir.join(SOCKET), error))?;
    Ok((socket, spool))
}

/// The spool's directory, which only our user can look into.
fn spool_dir(at: &OwnedFd) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, SPOOL, Mode::RWXU) {
        Err(error) if error != Errno::EXIST => return Err(error.into()),
        _ => {}
    }
    let spool = open_dir(at, Path::new(SPOOL))?;
    if !is_ours(&spool)? {
        return Err(io::Error::other("it belongs to another user"));
    }
    rustix::fs::fchmod(&spool, Mode::RWXU)?;
    Ok(spool)
}

/// Listens on a socket that only our user can open: a session has the container's user, as we have.
/// A client of another container has another one.
fn listen(
    dir: &Path,
    at: &OwnedFd,
    clients: Clients,
) -> io::Result<std::os::unix::net::UnixListener> {
    match rustix::fs::unlinkat(at, NEW_SOCKET, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    // Not chmod afterwards: it would go by the name.
    let before = umask(match clients {
        Clients::Exec => Mode::XUSR | Mode::RWXG | Mode::RWXO,
        Clients::Outside => Mode::XUSR | Mode::XGRP | Mode::XOTH,
    });
    let listener = std::os::unix::net::UnixListener::bind(dir.join(NEW_SOCKET));
    umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    // Clients that see the socket under its name can connect.
    rustix::fs::renameat(at, NEW_SOCKET, at, SOCKET)?;
    Ok(listener)
}

fn open_dir(at: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

fn is_ours(directory: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(directory)?.st_uid == geteuid().as_raw())
}

async fn serve(
    settings: Settings,
    listener: std::os::unix::net::UnixListener,
    clients: Clients,
) -> Result<u8, ServeError> {
    let listener = UnixListener::from_std(listener).map_err(ServeError::Process)?;
    let mut children = signal(SignalKind::child()).map_err(ServeError::Process)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Process)?;
    let steps = Steps::new(settings);
    let service = StepServiceServer::new(Service::new(steps.clone()));
    let connections = UnixListenerStream::new(listener).filter(|connection| {
        let is_allowed = |stream| peer::is_allowed(stream, clients);
        std::future::ready(connection.as_ref().is_ok_and(is_allowed))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_CALLS)
        .http2_keepalive_interval(Some(STEPD_KEEPALIVE))
        .add_service(service.max_decoding_message_size(MAX_STEPD_MESSAGE_SIZE))
        .serve_with_incoming_shutdown(connections, async { drop(stopped.await) });
    let reap = async {
        loop {
            children.recv().await;
            process::reap(|pid, well| steps.supervisor_ended(pid, well));
        }
    };
    let code = Cell::new(0);
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = steps.stopped() => {}
            ended = steps.main_ended() => code.set(ended),
        }
        log("stopping: ending all steps");
        steps.end_all(LAST_GRACE).await;
        // The server ends once its streams have, and they are at their ends.
        drop(stop);
        tokio::time::sleep(LAST_MESSAGES_TIMEOUT).await;
    };
    tokio::select! {
        served = server => {
            // What lies in a session's process ends with us.
            peer::wait_for_sessions(LAST_MESSAGES_TIMEOUT);
            served.map_err(ServeError::Serve)?;
        }
        () = end => {}
        () = reap => {}
    }
    Ok(code.get())
}

/// The message of an error for a status.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    report(error)
}
