//! A stepd in namespaces of its own, and a caller of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hookd_api::stepd::v1::attach_request::Message;
use hookd_api::stepd::v1::attach_response::Event;
use hookd_api::stepd::v1::step_service_client::StepServiceClient;
use hookd_api::stepd::v1::{
    AttachRequest, AttachStart, CancelStepRequest, Offsets, StartStepRequest, StepEnd,
};
use hyper_util::rt::TokioIo;
use tokio::io::{Join, join};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Whatever does not happen by then does not happen.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A stepd that is PID 1 of a pid namespace.
pub(crate) struct Stepd {
    pub(crate) dir: tempfile::TempDir,
    unshare: Child,
    /// PID 1, as seen from outside.
    pub(crate) pid: i32,
}

/// A session of `stepd connect`.
pub(crate) struct Session {
    pub(crate) client: StepServiceClient<Channel>,
    connect: tokio::process::Child,
}

/// What an attachment has received.
pub(crate) struct Attached {
    events: Streaming<hookd_api::stepd::v1::AttachResponse>,
    requests: mpsc::UnboundedSender<AttachRequest>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) full: usize,
    acknowledges: bool,
}

impl Stepd {
    /// With these further arguments, as root.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_as(arguments, &[])
    }

    /// As another user: `wrapper` is put before stepd.
    pub(crate) fn start_as(arguments: &[&str], wrapper: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, wrapper)
    }

    /// As [`Stepd::start_as`], with its socket and its spool in `dir`.
    pub(crate) fn start_in(dir: tempfile::TempDir, arguments: &[&str], wrapper: &[&str]) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make namespaces: run as root");
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), everybody).unwrap();
        let unshare = Command::new("unshare")
            .args(["--fork", "--pid", "--mount-proc", "--kill-child"])
            .args(wrapper)
            .arg(env!("CARGO_BIN_EXE_stepd"))
            .args(["serve", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .env("FROM_IMAGE", "yes")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let socket = dir.path().join("stepd.sock");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = until("stepd listens", || {
            let children = std::fs::read_to_string(&children).ok()?;
            let pid = children.split_whitespace().next()?.parse().ok()?;
            socket.exists().then_some(pid)
        });
        Self { dir, unshare, pid }
    }

    /// A process in stepd's namespaces that was not started by it, as a CRI exec makes one.
    pub(crate) fn exec(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--pid", "--mount"]);
        command
    }

    /// Comes in as hookd does.
    pub(crate) async fn connect(&self) -> Session {
        self.try_connect().await.unwrap()
    }

    /// As [`Stepd::connect`], where the session may be killed meanwhile.
    pub(crate) async fn try_connect(&self) -> Result<Session, tonic::transport::Error> {
        let mut command = tokio::process::Command::from(self.exec());
        command.arg(env!("CARGO_BIN_EXE_stepd")).args(["connect", "--dir"]).arg(self.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut connect = command.spawn().unwrap();
        let stream: Join<ChildStdout, ChildStdin> =
            join(connect.stdout.take().unwrap(), connect.stdin.take().unwrap());
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or_else(|| std::io::Error::other("used")))
        });
        let channel =
            Endpoint::from_static("http://stepd").connect_with_connector(connector).await?;
        Ok(Session { client: StepServiceClient::new(channel), connect })
    }

    /// Command lines of the processes of the namespace, but for stepd's own.
    pub(crate) fn processes(&self) -> Vec<String> {
        let listed = self.exec().args(["ps", "-eo", "stat=,args="]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let own = |line: &&str| line.contains("stepd") || line.contains("ps -eo");
        listed.lines().filter(|line| !own(line)).map(str::to_owned).collect()
    }

    /// Bytes in RAM of PID 1, in MB.
    pub(crate) fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        until("stepd ends", || self.unshare.try_wait().unwrap())
    }

    /// Sends TERM to PID 1 and waits for its end: its code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        until("stepd ends", || self.unshare.try_wait().unwrap()).code()
    }
}

impl Drop for Stepd {
    fn drop(&mut self) {
        // With its PID 1 the whole namespace ends.
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.unshare.wait();
    }
}

impl Session {
    /// Starts a program; true if it was not started before.
    pub(crate) async fn start(&mut self, id: &str, argv: &[&str]) -> bool {
        self.start_with(id, argv, |_| {}).await
    }

