//! The calls of a job's hook, one at a time.
//!
//! A [`Driver`] makes each call and leaves the start of the hook to its user, who may break things
//! while it runs. Once it has ended, [`Driver::take`] keeps what the runner keeps for later calls:
//! the hook's state, `GITHUB_ENV` and `GITHUB_PATH`. [`Runner::run_job`] takes a workflow's job
//! through the same calls.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::containers::Container;
use crate::context::StepName;
use crate::input::translation::Translation;
use crate::input::{HookInput, JobArgs, Script};
use crate::layout::{FileCommand, StepFiles};
use crate::outcome::Outcome;
use crate::runner::{PrepareError, Prepared, Runner, Step};
use crate::variables::Variables;

/// A job under way: what the runner keeps between its calls.
#[derive(Clone, Debug)]
pub struct Driver {
    runner: Runner,
    /// What the hook last answered.
    state: Value,
    /// `env:` of the job, and what steps wrote to `GITHUB_ENV`.
    env: Variables,
}

/// A program in the job container, with a small environment instead of the whole of a workflow's.
#[derive(Clone, Debug)]
pub struct Program {
    /// As the runner sends it.
    pub entry_point: String,
    /// As the runner splits it.
    pub arguments: Vec<String>,
    /// In the container; nothing: the workspace.
    pub directory: Option<String>,
    /// `env:` of the step, which comes last: it may replace variables of the runner.
    pub environment: Vec<(String, String)>,
}

impl Program {
    /// A program with a line of arguments, split at single spaces.
    pub fn new(program: &str, line: &str) -> Self {
        Self {
            entry_point: program.to_owned(),
            arguments: line.split(' ').map(str::to_owned).collect(),
            directory: None,
            environment: Vec::new(),
        }
    }

    /// A script of the shell `sh` or `bash`, which lies in `file` of the container.
    pub fn script(shell: &str, file: &str) -> Self {
        match shell {
            "bash" => Self::new(shell, &format!("--noprofile --norc -e -o pipefail {file}")),
            _ => Self::new(shell, &format!("-e {file}")),
        }
    }

    /// In another directory of the container.
    pub fn within(mut self, directory: &str) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// With a variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Driver {
    /// A job that has not called its hook yet; `env` is `env:` of the job.
    pub fn begin(runner: Runner, env: Variables) -> Self {
        Self { runner, state: Value::Null, env }
    }

    /// The runner, with the entries of `GITHUB_PATH`.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// `env:` of the job, and what steps wrote to `GITHUB_ENV`.
    pub fn env(&self) -> &Variables {
        &self.env
    }

    /// The call prepare_job.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] if the runner would not start the hook.
    pub fn prepare(
        &self,
        container: Option<Container>,
        services: Vec<Container>,
    ) -> Result<Prepared, PrepareError> {
        self.prepare_with(JobArgs::Runner { container: container.map(Box::new), services })
    }

    /// The call prepare_job with containers as they are in the input: JSON that the runner itself need
    /// not write.
    ///
    /// # Errors
    ///
    /// As [`Driver::prepare`].
    pub fn prepare_json(
        &self,
        container: &Value,
        services: &Value,
    ) -> Result<Prepared, PrepareError> {
        let (container, services) = (container.clone(), services.clone());
        self.prepare_with(JobArgs::Json { container, services })
    }

    fn prepare_with(&self, args: JobArgs) -> Result<Prepared, PrepareError> {
        self.runner.prepare_call(None, |files| {
            HookInput::prepare_job(files.response.clone(), args, self.state.clone())
        })
    }

    /// The call run_script_step, whose script may name the step's files.
    ///
    /// # Errors
    ///
    /// As [`Driver::prepare`].
    pub fn run(
        &self,
        name: Option<&StepName>,
        script: impl FnOnce(&StepFiles) -> Script,
    ) -> Result<Prepared, PrepareError> {
        self.runner.prepare_call(name, |files| {
            let script = script(files);
            HookInput::run_script_step(files.response.clone(), script, self.state.clone())
        })
    }

    /// The call run_script_step for a program. The step has no name.
    ///
    /// # Errors
    ///
    /// As [`Driver::prepare`].
    pub fn run_program(&self, program: &Program) -> Result<Prepared, PrepareError> {
        let (job, work) = (&self.runner.job, self.runner.layout().work());
        let paths = Translation::of_job(work, &job.externals);
        let workspace = paths.to_container(&work.workspace(&job.repository));
        self.run(None, |files| {
            let mut environment = BTreeMap::from([
                ("GITHUB_WORKSPACE".to_owned(), workspace.clone()),
                ("RUNNER_TEMP".to_owned(), paths.to_container(&work.temp())),
            ]);
            for command in FileCommand::ALL {
                let file = paths.to_container(&files.command_file(command));
                environment.insert(command.variable().to_owned(), file);
            }
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            environment.extend(self.env.iter().map(owned));
            environment.extend(program.environment.iter().cloned());
            Script {
                entry_point_args: program.arguments.clone(),
                entry_point: program.entry_point.clone(),
                environment_variables: environment.into_iter().collect(),
                prepend_path: self.runner.added_path.clone(),
                working_directory: program.directory.clone().unwrap_or(workspace),
            }
        })
    }

    /// The call run_container_step; the step's state is the job's.
    ///
    /// # Errors
    ///
    /// [`PrepareError`] if the runner would fail the step before it starts the hook, and for what
    /// this crate does not evaluate.
    pub fn uses(&self, step: Step) -> Result<Prepared, PrepareError> {
        self.runner.prepare_container_step(&Step { state: self.state.clone(), ..step })
    }

    /// The call cleanup_job.
    ///
    /// # Errors
    ///
    /// As [`Driver::prepare`].
    pub fn finish(&self) -> Result<Prepared, PrepareError> {
        self.runner.prepare_cleanup(self.state.clone())
    }

    /// Keeps what a call left, whatever its exit code, for later calls.
    pub fn take(&mut self, outcome: &Outcome) {
        if let Some(state) = outcome.response.as_ref().and_then(|answer| answer.get("state"))
            && state.is_object()
        {
            self.state = state.clone();
        }
        for (name, value) in outcome.env.iter() {
            self.env.set(name, value);
        }
        for entry in &outcome.path {
            self.runner.added_path.retain(|known| known != entry);
            self.runner.added_path.insert(0, entry.clone());
        }
    }
}

#[cfg(test)]
mod tests;
