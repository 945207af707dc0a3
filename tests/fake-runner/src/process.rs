//! Runs a hook the way the runner runs it, cancellation included.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::environment::{CommandLine, Environment};

/// After a cancel the hook gets these signals, each with the time that it has before the next.
const CANCEL: [(Signal, Duration); 2] =
    [(Signal::INT, Duration::from_millis(7500)), (Signal::TERM, Duration::from_millis(2500))];

/// How long the runner waits for the ends of the hook's pipes once the hook itself has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// A hook that could not be run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("cannot start {} in {}", program.display(), directory.display())]
    Start {
        /// The interpreter.
        program: PathBuf,
        /// The working directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its end was not seen.
    #[error("cannot wait for the hook")]
    Wait(#[source] io::Error),
}

/// A hook that is ready to be started.
#[derive(Clone, Debug)]
pub struct Process {
    /// Interpreter and hook.
    pub command: CommandLine,
    /// All of its environment.
    pub environment: Environment,
    /// Its working directory: the workspace.
    pub directory: PathBuf,
    /// The line on its standard input.
    pub input: String,
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n if signal n ended it.
    pub code: i32,
    /// False if 5 s after its end something still held its output open.
    pub drained: bool,
}

enum Event {
    Exited(io::Result<ExitStatus>),
    Cancelled,
}

/// Where a hook's output goes.
pub type Sink = Box<dyn Write + Send>;

impl Process {
    /// Starts the hook, feeds it its input, copies its output as it comes and waits for its end.
    /// Anything that `cancel` receives cancels the step as the runner does: SIGINT to the hook
    /// alone, SIGTERM 7.5 s later, SIGKILL after another 2.5 s.
    ///
    /// # Errors
    ///
    /// [`ProcessError`] if it cannot be started or waited for.
    pub fn run(
        &self,
        stdout: Sink,
        stderr: Sink,
        cancel: Receiver<()>,
    ) -> Result<Exit, ProcessError> {
        let mut child = self.start()?;
        let drained = self.connect(&mut child, stdout, stderr);
        let pid = Pid::from_child(&child);
        let (events, inbox) = mpsc::channel();
        let exits = events.clone();
        thread::spawn(move || exits.send(Event::Exited(child.wait())));
        thread::spawn(
            move || {
                while cancel.recv().is_ok() && events.send(Event::Cancelled).is_ok() {}
            },
        );
        let status = await_exit(pid, &inbox).map_err(ProcessError::Wait)?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(Exit { code: code.unwrap_or(255), drained: await_drain(&drained) })
    }

    fn start(&self) -> Result<Child, ProcessError> {
        let child = Command::new(&self.command.program)
            .args(&self.command.arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| ProcessError::Start {
                program: self.command.program.clone(),
                directory: self.directory.clone(),
                source,
            })?;
        // The runner makes hooks preferred victims of the OOM killer, and only logs a failure.
        let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "500");
        Ok(child)
    }

    /// Connects the three streams; every stream that has ended sends a message.
    fn connect(&self, child: &mut Child, stdout: Sink, stderr: Sink) -> Receiver<()> {
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input.clone();
            // A hook that ends before it has read all of it is no fault of the runner's.
            thread::spawn(move || stdin.write_all(input.as_bytes()));
        }
        let (ended, drained) = mpsc::channel();
        if let Some(stream) = child.stdout.take() {
            copy(stream, stdout, ended.clone());
        }
        if let Some(stream) = child.stderr.take() {
            copy(stream, stderr, ended);
        }
        drained
    }
}

fn copy(mut from: impl Read + Send + 'static, mut to: Sink, ended: Sender<()>) {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let mut open = true;
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            // Read on when the output is not taken any more: the hook must not block on it.
            open = open && to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_ok();
        }
        // Whoever waits may have gone.
        let _ = ended.send(());
    });
}

fn await_exit(pid: Pid, inbox: &Receiver<Event>) -> io::Result<ExitStatus> {
    let gone = || io::Error::other("the thread that waits for it is gone");
    if let Event::Exited(status) = inbox.recv().map_err(|_| gone())? {
        return status;
    }
    for (signal, grace_period) in CANCEL {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
        let until = Instant::now() + grace_period;
        loop {
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Exited(status)) => return status,
                Ok(Event::Cancelled) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
    let _ = kill_process(pid, Signal::KILL);
    loop {
        if let Event::Exited(status) = inbox.recv().map_err(|_| gone())? {
            return status;
        }
    }
}

/// True once both streams have ended within the time that the runner gives them.
fn await_drain(ended: &Receiver<()>) -> bool {
    let until = Instant::now() + DRAIN;
    (0..2).all(|_| ended.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shell(script: &str) -> Process {
        Process {
            command: CommandLine {
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into()],
            },
            environment: [("PATH".into(), "/usr/bin:/bin".into())].into_iter().collect(),
            directory: "/".into(),
            input: "one line\n".into(),
        }
    }

    #[test]
    fn streams_stay_apart_and_the_exit_code_is_the_hooks() {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let process = shell("cat; echo error >&2; exit 7");
        let (_cancel, cancelled) = mpsc::channel();
        let exit =
            process.run(Box::new(stdout.clone()), Box::new(stderr.clone()), cancelled).unwrap();
        assert_eq!(exit, Exit { code: 7, drained: true });
        assert_eq!(stdout.text(), "one line\n");
        assert_eq!(stderr.text(), "error\n");
    }

    /// Cancels, twice, the writer to it.
    struct Cancels(Sender<()>);

    impl Write for Cancels {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(()).and_then(|()| self.0.send(())).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cancelled_hook_is_interrupted_first() {
        let (cancel, cancelled) = mpsc::channel();
        let mut process = shell("trap 'exit 3' INT; echo ready; while :; do read -r x || :; done");
        // Whoever starts the tests in the background ignores INT, and a shell keeps it so.
        process.command.program = "/usr/bin/env".into();
        let shell = ["--default-signal=INT", "/bin/sh"].map(Into::into);
        process.command.arguments.splice(0..0, shell);
        let sinks = (Box::new(Cancels(cancel)), Box::new(io::sink()));
        let exit = process.run(sinks.0, sinks.1, cancelled).unwrap();
        assert_eq!(exit.code, 3);
    }

    #[test]
    fn the_signal_that_ended_a_hook_is_in_its_code() {
        let (_cancel, cancelled) = mpsc::channel();
        let sinks = || Box::new(io::sink());
        let exit = shell("kill -KILL $$").run(sinks(), sinks(), cancelled).unwrap();
        assert_eq!(exit.code, 137);
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_it() {
        let mut process = shell("true");
        process.directory = "/nonexistent".into();
        let (_cancel, cancelled) = mpsc::channel();
        let error = process.run(Box::new(io::sink()), Box::new(io::sink()), cancelled).unwrap_err();
        assert_eq!(error.to_string(), "cannot start /bin/sh in /nonexistent");
    }
}
