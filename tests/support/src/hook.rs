//! A hook in the runner container, started as the runner starts it.
//!
//! Nothing of it goes through the API server once it has started: its standard streams are files in
//! the work directory, and its process is one of this machine.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fake_runner::Prepared;
use fake_runner::environment::Environment;
use fake_runner::layout::FileCommand;
use rustix::process::Signal;
use serde_json::Value;

use crate::outcome::Outcome;
use crate::processes::{self, Process};
use crate::runner::RunnerPod;
use crate::wait::{eventually, s, until};
use crate::work::{WORK, WORKSPACE};

/// Folder of the work directory with a folder for each hook.
pub(crate) const STREAMS: &str = ".hooks";
/// No hook of these tests takes longer.
const TIMEOUT: Duration = s(120);

/// Runs hook.sh with its streams on files and takes its time, in microseconds; the exit code's file
/// appears when all are complete.
const WRAPPER: &str = "\
cd \"${0%/*}\" || exit
sleep \"$1\"
began=${EPOCHREALTIME/[.,]/}
if [ \"$2\" = piped ]; then
  ( . ./start ) <in 2>err | cat >out
  code=${PIPESTATUS[0]}
else
  ( . ./start ) <in >out 2>err
  code=$?
fi
echo $((${EPOCHREALTIME/[.,]/} - began)) >time
echo $code >code.new
mv code.new code
";

/// A call of the hook that is ready to be made.
#[derive(Debug)]
pub struct Call<'a> {
    runner: &'a RunnerPod,
    prepared: Prepared,
    input: Vec<u8>,
    environment: Environment,
    interpreter: &'static str,
    /// Time before it starts.
    delay: Duration,
    /// "piped": its standard output is a pipe, with a reader that can be stopped.
    piped: &'static str,
}

/// A hook that runs.
#[derive(Debug)]
pub struct Hook<'a> {
    runner: &'a RunnerPod,
    prepared: Prepared,
    folder: PathBuf,
    tracking: OsString,
    started: Instant,
}

impl<'a> Call<'a> {
    /// A call as the fake runner has prepared it, in the pod `runner`.
    pub fn new(runner: &'a RunnerPod, prepared: Prepared) -> Self {
        let input = prepared.process.input.clone().into_bytes();
        let environment = prepared.process.environment.clone();
        Self {
            runner,
            prepared,
            input,
            environment,
            interpreter: "bash -e /run/hookd/hook.sh",
            delay: Duration::ZERO,
            piped: "",
        }
    }

    /// Starts hook.js instead of hook.sh, as the runner does with a hook of that kind.
    pub fn by_node(mut self) -> Self {
        self.interpreter = "/home/runner/externals/node20/bin/node /run/hookd/hook.js";
        self
    }

    /// Lets what starts it end first: kubectl and the API server take much of a small machine's time.
    pub fn quietly(self) -> Self {
        self.after(Duration::from_millis(500))
    }

    /// Lets this time pass before it starts, so that it starts without the API server.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Lets its standard output be a pipe, as it is for the runner: [`Hook::reader`] reads it.
    pub fn piped(mut self) -> Self {
        self.piped = "piped";
        self
    }

    /// Gives it other input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Changes its input.
    pub fn edit(self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut input = serde_json::from_slice(&self.input).unwrap();
        edit(&mut input);
        self.input(format!("{input}\n"))
    }

    /// The step's file of a file command, as the runner calls it.
    pub fn command_file(&self, command: FileCommand) -> String {
        self.prepared.files.command_file(command)
    }

    /// Sets a variable of its environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Starts it.
    pub fn start(self) -> Hook<'a> {
        let Self { runner, prepared, input, environment, interpreter, delay, piped } = self;
        let folder = format!("{WORK}/{STREAMS}/{}", runner.next());
        let delay = delay.as_secs_f64();
        runner.write(&format!("{folder}/in"), input);
        runner.write(&format!("{folder}/start"), start_script(&environment, interpreter));
        runner.write(&format!("{folder}/wrapper"), WRAPPER);
        let tracking = environment["RUNNER_TRACKING_ID".as_ref() as &std::ffi::OsStr].clone();
        let started = Instant::now();
        let script = format!(
            "setsid -f /bin/bash {folder}/wrapper {delay} {piped} </dev/null >/dev/null 2>&1"
        );
        runner.k(&["exec", &runner.name, "-c", "runner", "--", "/bin/bash", "-c", &script]);
        Hook { folder: runner.local(&folder), runner, prepared, tracking, started }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().end()
    }
}

