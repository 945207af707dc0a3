//! Joins standard input and output to the socket, both ways at once.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::serve::SOCKET;

const BUFFER: usize = 128 << 10;

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
        let socket = UnixStream::connect(&path)?;
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