    /// As [`Session::start`], with a request that `edit` has changed.
    pub(crate) async fn start_with(
        &mut self,
        id: &str,
        argv: &[&str],
        edit: impl FnOnce(&mut StartStepRequest),
    ) -> bool {
        let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
        let mut request =
            StartStepRequest { step_id: id.to_owned(), argv, ..StartStepRequest::default() };
        edit(&mut request);
        self.client.start_step(request).await.unwrap().into_inner().started
    }

    /// Attaches where nothing was received yet.
    pub(crate) async fn attach(&mut self, id: &str) -> Attached {
        self.attach_at(id, Offsets::default()).await.unwrap()
    }

    /// Attaches at offsets.
    pub(crate) async fn attach_at(
        &mut self,
        id: &str,
        resume: Offsets,
    ) -> Result<Attached, tonic::Status> {
        self.attach_by(AttachStart { step_id: id.to_owned(), resume: Some(resume), step: None })
            .await
    }

    /// Attaches by this first message.
    pub(crate) async fn attach_by(
        &mut self,
        start: AttachStart,
    ) -> Result<Attached, tonic::Status> {
        let (requests, receiver) = mpsc::unbounded_channel();
        requests.send(AttachRequest { message: Some(Message::Start(start)) }).unwrap();
        let events = self.client.attach(UnboundedReceiverStream::new(receiver)).await?.into_inner();
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Ok(Attached { events, requests, stdout, stderr, full: 0, acknowledges: true })
    }

    /// Runs `sh -c script` to its end.
    pub(crate) async fn run(&mut self, id: &str, script: &str) -> (StepEnd, Attached) {
        assert!(self.start(id, &["sh", "-c", script]).await);
        let mut attached = self.attach(id).await;
        (attached.end().await, attached)
    }

    /// Cancels a step, with short pauses.
    pub(crate) async fn cancel(&mut self, id: &str) -> bool {
        let request = CancelStepRequest { step_id: id.to_owned(), grace_milliseconds: 100 };
        self.client.cancel_step(request).await.unwrap().into_inner().found
    }

    /// The connection breaks.
    pub(crate) async fn break_off(mut self) {
        self.connect.kill().await.unwrap();
    }
}

impl Attached {
    /// Never acknowledges by itself.
    pub(crate) fn silent(mut self) -> Self {
        self.acknowledges = false;
        self
    }

    /// Receives one event; the end, if it was that.
    pub(crate) async fn next(&mut self) -> Result<Option<StepEnd>, tonic::Status> {
        let event = tokio::time::timeout(TIMEOUT, self.events.message()).await;
        match event.expect("an event comes in time")?.and_then(|event| event.event) {
            Some(Event::Output(output)) => {
                let stream = if output.stderr { &mut self.stderr } else { &mut self.stdout };
                stream.extend(output.data);
                if self.acknowledges {
                    self.acknowledge();
                }
                Ok(None)
            }
            Some(Event::SpoolFull(_)) => {
                self.full += 1;
                Ok(None)
            }
            Some(Event::End(end)) => Ok(Some(end)),
            None => Err(tonic::Status::unavailable("the stream ended without an end")),
        }
    }

    /// Receives to the end.
    pub(crate) async fn end(&mut self) -> StepEnd {
        loop {
            if let Some(end) = self.next().await.unwrap() {
                return end;
            }
        }
    }

    /// As [`Attached::next`], without an acknowledgement.
    pub(crate) async fn silent_next(&mut self) -> Option<StepEnd> {
        let before = std::mem::replace(&mut self.acknowledges, false);
        let end = self.next().await.unwrap();
        self.acknowledges = before;
        end
    }

    /// Receives until standard output has `text`.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            assert_eq!(self.next().await.unwrap(), None, "it ended before it printed {text:?}");
        }
    }

    /// Reports that all that was received is acted on.
    pub(crate) fn acknowledge(&self) {
        self.acknowledge_at(self.stdout.len() as u64, self.stderr.len() as u64);
    }

    pub(crate) fn acknowledge_at(&self, stdout: u64, stderr: u64) {
        let message = Some(Message::Acknowledge(Offsets { stdout, stderr }));
        // A stream that is over needs none.
        let _ = self.requests.send(AttachRequest { message });
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Pairs as an environment.
pub(crate) fn environment(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A path as text.
pub(crate) fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A file in stepd's directory that steps of root can write to.
pub(crate) fn file(stepd: &Stepd, name: &str) -> PathBuf {
    stepd.dir.path().join(name)
}
