//! The way to hookd: a channel over its Unix socket, and the wait for one.
//!
//! hookd may not be there yet, or its process may be restarted at any time. The time without it is
//! an [`Outage`]: it lasts until hookd has shown that it works again, so that a hookd which accepts
//! connections and fails does not start the wait anew each time.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd_api::transport::{CONNECTION_WINDOW, HOOK_KEEPALIVE, STREAM_WINDOW};
use hookd_api::v1::hook_service_client::HookServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::output::Output;
use crate::report::Explain;

/// The client of hookd's API.
pub(crate) type Client = HookServiceClient<Channel>;

/// Pause after the first failed attempt; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A wait as long as this is worth a line; a restart of the daemon takes less.
const WORTH_SAYING: Duration = Duration::from_secs(1);
/// A call that went on for this long has shown that hookd works.
const STEADY: Duration = Duration::from_secs(10);

/// The way to one hookd.
pub(crate) struct Connection<'a> {
    socket: &'a Path,
    timeout: Duration,
    output: &'a Output,
    outage: Outage,
    /// When hookd answered the current call; `None`: it has not.
    answered: Option<Instant>,
}

/// A time without hookd.
struct Outage {
    since: Instant,
    /// Pause before the next attempt; `None`: there was no attempt yet.
    pause: Option<Duration>,
    /// What the last attempt met.
    cause: String,
    /// True once the loss of the connection was reported.
    reported_loss: bool,
    /// True once the wait was reported.
    reported_wait: bool,
    /// True once it was reported that hookd answers again.
    reported_answer: bool,
}

/// hookd cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Waiting does not help.
    #[error("The socket {} cannot be used", .socket.display())]
    Unusable {
        /// Path of the socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// hookd did not come, or not back, in time.
    #[error(
        "hookd did not answer on {} within {} s: {cause}", .socket.display(), .timeout.as_secs()
    )]
    GaveUp {
        /// Path of the socket.
        socket: PathBuf,
        /// The time that ran out.
        timeout: Duration,
        /// What the last attempt met.
        cause: String,
    },
}

// === impl Connection ===

impl<'a> Connection<'a> {
    /// A way that was not tried yet; `output` hears of waits that are worth a line.
    pub(crate) fn new(socket: &'a Path, timeout: Duration, output: &'a Output) -> Self {
        Self { socket, timeout, output, outage: Outage::begin(), answered: None }
    }

    /// Connects, waiting for hookd until the timeout.
    pub(crate) async fn connect(&mut self) -> Result<Client, ConnectError> {
        loop {
            if let Some(pause) = self.outage.next_pause() {
                self.wait(pause).await?;
            }
            let source = match open(self.socket, self.timeout).await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            if !passes(source.kind()) {
                return Err(ConnectError::Unusable { socket: self.socket.to_owned(), source });
            }
            self.outage.cause = source.to_string();
        }
    }

    /// hookd has taken the call.
    pub(crate) fn answered(&mut self) {
        self.answered = Some(Instant::now());
        let outage = &mut self.outage;
        if outage.reported_wait && !std::mem::replace(&mut outage.reported_answer, true) {
            self.output.line("hookd is answering; carrying on");
        }
    }

    /// The call broke off without an end. `moved`: it had done something new.
    pub(crate) fn broke(&mut self, status: &Status, moved: bool) {
        let answered = self.answered.take().map(|since| since.elapsed());
        match answered {
            Some(time) if moved || time >= STEADY => self.outage = Outage::begin(),
            // The same outage; the timeout is for the time without an answer.
            Some(time) => self.outage.since += time,
            None => {}
        }
        self.outage.cause = status.message().to_owned();
        if answered.is_some() && !std::mem::replace(&mut self.outage.reported_loss, true) {
            self.output.line("Connection to hookd lost; carrying on");
        }
    }

    /// Waits before the next attempt, if there is time for one.
    async fn wait(&mut self, pause: Duration) -> Result<(), ConnectError> {
        let left = self.timeout.saturating_sub(self.outage.since.elapsed());
        if left.is_zero() {
            return Err(ConnectError::GaveUp {
                socket: self.socket.to_owned(),
                timeout: self.timeout,
                cause: self.outage.cause.clone(),
            });
        }
        tokio::time::sleep(pause.min(left)).await;
        if !self.outage.reported_wait && self.outage.since.elapsed() >= WORTH_SAYING {
            self.outage.reported_wait = true;
            self.output.line(format!(
                "hookd is not answering on {}; waiting up to {} s",
                self.socket.display(),
                self.timeout.as_secs()
            ));
        }
        Ok(())
    }
}

// === impl Outage ===

impl Outage {
    /// An outage that starts now.
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            pause: None,
            cause: String::new(),
            reported_loss: false,
            reported_wait: false,
            reported_answer: false,
        }
    }

    /// How long to wait before the next attempt; `None` before the first.
    fn next_pause(&mut self) -> Option<Duration> {
        let pause = self.pause;
        self.pause = Some(pause.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE)));
        pause
    }
}

// === impl ConnectError ===

impl Explain for ConnectError {
    fn title(&self) -> String {
        match self {
            Self::Unusable { .. } => "The socket of hookd cannot be used".to_owned(),
            Self::GaveUp { .. } => "hookd is not answering".to_owned(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Unusable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "Run the hookd container with the user id of the runner container: the socket is \
                 for that user only"
                    .to_owned()
            }
            Self::Unusable { .. } => {
                "Set HOOKD_SOCKET to the path of hookd's socket, as the runner container sees it"
                    .to_owned()
            }
            Self::GaveUp { .. } => {
                "Check that the hookd container of the runner pod is running (its log says why \
                 not), and that both containers mount the directory of the socket"
                    .to_owned()
            }
        }
    }
}

/// True for what hookd's start or restart can cure.
fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::Other
    )
}

/// One attempt to connect.
async fn open(socket: &Path, timeout: Duration) -> io::Result<Client> {
    let mut stream = Some(TokioIo::new(UnixStream::connect(socket).await?));
    // The channel would connect again by itself; it gets the one stream only, so that the loss of
    // a connection is seen where the offsets are known.
    let connector = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or_else(|| io::Error::from(ErrorKind::BrokenPipe)))
    });
    let channel = Endpoint::from_static("http://hookd")
        .http2_keep_alive_interval(HOOK_KEEPALIVE)
        .keep_alive_timeout(timeout)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(io::Error::other)?;
    Ok(HookServiceClient::new(channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_start_short_and_end_at_half_a_second() {
        let mut outage = Outage::begin();
        let pauses: Vec<_> = std::iter::repeat_with(|| outage.next_pause()).take(9).collect();
        let millis = |pause: &Option<Duration>| pause.map_or(0, |pause| pause.as_millis());
        let millis: Vec<_> = pauses.iter().map(millis).collect();
        assert_eq!(millis, [0, 10, 20, 40, 80, 160, 320, 500, 500]);
    }
}
