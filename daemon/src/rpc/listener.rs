//! The Unix socket: put in place whole, and open to clients of the allowed uids only.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::UnixListenerStream;

use super::connection::Connection;

/// Longest path that a Unix socket address holds.
const LONGEST_PATH: usize = 107;

/// Connections that are open at the same time. Each hook has one, and a job at most ten hooks.
const CONNECTIONS: usize = 32;

/// The socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket's address holds no longer path.
    #[error("socket path {0:?} is longer than {LONGEST_PATH} bytes; shorten HOOKD_SOCKET_DIR")]
    TooLong(PathBuf),
    /// The kernel refused.
    #[error("socket {0:?} cannot be made")]
    Io(PathBuf, #[source] io::Error),
}

/// Binds the socket beside its place and moves it there, so that a client finds the old one, none
/// or one that is listened to.
///
/// # Errors
/// See [`BindError`].
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let new = path.with_extension("new");
    if new.as_os_str().len() > LONGEST_PATH {
        return Err(BindError::TooLong(path.to_owned()));
    }
    let make = || {
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&new, path)?;
        Ok(listener)
    };
    make().map_err(|error| BindError::Io(path.to_owned(), error))
}

/// The connections of clients whose uid is allowed, 32 at a time; others are closed.
/// (The pid of a client in another container is 0 here and says nothing.)
pub fn connections(
    listener: UnixListener,
    allowed: Vec<u32>,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    UnixListenerStream::new(listener).filter_map(move |accepted| {
        let connection = match accepted {
            Ok(stream) if is_allowed(&stream, &allowed) => match places.clone().try_acquire_owned()
            {
                Ok(place) => Some(Ok(Connection::new(stream, place))),
                Err(_) => {
                    tracing::warn!(open = CONNECTIONS, "refused a connection: too many are open");
                    None
                }
            },
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        std::future::ready(connection)
    })
}

fn is_allowed(stream: &UnixStream, allowed: &[u32]) -> bool {
    match stream.peer_cred() {
        Ok(peer) if allowed.contains(&peer.uid()) => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), gid = peer.gid(), "refused a client");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a client without credentials");
            false
        }
    }
}
