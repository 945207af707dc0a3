//! The `hook` process.

use std::ffi::OsStr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use super::within;

/// A hook that was not started yet.
pub(crate) struct HookCommand(Command);

/// A running hook whose output is read.
pub(crate) struct Hook {
    child: Child,
    stdout: Reader,
    stderr: Reader,
}

/// How a hook ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code; -1 if a signal killed it.
    pub(crate) code: i32,
    /// All of its standard output.
    pub(crate) stdout: Vec<u8>,
    /// All of its standard error.
    pub(crate) stderr: Vec<u8>,
}

/// What was read of one pipe so far.
#[derive(Clone)]
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// True at the end of the pipe; changes with every read.
    ended: watch::Receiver<bool>,
}

impl HookCommand {
    /// A hook with a clean environment and a short timeout.
    pub(crate) fn new() -> Self {
        Self::at(env!("CARGO_BIN_EXE_hook"))
    }

    /// The same with the binary at another place.
    pub(crate) fn at(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("HOOK_CONNECT_TIMEOUT_SECONDS", "30").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it as another user.
    pub(crate) fn uid(mut self, uid: u32) -> Self {
        self.0.uid(uid);
        self
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.0.arg(argument);
        self
    }

    /// Starts it with `input` as the runner writes it.
    pub(crate) fn start(self, input: &Value) -> Hook {
        self.start_raw(format!("{input}\n").into_bytes())
    }

    /// Starts it with any input.
    pub(crate) fn start_raw(self, input: Vec<u8>) -> Hook {
        let (child, stdout) = self.start_unread(input);
        Hook::reading(child, stdout)
    }

    /// Starts it and leaves its standard output unread.
    pub(crate) fn start_unread(mut self, input: Vec<u8>) -> (Child, ChildStdout) {
        let mut child = self.0.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A hook that ends before it has read its input is for the test to notice.
        tokio::spawn(async move { stdin.write_all(&input).await });
        let stdout = child.stdout.take().unwrap();
        (child, stdout)
    }
}

impl Hook {
    /// Starts to read the output of `child`.
    pub(crate) fn reading(mut child: Child, stdout: ChildStdout) -> Self {
        let stderr = child.stderr.take().unwrap();
        Self { child, stdout: Reader::start(stdout), stderr: Reader::start(stderr) }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until its standard output contains `text`.
    pub(crate) async fn printed(&self, text: &str) {
        self.stdout.wait_for(&format!("{text:?} on stdout"), text.as_bytes()).await;
    }

    /// Waits until its standard error contains `text`.
    pub(crate) async fn complained(&self, text: &str) {
        self.stderr.wait_for(&format!("{text:?} on stderr"), text.as_bytes()).await;
    }

    /// Waits for its end.
    pub(crate) async fn finished(mut self) -> Finished {
        let status = within("the end of hook", self.child.wait()).await.unwrap();
        let stdout = self.stdout.all().await;
        let stderr = self.stderr.all().await;
        Finished { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Finished {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text: hook's own lines, and the program's.
    pub(crate) fn own_lines(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts that the hook failed with this one line and nothing else.
    #[track_caller]
    pub(crate) fn assert_error(&self, line: &str) {
        assert_eq!(self.own_lines(), format!("{line}\n"));
        assert_eq!(self.code, 1);
        assert!(self.stdout.is_empty(), "{self:?}");
    }
}

impl Reader {
    /// Reads `pipe` to its end in a task of its own.
    fn start(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = watch::channel(false);
        let target = Arc::clone(&bytes);
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let length = pipe.read(&mut buffer).await.unwrap();
                target.lock().unwrap().extend_from_slice(&buffer[..length]);
                sender.send_replace(length == 0);
                if length == 0 {
                    return;
                }
            }
        });
        Self { bytes, ended }
    }

    /// Waits until `wanted` was read.
    async fn wait_for(&self, what: &str, wanted: &[u8]) {
        let mut ended = self.ended.clone();
        within(what, async {
            loop {
                ended.borrow_and_update();
                let seen = |bytes: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
                if seen(&self.bytes.lock().unwrap()) {
                    return;
                }
                ended.changed().await.unwrap_or_else(|_| panic!("no {what} before its end"));
            }
        })
        .await;
    }

    /// Everything up to the end of the pipe.
    async fn all(mut self) -> Vec<u8> {
        within("the end of a pipe", self.ended.wait_for(|ended| *ended)).await.unwrap();
        std::mem::take(&mut self.bytes.lock().unwrap())
    }
}
