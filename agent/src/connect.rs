//! Joins standard input and output to the socket, both ways at once.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hookd_api::transport::STEPD_SOCKET as SOCKET;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::peer;

const BUFFER: usize = 128 << 10;
/// Time limit for stepd to listen: the kubelet reports a container as running once its program was
/// started.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Until the next look at a directory that cannot be watched.
const PAUSE: Duration = Duration::from_millis(20);
/// A session that is over on one side is over: what lies in the pipe of one that broke is not
/// read, and a thread that waits to write there would stay for ever.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// The socket cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("stepd cannot be reached on {path:?}")]
pub(crate) struct ConnectError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Copies until the other end closes, or nothing has come from the session for the time of `silence`:
/// a container runtime that was restarted holds the pipes of a session that no client has any more.
///
/// # Errors
/// When no process listens, or another one than stepd does: `server`, if set, or the container's.
pub(crate) fn run(dir: &Path, silence: Duration, server: Option<i32>) -> Result<(), ConnectError> {
    let path = dir.join(SOCKET);
    let connect = || -> io::Result<[UnixStream; 3]> {
        // Nothing is sent before it is clear who receives it: environments hold secrets.
        let socket = verified(connect_soon(&path)?, server)?;
        Ok([socket.try_clone()?, socket.try_clone()?, socket])
    };
    let [up, closed, down] =
        connect().map_err(|source| ConnectError { path: path.clone(), source })?;
    std::thread::spawn(move || {
        // Either way nothing more will come: the other end is to know.
        let _ = copy(Session { silence }, &up);
        let _ = up.shutdown(Shutdown::Write);
        end_soon();
    });
    std::thread::spawn(move || {
        let _ = poll(&mut [PollFd::new(&closed, PollFlags::RDHUP)], None);
        end_soon();
    });
    // An error is the session's end, which the process at its other end sees.
    let _ = copy(&down, io::stdout().lock());
    Ok(())
}

/// The connection, if its server is the right process. A process that can write to the socket's
/// directory could have put another socket there.
fn verified(socket: UnixStream, server: Option<i32>) -> io::Result<UnixStream> {
    let (socket, pid) = peer::pid_of(socket)?;
    let right = match server {
        Some(server) => pid == Some(server),
        None => pid.is_some_and(peer::is_stepd),
    };
    if right {
        return Ok(socket);
    }
    let who = pid.map_or_else(|| "a process outside".to_owned(), |pid| format!("process {pid}"));
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{who} of this container listens there, which is not stepd"),
    ))
}

/// Standard input. It is at its end, too, if nothing comes for a while.
struct Session {
    silence: Duration,
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (input, silence) = (io::stdin(), Timespec::try_from(self.silence));
        let silence = silence.map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&silence))? == 0 {
            return Ok(0);
        }
        // Without the buffer of the standard library, which poll does not see.
        Ok(rustix::io::read(&input, buffer)?)
    }
}

/// Ends the process, whatever its other threads wait for.
fn end_soon() -> ! {
    std::thread::park_timeout(EXIT_GRACE);
    std::process::exit(0)
}

/// Connects, if need be once the socket has got its name.
fn connect_soon(path: &Path) -> io::Result<UnixStream> {
    match UnixStream::connect(path) {
        Err(error) if is_too_early(&error) => connect_once_named(path),
        connected => connected,
    }
}

/// Connects once the socket has got its name.
fn connect_once_named(path: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    // A node has few inotify instances for a user, and other pods may hold them all.
    let named = watch(path.parent().unwrap_or(Path::new("."))).ok();
    loop {
        // The first time as well: the socket may have come just before the watch.
        match UnixStream::connect(path) {
            Err(error) if is_too_early(&error) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(error);
                }
                wait(named.as_ref(), left)?;
            }
            connected => return connected,
        }
    }
}

/// Can be read from once a file in `dir` has got its name.
fn watch(dir: &Path) -> io::Result<OwnedFd> {
    let named = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&named, dir, inotify::WatchFlags::MOVED_TO)?;
    Ok(named)
}

/// Waits until a file gets its name, at most for `left`; without a watch, for a short pause.
fn wait(named: Option<&OwnedFd>, left: Duration) -> io::Result<()> {
    let time = if named.is_some() { left } else { left.min(PAUSE) };
    let time = Timespec::try_from(time).map_err(io::Error::other)?;
    let Some(named) = named else {
        poll(&mut [], Some(&time))?;
        return Ok(());
    };
    if poll(&mut [PollFd::new(named, PollFlags::IN)], Some(&time))? > 0 {
        rustix::io::read(named, &mut [0_u8; 4096])?;
    }
    Ok(())
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
