//! One call of BuildImage, over as many connections as it takes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use hookd_api::transport::{ERROR_DOMAIN, ERROR_REMEDY};
use hookd_api::v1::hook_service_client::HookServiceClient;
use hookd_api::v1::{
    Ack, BuildImageRequest, BuildImageResponse, BuildImageStart, BuiltImage, Control, Progress,
    Resume, Signal, StepEvent, Stream, build_image_request, build_image_response, control,
    step_event,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::rpc::client::connect;

/// How long the daemon may be away: it is started again within a second or two.
const AWAY: Duration = Duration::from_secs(30);
/// Between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a build that is cancelled is waited for.
const CANCELLED: Duration = Duration::from_secs(10);
/// Messages that wait to be sent.
const MESSAGES: usize = 16;

/// A call without its result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// hookd has decided.
    #[error("{message}{}", .reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// What happened.
        message: String,
        /// Its stable name.
        reason: Option<String>,
        /// What the user can do.
        remedy: String,
    },
    /// The daemon is not there, or did not come back.
    #[error("hookd does not answer on {}: {cause}", .socket.display())]
    Away {
        /// Its socket.
        socket: PathBuf,
        /// What the last attempt met.
        cause: String,
    },
    /// A signal ended the process, and the build is cancelled.
    #[error("ended by signal {number}")]
    Signalled {
        /// Number of the signal.
        number: u8,
    },
    /// Signals cannot be handled.
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
    /// The log cannot be printed.
    #[error("the build's log cannot be printed")]
    Print(#[source] io::Error),
}

/// A connection that is of no use any more.
enum Broken {
    /// The next one goes on where it was.
    Lost(String),
    /// The call is over.
    Over(CallError),
}

/// A build, and how far its log is printed.
pub(super) struct Call {
    socket: PathBuf,
    start: BuildImageStart,
    resume: Resume,
    /// Since when the daemon is away.
    away: Instant,
}

impl Call {
    pub(super) fn new(socket: PathBuf, start: BuildImageStart) -> Self {
        Self { socket, start, resume: Resume::default(), away: Instant::now() }
    }

    /// Builds, and prints the log to standard error.
    pub(super) async fn run(mut self) -> Result<BuiltImage, CallError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CallError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CallError::Signals)?;
        let (signals, mut received) = mpsc::channel(1);
        tokio::spawn(async move {
            let number = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            };
            let _ = signals.send(number.as_raw_value()).await;
        });
        loop {
            let began = Instant::now();
            let cause = match self.connection(&mut received).await {
                Ok(image) => return Ok(image),
                Err(Broken::Over(error)) => return Err(error),
                Err(Broken::Lost(cause)) => cause,
            };
            // A build may print nothing for long.
            if began.elapsed() > AWAY {
                self.away = Instant::now();
            }
            if self.away.elapsed() > AWAY {
                return Err(CallError::Away { socket: self.socket, cause });
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                Some(number) = received.recv() => return Err(signalled(number)),
            }
        }
    }

    /// Follows the build for as long as a connection lasts.
    async fn connection(
        &mut self,
        signals: &mut mpsc::Receiver<i32>,
    ) -> Result<BuiltImage, Broken> {
        let lost = |error: io::Error| Broken::Lost(crate::error::report(&error));
        let channel = connect(&self.socket).await.map_err(lost)?;
        let (requests, receiver) = mpsc::channel(MESSAGES);
        let start = BuildImageStart { resume: Some(self.resume.clone()), ..self.start.clone() };
        let _ = requests.send(request(build_image_request::Message::Start(start))).await;
        let mut client = HookServiceClient::new(channel);
        let answer = client.build_image(ReceiverStream::new(receiver)).await;
        let mut events = answer.map_err(broken)?.into_inner();
        let number = tokio::select! {
            image = self.follow(&mut events, &requests) => return image,
            Some(number) = signals.recv() => number,
        };
        let signal = control::Kind::Signal(Signal { number });
        let _ = requests.send(control_request(signal)).await;
        // It ends with the status of a step that was cancelled.
        let _ = tokio::time::timeout(CANCELLED, self.follow(&mut events, &requests)).await;
        Err(Broken::Over(signalled(number)))
    }

    async fn follow(
        &mut self,
        events: &mut Streaming<BuildImageResponse>,
        requests: &Sender<BuildImageRequest>,
    ) -> Result<BuiltImage, Broken> {
        use build_image_response::Message;
        loop {
            let next = events.message().await.map_err(broken)?;
            let Some(next) = next else { return Err(Broken::Lost("the call ended".to_owned())) };
            self.away = Instant::now();
            let (image, result) = match next.message {
                Some(Message::Event(event)) => {
                    self.print(event).map_err(|error| Broken::Over(CallError::Print(error)))?;
                    (None, false)
                }
                Some(Message::Result(image)) => (Some(image), true),
                None => continue,
            };
            let Resume { stdout_offset, stderr_offset, .. } = self.resume;
            let ack = control::Kind::Ack(Ack { stdout_offset, stderr_offset, result });
            let sent = requests.send(control_request(ack)).await;
            if let Some(image) = image {
                // hookd closes the call once it has read this.
                if sent.is_ok() {
                    let _ = tokio::time::timeout(CANCELLED, events.message()).await;
                }
                return Ok(image);
            }
        }
    }

    fn print(&mut self, event: StepEvent) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        match event.kind {
            Some(step_event::Kind::Output(output)) => {
                stderr.write_all(&output.data)?;
                let end = output.offset + output.data.len() as u64;
                match output.stream() {
                    Stream::Stdout => self.resume.stdout_offset = end,
                    Stream::Stderr | Stream::Unspecified => self.resume.stderr_offset = end,
                }
            }
            Some(step_event::Kind::Progress(Progress { message, .. })) if !message.is_empty() => {
                writeln!(stderr, "{message}")?;
            }
            Some(step_event::Kind::Progress(_)) | None => {}
        }
        if !event.cursor.is_empty() {
            self.resume.cursor = event.cursor;
        }
        stderr.flush()
    }
}

fn request(message: build_image_request::Message) -> BuildImageRequest {
    BuildImageRequest { message: Some(message) }
}

fn control_request(kind: control::Kind) -> BuildImageRequest {
    request(build_image_request::Message::Control(Control { kind: Some(kind) }))
}

fn signalled(number: i32) -> CallError {
    CallError::Signalled { number: u8::try_from(number).unwrap_or_default() }
}

/// hookd's own errors carry a reason; others are the connection's.
fn broken(status: Status) -> Broken {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    let is_lost = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
    );
    if info.is_none() && is_lost {
        return Broken::Lost(status.message().to_owned());
    }
    let remedy = info.as_ref().and_then(|info| info.metadata.get(ERROR_REMEDY)).cloned();
    Broken::Over(CallError::Refused {
        message: status.message().to_owned(),
        reason: info.map(|info| info.reason),
        remedy: remedy.unwrap_or_default(),
    })
}
