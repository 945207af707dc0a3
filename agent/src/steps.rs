//! All steps of the job container.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hookd_api::stepd::v1::{StartStepRequest, StepEnd, StepStatus};
use tokio::sync::{Notify, watch};

use crate::looks::off_thread;
use crate::program::{self, ProgramError};
use crate::pump::{self, Sources};
use crate::step::Step;
use crate::supervise::Program;
use crate::{built_image, descendants, environment, log};

/// Steps that may be known at a time: hookd forgets each once its caller has its end.
const MOST_STEPS: usize = 256;
/// How long what a killed supervisor left is looked for.
const STRAYS: Duration = Duration::from_secs(30);
const STRAYS_PAUSE: Duration = Duration::from_millis(50);

/// What steps share.
#[derive(Debug)]
pub(crate) struct Settings {
    /// stepd's directory, for messages.
    pub(crate) dir: PathBuf,
    /// Directory of the spools.
    pub(crate) spool: Arc<OwnedFd>,
    /// Bytes of a step's output that may wait for an acknowledgement.
    pub(crate) limit: u64,
    /// Open files that a program may have, if stepd itself may have more.
    pub(crate) open_files: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Steps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// Of the job container.
    environment: Mutex<HashMap<String, String>>,
    /// None: forgotten, and so never started again.
    known: Mutex<HashMap<String, Option<Arc<Step>>>>,
    /// Forgotten by their caller; some of their processes may live on.
    forgotten: Mutex<Vec<Arc<Step>>>,
    /// What the first client has called us.
    identity: OnceLock<String>,
    stopping: AtomicBool,
    /// A client has called Stop, and the last process is gone.
    stopped: Notify,
    /// Exit code of the container's main program, once it has ended.
    main: watch::Sender<Option<u8>>,
}

/// Why a step is not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Its program may have run.
    #[error("step {0:?} was started, or cancelled, and forgotten; it is not started again")]
    Forgotten(String),
    /// No process would end it.
    #[error("stepd is stopping")]
    Stopping,
    /// Its caller does not forget what has ended.
    #[error("{MOST_STEPS} steps are known already")]
    TooMany,
}

impl Steps {
    /// None yet.
    pub(crate) fn new(settings: Settings) -> Self {
        let environment = Mutex::default();
        let (known, forgotten) = (Mutex::default(), Mutex::default());
        let stopping = AtomicBool::new(false);
        let (stopped, main) = (Notify::new(), watch::Sender::default());
        let identity = OnceLock::new();
        let shared =
            Shared { settings, environment, known, forgotten, identity, stopping, stopped, main };
        Self(Arc::new(shared))
    }

