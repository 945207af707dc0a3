//! Joins standard input and output to the socket, both ways at once.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::serve::SOCKET;

const BUFFER: usize = 128 << 10;
/// The session may be opened before stepd listens: the kubelet tells that a container runs once its
/// program was started.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("stepd cannot be reached on {path:?}")]
pub(crate) struct ConnectError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Copies until the other end closes.
pub(crate) fn run(dir: &Path) -> Result<(), ConnectError> {
    let path = dir.join(SOCKET);
    let connect = || -> io::Result<(UnixStream, UnixStream)> {
        let socket = connect_soon(&path)?;
        Ok((socket.try_clone()?, socket))
    };
    let (up, down) = connect().map_err(|source| ConnectError { path: path.clone(), source })?;
    std::thread::spawn(move || {
        // Either way nothing more will come: the other end is to know.
        let _ = copy(io::stdin().lock(), &up);
        let _ = up.shutdown(Shutdown::Write);
    });
    // An error is the session's end, which whoever holds its other end sees.
    let _ = copy(&down, io::stdout().lock());
    Ok(())
}

/// Connects, if need be once the socket has got its name.
fn connect_soon(path: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    let named = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    inotify::add_watch(&named, dir, inotify::WatchFlags::MOVED_TO)?;
    loop {
        match UnixStream::connect(path) {
            Err(error) if is_too_early(&error) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).map_err(io::Error::other)?;
                if poll(&mut [PollFd::new(&named, PollFlags::IN)], Some(&left))? == 0 {
                    return Err(error);
                }
                rustix::io::read(&named, &mut [0_u8; 4096])?;
            }
            connected => return connected,
        }
    }
}

/// A socket whose listener is gone will be replaced.
fn is_too_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Passes on at once whatever there is.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
