//! One step, from the action's folder to what the runner reads back.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;
use thiserror::Error;

use crate::Stage;
use crate::action::{Action, ActionError};
use crate::context::{Job, StepName};
use crate::environment::{self, HookError};
use crate::input::{ContainerStep, HookInput, InputError};
use crate::inputs::Inputs;
use crate::layout::{self, Layout, LayoutError, StepFiles, WorkDir};
use crate::outcome::{Outcome, OutcomeError};
use crate::process::Process;
use crate::uses::Uses;
use crate::variables::Variables;

/// Why a step cannot be put before a hook.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The runner's files.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The action's definition.
    #[error("'{uses}' is no action that can be run here")]
    Action {
        /// The action.
        uses: Uses,
        /// Why.
        #[source]
        source: ActionError,
    },
    /// The step's input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The runner itself looks whether the Dockerfile is there.
    #[error("the Dockerfile {0} of the action does not exist")]
    NoDockerfile(String),
    /// The hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The serialiser.
    #[error("cannot serialise the input")]
    Serialise(#[from] serde_json::Error),
}

/// A step that uses a container action.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it uses.
    pub uses: Uses,
    /// A folder to copy the action from; nothing: it is where it belongs already.
    pub source: Option<PathBuf>,
    /// Which of the action's entrypoints.
    pub stage: Stage,
    /// `with:`.
    pub with: Vec<(String, String)>,
    /// The env context.
    pub env: Variables,
    /// What the action saved through `GITHUB_STATE` before.
    pub saved: Variables,
    /// What the hook last answered as its state.
    pub state: Value,
}

impl Step {
    /// A step that uses `uses`, with nothing else set.
    pub fn new(uses: Uses) -> Self {
        Self {
            uses,
            source: None,
            stage: Stage::Main,
            with: Vec::new(),
            env: Variables::default(),
            saved: Variables::default(),
            state: Value::Null,
        }
    }
}

/// A runner with a job.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The job.
    pub job: Job,
    /// The hook: what `ACTIONS_RUNNER_CONTAINER_HOOKS` names.
    pub hook: PathBuf,
    /// The environment of the runner's worker.
    pub inherited: Vec<(OsString, OsString)>,
    /// Entries that steps wrote to `GITHUB_PATH`, newest first.
    pub added_path: Vec<String>,
    layout: Layout,
}

/// A call of the hook that is ready to be made, all its files in place.
#[derive(Debug)]
pub struct Prepared {
    /// The hook's process.
    pub process: Process,
    /// The files of the step.
    pub files: StepFiles,
    work: WorkDir,
}

impl Runner {
    /// A runner with work directory `work` that has `job` and calls `hook`; it passes on this
    /// process's environment.
    pub fn new(work: WorkDir, job: Job, hook: impl Into<PathBuf>) -> Self {
        let layout = Layout::new(work, job.repository.as_str());
        let inherited = std::env::vars_os().collect();
        Self { job, hook: hook.into(), inherited, added_path: Vec::new(), layout }
    }

    /// The files of the job.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Puts the action and the step's files in place and makes the call run_container_step.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] if the runner would fail the step before it starts the hook, and for what
    /// this crate does not evaluate.
    pub fn prepare_container_step(&self, step: &Step) -> Result<Prepared, PrepareError> {
        let work = self.layout.work();
        self.layout.make_folders()?;
        let folder = match &step.source {
            Some(source) => self.layout.place_action(&step.uses, source)?,
            None => self.layout.action_folder(&step.uses),
        };
        let action = self.action(&step.uses, folder.as_deref())?;
        let files = self.layout.make_step_files()?;
        let description = ContainerStep {
            job: &self.job,
            work,
            uses: &step.uses,
            folder: folder.as_deref(),
            action: &action,
            stage: step.stage,
            inputs: &Inputs::new(&step.with, &action).map_err(InputError::from)?,
            env: &step.env,
            saved: &step.saved,
            files: &files,
        };
        if let Some(dockerfile) = description.dockerfile()?
            && !work.local(&dockerfile).is_file()
        {
            return Err(PrepareError::NoDockerfile(dockerfile));
        }
        let input = HookInput::run_container_step(&description, step.state.clone())?;
        self.prepared(Some(&StepName::from(&step.uses)), files, &input)
    }

    /// Makes the call cleanup_job. `state` is what the hook last answered.
    ///
    /// # Errors
    ///
    /// [`PrepareError`], as for a step.
    pub fn prepare_cleanup(&self, state: Value) -> Result<Prepared, PrepareError> {
        self.layout.make_folders()?;
        let files = self.layout.make_step_files()?;
        let input = HookInput::cleanup_job(files.response.clone(), state);
        self.prepared(None, files, &input)
    }

    /// Makes a call of any kind, whose input may name the step's files.
    pub(crate) fn prepare_call(
        &self,
        name: Option<&StepName>,
        input: impl FnOnce(&StepFiles) -> HookInput,
    ) -> Result<Prepared, PrepareError> {
        self.layout.make_folders()?;
        let files = self.layout.make_step_files()?;
        let input = input(&files);
        self.prepared(name, files, &input)
    }

    fn action(&self, uses: &Uses, folder: Option<&str>) -> Result<Action, PrepareError> {
        match (uses, folder) {
            (Uses::Image { image }, _) => Ok(Action::from_image(image)),
            (_, folder) => Action::in_folder(&self.layout.work().local(folder.unwrap_or_default()))
                .map_err(|source| PrepareError::Action { uses: uses.clone(), source }),
        }
    }

    fn prepared(
        &self,
        name: Option<&StepName>,
        files: StepFiles,
        input: &HookInput,
    ) -> Result<Prepared, PrepareError> {
        let work = self.layout.work();
        let environment = environment::environment(
            self.inherited.iter().cloned(),
            &self.job,
            work,
            name.map(|name| (name, &files)),
            &layout::guid()?,
            &self.added_path,
        );
        let command = environment::command_line(&self.hook, &environment, &self.job.externals)?;
        let directory = work.local(&work.workspace(&self.job.repository));
        let process = Process { command, environment, directory, input: input.to_line()? };
        Ok(Prepared { process, files, work: work.clone() })
    }
}

impl Prepared {
    /// Writes the hook's input to a file beside the response, for a caller that starts the hook itself;
    /// returns where this process finds it.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it cannot be written.
    pub fn write_input(&self) -> Result<PathBuf, LayoutError> {
        let path = self.files.response.replace(".json", ".input");
        Layout::new(self.work.clone(), "").write(&path, &self.process.input)?;
        Ok(self.work.local(&path))
    }

    /// What the runner reads back once the hook has ended with `exit_code`.
    ///
    /// # Errors
    ///
    /// [`OutcomeError`] where the runner would fail the step.
    pub fn read_back(&self, exit_code: i32) -> Result<Outcome, OutcomeError> {
        Outcome::read(&self.work, &self.files, exit_code)
    }
}