    /// Ends all steps and lets stepd end, as a client asks.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.end_all(grace).await;
        self.0.stopped.notify_one();
    }

    /// Waits until a client has called Stop.
    pub(crate) async fn stopped(&self) {
        self.0.stopped.notified().await;
    }

    /// Waits until the container's main program has ended; its exit code.
    pub(crate) async fn main_ended(&self) -> u8 {
        let mut main = self.0.main.subscribe();
        let ended = main.wait_for(Option::is_some).await.ok().and_then(|code| *code);
        match ended {
            Some(code) => code,
            None => std::future::pending().await,
        }
    }

    /// Takes the identity unless it is empty or there is one; the one there is.
    pub(crate) fn identify(&self, identity: String) -> String {
        if identity.is_empty() {
            return self.0.identity.get().cloned().unwrap_or_default();
        }
        self.0.identity.get_or_init(|| identity).clone()
    }

    /// Sets the environment of steps to come.
    pub(crate) fn configure(&self, environment: HashMap<String, String>) {
        *lock(&self.0.environment) = environment;
    }

    /// Starts the step, unless it was before; true if it was started now.
    pub(crate) fn start(&self, request: StartStepRequest) -> Result<bool, Refused> {
        let mut known = lock(&self.0.known);
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err(Refused::Stopping);
        }
        match known.get(&request.step_id) {
            Some(Some(_)) => return Ok(false),
            Some(None) => return Err(Refused::Forgotten(request.step_id)),
            None => {}
        }
        if known.values().flatten().count() >= MOST_STEPS {
            return Err(Refused::TooMany);
        }
        let (id, is_main) = (request.step_id.clone(), request.is_main);
        let output = if is_main { Output::Log } else { Output::Spool };
        let step = match self.program(request) {
            Ok(program) => self.spawn(&id, &program, output),
            Err(error) => self.failed_to_start(&id, pump::not_started(&error)),
        };
        if is_main {
            self.end_with(&step);
        }
        known.insert(id, Some(step));
        Ok(true)
    }

    /// The step of this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Step>> {
        lock(&self.0.known).get(id).cloned().flatten()
    }

    /// Drops what is kept of a step. A call to start it may still be under way: it comes too late.
    pub(crate) fn forget(&self, id: &str) {
        let known = lock(&self.0.known).insert(id.to_owned(), None);
        let Some(step) = known.flatten() else { return };
        let mut forgotten = lock(&self.0.forgotten);
        forgotten.retain(|step| !step.watch().borrow().gone);
        step.drop_output();
        if !step.watch().borrow().gone {
            forgotten.push(step);
        }
    }

    /// A child of ours has ended; `well`: with code 0, as a supervisor does after the last process
    /// of its step. What one leaves that was killed is ours now: it is ended, since it belongs to a
    /// step that can no longer be cancelled.
    pub(crate) fn supervisor_ended(&self, pid: i32, well: bool) {
        let Some(step) = self.all().into_iter().find(|step| step.supervisor() == Some(pid)) else {
            return;
        };
        if well {
            return step.supervisor_ended();
        }
        step.orphaned();
        let steps = self.clone();
        tokio::spawn(async move {
            steps.end_strays(&step.id).await;
            step.supervisor_ended();
        });
    }

    /// Ends every child of ours that supervises no step, and all beneath it.
    async fn end_strays(&self, id: &str) {
        let deadline = Instant::now() + STRAYS;
        while Instant::now() < deadline {
            let steps = self.clone();
            let found = off_thread(move || {
                // Asked for late, since a supervisor may be started meanwhile.
                let spared = |pid| steps.all().iter().any(|step| step.supervisor() == Some(pid));
                let me = i32::try_from(std::process::id()).unwrap_or(1);
                descendants::kill(&[me], spared)
            });
            if found.await != Some(true) {
                return;
            }
            tokio::time::sleep(STRAYS_PAUSE).await;
        }
        log(format_args!("step {id}: some processes that it left cannot be killed"));
    }

    /// Ends every process of every step, and starts no more.
    pub(crate) async fn end_all(&self, grace: Duration) {
        let known = lock(&self.0.known);
        self.0.stopping.store(true, Ordering::Relaxed);
        drop(known);
        let all = self.all();
        all.iter().for_each(|step| step.stop());
        futures::future::join_all(all.iter().map(|step| step.cancel(grace))).await;
    }

    /// All that are known.
    pub(crate) fn status(&self) -> Vec<StepStatus> {
        let mut status: Vec<_> = self.known().iter().map(|step| step.status()).collect();
        status.sort_by(|one, other| one.step_id.cmp(&other.step_id));
        status
    }

    fn all(&self) -> Vec<Arc<Step>> {
        self.known().into_iter().chain(lock(&self.0.forgotten).iter().cloned()).collect()
    }

    fn known(&self) -> Vec<Arc<Step>> {
        lock(&self.0.known).values().flatten().cloned().collect()
    }

    /// Looks up all that the step's supervisor needs.
    fn program(&self, request: StartStepRequest) -> Result<Program, ProgramError> {
        let StartStepRequest { argv, environment, working_directory, prepend_path, .. } = request;
        let directory = match working_directory.as_str() {
            "" => std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            directory => PathBuf::from(directory),
        };
        let built = request.built_image.map(|image| built_image::prepare(image, &directory));
        let (identity, image, delete) = match built.transpose()? {
            Some(launch) => (Some(launch.identity), launch.environment, launch.builder_directories),
            None => (None, environment::own(), Vec::new()),
        };
        let environment =
            environment::of_step(image, &lock(&self.0.environment), environment, &prepend_path);
        let name = argv.first().map(String::as_str).unwrap_or_default();
        program::check(&argv, &environment)?;
        let file = program::find(name, environment::path(&environment), &directory)?;
        Ok(Program {
            file: file.display().to_string(),
            argv,
            environment: environment.into_iter().collect(),
            directory: directory.display().to_string(),
            open_files: self.0.settings.open_files,
            identity,
            delete,
        })
    }

    /// The container ends with this step.
    fn end_with(&self, step: &Step) {
        let (mut state, shared) = (step.watch(), self.0.clone());
        tokio::spawn(async move {
            let Ok(ended) = state.wait_for(|state| state.end.is_some()).await else { return };
            let end = ended.end.clone().unwrap_or_default();
            if !end.error.is_empty() {
                log(format_args!("the program cannot be started: {}", end.error));
            }
            shared.main.send_replace(Some(u8::try_from(end.exit_code).unwrap_or(1)));
        });
    }

    fn spawn(&self, id: &str, program: &Program, output: Output) -> Arc<Step> {
        let (pid, sources) = match start_supervisor(program, output) {
            Ok(started) => started,
            Err(error) => {
                let error = ProgramError::refused(&program.file, &error);
                return self.failed_to_start(id, pump::not_started(&error));
            }
        };
        let Settings { spool, limit, dir, .. } = &self.0.settings;
        let step = Arc::new(Step::new(id.to_owned(), pid, spool, *limit));
        let (pumped, dir) = (step.clone(), dir.clone());
        tokio::spawn(async move {
            if let Err(error) = pump::run(&pumped, sources).await {
                give_up(&pumped, &dir, &error).await;
            }
        });
        step
    }

    fn failed_to_start(&self, id: &str, end: StepEnd) -> Arc<Step> {
        Arc::new(Step::failed_to_start(id.to_owned(), &self.0.settings.spool, end))
    }
}

