//! Whether the daemon answers: a process may live and do nothing, stopped or in a deadlock.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How the daemon is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Between two checks.
    pub interval: Duration,
    /// For an answer.
    pub deadline: Duration,
    /// Checks that fail in a row before the daemon is ended.
    pub failures: u32,
}

/// Start of every HTTP/2 connection, and an empty SETTINGS frame: a server that works answers with its
/// own.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Bytes of a frame's head.
const HEAD: usize = 9;

/// The daemon of the moment; none while there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Daemon(Arc<Mutex<Option<Pid>>>);

impl Daemon {
    pub(super) fn set(&self, pid: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    fn get(&self) -> Option<Pid> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `reap` while no thread sends a signal to the daemon: its number may be another
    /// process's afterwards.
    pub(super) fn reaping<T>(&self, reap: impl FnOnce(&mut Option<Pid>) -> T) -> T {
        reap(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills the daemon if it is still this one.
    fn kill(&self, pid: Pid) {
        let daemon = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *daemon == Some(pid) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Watch {
    /// The daemon of this socket: a minute without an answer.
    pub fn of(socket: PathBuf) -> Self {
        let (interval, deadline) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { socket, interval, deadline, failures: 5 }
    }

    /// Checks the daemon from time to time and kills one that does not answer; never ends.
    pub(super) fn run(&self, daemon: &Daemon) {
        let (mut of, mut failed) = (None, 0);
        loop {
            // A thread of its own, without a runtime; the wait is the interval between two checks.
            std::thread::park_timeout(self.interval);
            let Some(pid) = daemon.get() else { continue };
            if of != Some(pid) {
                (of, failed) = (Some(pid), 0);
            }
            match answers(&self.socket, self.deadline) {
                Ok(()) => failed = 0,
                Err(error) => {
                    failed += 1;
                    tracing::warn!(%error, failed, "the daemon does not answer");
                }
            }
            if failed >= self.failures {
                tracing::error!("the daemon runs and does not answer; killing it");
                daemon.kill(pid);
                failed = 0;
            }
        }
    }
}

/// Connects and waits for the server's first frame. A server that closes the connection works too: it
/// has refused us.
fn answers(socket: &Path, deadline: Duration) -> io::Result<()> {
    let until = Instant::now() + deadline;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(deadline))?;
    match stream.write_all(GREETING) {
        Err(error) if closed(&error) => return Ok(()),
        written => written?,
    }
    let mut head = [0; HEAD];
    let mut read = 0;
    while read < HEAD {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut head[read..]) {
            Ok(0) => return Ok(()),
            Ok(length) => read += length,
            Err(error) if closed(&error) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn a_socket_without_a_reader_does_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        assert!(answers(&socket, SHORT).is_err());
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(answers(&socket, SHORT).is_err());
        drop(listener);
        assert!(answers(&socket, SHORT).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_grpc_server_answers() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = crate::rpc::listener::bind(&socket).unwrap();
        let own = rustix::process::getuid().as_raw();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder()
            .add_service(health)
            .serve_with_incoming(crate::rpc::listener::connections(listener, vec![own]));
        tokio::spawn(server);
        let asked = tokio::task::spawn_blocking(move || answers(&socket, Duration::from_secs(10)));
        asked.await.unwrap().unwrap();
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let daemon = Daemon::default();
        daemon.set(Some(Pid::from_child(&child)));
        let watch = Watch { socket, interval: SHORT, deadline: SHORT, failures: 2 };
        // Ends with the test's process.
        std::thread::spawn(move || watch.run(&daemon));
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