/// What the runner does, in shell: directory, environment, interpreter.
fn start_script(environment: &Environment, interpreter: &str) -> String {
    let quoted = |text: &OsString| format!("'{}'", text.to_str().unwrap().replace('\'', r"'\''"));
    let mut script = format!("cd {WORKSPACE} || exit 99\nexec /usr/bin/env -i");
    for (name, value) in environment {
        script = format!("{script} {}={}", name.to_str().unwrap(), quoted(value));
    }
    format!("{script} {interpreter}\n")
}

impl Hook<'_> {
    /// What is on its standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        fs::read(self.folder.join("out")).unwrap_or_default()
    }

    /// All that it has printed so far, standard output first.
    fn printed(&self) -> String {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        format!("{}\n{}", text(self.stdout()), text(self.stderr()))
    }

    /// What is on its standard error so far.
    pub fn stderr(&self) -> Vec<u8> {
        fs::read(self.folder.join("err")).unwrap_or_default()
    }

    /// Waits until its standard output or its standard error has `text`.
    pub fn wait_for(&self, text: &str) {
        let found = self.prints(text);
        let printed = self.printed();
        assert!(found, "the hook did not print {text:?}, but:\n{printed}");
    }

    /// As [`Self::wait_for`]; false if it ends, or prints nothing for long, without the text.
    pub fn prints(&self, text: &str) -> bool {
        let found = eventually(TIMEOUT, || {
            let printed = self.printed().contains(text);
            (printed || self.code().is_some()).then_some(printed)
        });
        found == Some(true)
    }

    /// Its process; it must not have ended.
    pub fn process(&self) -> Process {
        self.try_process().expect("the hook's process is there")
    }

    /// Its process, if it has one.
    pub fn try_process(&self) -> Option<Process> {
        let is_this = |process: &Process| {
            let tracking = format!("RUNNER_TRACKING_ID={}", self.tracking.display());
            process.read("environ").split('\0').any(|entry| entry == tracking)
        };
        processes::all().into_iter().find(is_this)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.process().signal(signal), "the hook has ended already");
    }

    /// Who reads its standard output, of a call that is piped.
    pub fn reader(&self) -> Option<Process> {
        let folder = self.folder.file_name().unwrap();
        let is_this = |process: &Process| {
            process.command == "cat"
                && fs::read_link(process.path("cwd"))
                    .is_ok_and(|cwd| cwd.file_name() == Some(folder))
                && process.is_of_pod(&self.runner.uid)
        };
        processes::all().into_iter().find(is_this)
    }

    /// Lets what it prints be read no more, of a call that is piped.
    pub fn stop_reader(&self) -> Process {
        let reader = until("its output is read", s(10), || self.reader());
        assert!(reader.signal(Signal::STOP));
        until("the reader has stopped", s(5), || reader.is_stopped().then_some(()));
        reader
    }

    /// Its exit code, once it has ended.
    pub fn code(&self) -> Option<i32> {
        fs::read_to_string(self.folder.join("code")).ok()?.trim().parse().ok()
    }

    fn hook_time(&self) -> Duration {
        let text = fs::read_to_string(self.folder.join("time")).unwrap();
        Duration::from_micros(text.trim().parse().unwrap())
    }

    /// Waits for its end.
    pub fn end(self) -> Outcome {
        self.end_within(TIMEOUT)
    }

    /// Waits for its end, which must come in time.
    pub fn end_within(self, timeout: Duration) -> Outcome {
        let code = eventually(timeout, || self.code());
        let time = self.started.elapsed();
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let code = code.unwrap_or_else(|| {
            panic!(
                "the hook did not end within {} s; it printed:\n{}",
                timeout.as_secs(),
                self.printed()
            )
        });
        let read_back = self.prepared.read_back(code).unwrap();
        let hook_time = self.hook_time();
        Outcome { code, stdout, stderr, time, hook_time, read_back }
    }

    /// The runner that it belongs to.
    pub fn runner(&self) -> &RunnerPod {
        self.runner
    }
}