/// A step whose output cannot be kept must not go on, and must not look as if all were well.
async fn give_up(step: &Step, dir: &Path, error: &io::Error) {
    log(format_args!("step {}: its output cannot be kept: {error}", step.id));
    step.cancel(Duration::ZERO).await;
    let error = format!(
        "its output cannot be kept in {}, on the node's disk or in a volume of the runner pod: \
         {error}; it was ended, and output is missing. Give that volume or the node more room, or \
         let the job write less there",
        dir.display()
    );
    step.ended(StepEnd { exit_code: 1, error, ..StepEnd::default() });
}

/// Where a program's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Into the spool, for a client.
    Spool,
    /// Into the log that the container runtime keeps of the container.
    Log,
}

/// Starts the supervisor of a program, which gets later what to run: neither arguments nor
/// environment stand on its command line.
fn start_supervisor(program: &Program, output: Output) -> io::Result<(i32, Sources)> {
    let (ours, theirs) = UnixStream::pair()?;
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    // In the other case both pipes are at their end at once.
    let to = |pipe: io::PipeWriter| match output {
        Output::Spool => Stdio::from(pipe),
        Output::Log => Stdio::inherit(),
    };
    let child = Command::new("/proc/self/exe")
        .arg("supervise")
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(to(stdout_writer))
        .stderr(to(stderr_writer))
        .spawn()?;
    ours.set_nonblocking(true)?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let name = program.argv.first().cloned().unwrap_or_default();
    let pipes = [stdout.into(), stderr.into()];
    Ok((pid, Sources { pipes, supervisor: ours, message: program.to_message(), program: name }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
