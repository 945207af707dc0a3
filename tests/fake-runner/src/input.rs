//! The hook's input, serialised as the runner serialises it: compact, camel case, nulls written
//! out, properties in the runner's order.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::Stage;
use crate::action::{Action, Image};
use crate::containers::{Container, Mount};
use crate::context::{self, Job};
use crate::inputs::{DefaultError, Inputs};
use crate::layout::{StepFiles, WorkDir};
use crate::template::{self, TemplateError};
use crate::uses::Uses;
use crate::variables::Variables;
use crate::{arguments, input::translation::Translation};

pub(crate) mod translation;

/// Why a step's input cannot be written.
#[derive(Debug, Error)]
pub enum InputError {
    /// An input's default.
    #[error(transparent)]
    Default(#[from] DefaultError),
    /// `runs.args`.
    #[error("argument {index} of the action cannot be evaluated")]
    Argument {
        /// From 1.
        index: usize,
        /// Why.
        #[source]
        source: TemplateError,
    },
    /// `runs.env`.
    #[error("runs.env.{name} of the action cannot be evaluated")]
    Environment {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: TemplateError,
    },
    /// `pre-entrypoint` or `post-entrypoint` is missing.
    #[error("the action defines nothing to run before or after the job ({0:?})")]
    NoEntryPoint(Stage),
    /// An action with a Dockerfile lies in a folder; an image does not.
    #[error("'{0}' has no folder that a Dockerfile could lie in")]
    NoFolder(Uses),
}

/// One call of a hook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookInput {
    command: &'static str,
    response_file: String,
    args: Args,
    state: Value,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Args {
    Job(JobArgs),
    Script(Box<Script>),
    Container(Box<Container>),
    None {},
}

/// `args` of prepare_job.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum JobArgs {
    /// As the runner describes containers.
    Runner {
        /// The job container.
        container: Option<Box<Container>>,
        /// The services.
        services: Vec<Container>,
    },
    /// As a test has them.
    Json {
        /// The job container, or null.
        container: Value,
        /// A list of services.
        services: Value,
    },
}

/// `args` of run_script_step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// Cut at single spaces, empty pieces kept.
    pub entry_point_args: Vec<String>,
    /// The program.
    pub entry_point: String,
    /// In the runner's order.
    pub environment_variables: Variables,
    /// The newest first.
    pub prepend_path: Vec<String>,
    /// In the container.
    pub working_directory: String,
}

/// All that a container step's input depends on.
#[derive(Debug)]
pub struct ContainerStep<'a> {
    /// The job.
    pub job: &'a Job,
    /// The runner's work directory.
    pub work: &'a WorkDir,
    /// What the step uses.
    pub uses: &'a Uses,
    /// The folder of the action, as the runner calls it.
    pub folder: Option<&'a str>,
    /// The action's definition.
    pub action: &'a Action,
    /// Which of its entrypoints.
    pub stage: Stage,
    /// The inputs.
    pub inputs: &'a Inputs,
    /// The env context: `env:` of workflow, job and step, and what `GITHUB_ENV` added.
    pub env: &'a Variables,
    /// What the action saved through `GITHUB_STATE` before.
    pub saved: &'a Variables,
    /// The step's files.
    pub files: &'a StepFiles,
}

impl HookInput {
    /// The input of run_container_step. `state` is what the hook last answered.
    ///
    /// # Errors
    ///
    /// [`InputError`] if the action asks for what this crate does not evaluate.
    pub fn run_container_step(step: &ContainerStep<'_>, state: Value) -> Result<Self, InputError> {
        Ok(Self {
            command: "run_container_step",
            response_file: step.files.response.clone(),
            args: Args::Container(Box::new(step.container()?)),
            state,
        })
    }

    /// The input of prepare_job. `state` is null in a job's first call.
    pub fn prepare_job(response_file: impl Into<String>, args: JobArgs, state: Value) -> Self {
        let response_file = response_file.into();
        Self { command: "prepare_job", response_file, args: Args::Job(args), state }
    }

    /// The input of run_script_step. `state` is what the hook last answered.
    pub fn run_script_step(response_file: impl Into<String>, script: Script, state: Value) -> Self {
        let response_file = response_file.into();
        Self {
            command: "run_script_step",
            response_file,
            args: Args::Script(Box::new(script)),
            state,
        }
    }

    /// The input of cleanup_job.
    pub fn cleanup_job(response_file: impl Into<String>, state: Value) -> Self {
        let response_file = response_file.into();
        Self { command: "cleanup_job", response_file, args: Args::None {}, state }
    }

    /// The line that the hook reads.
    ///
    /// # Errors
    ///
    /// Those of the serialiser; none is known to occur.
    pub fn to_line(&self) -> serde_json::Result<String> {
        let mut line = serde_json::to_string(self)?;
        // The runner's serialiser escapes these three beyond what JSON asks for.
        for (character, escape) in
            [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        {
            line = line.replace(character, escape);
        }
        line.push('\n');
        Ok(line)
    }
}

impl ContainerStep<'_> {
    /// The absolute path of the action's Dockerfile, not normalised; nothing if it has an image.
    ///
    /// # Errors
    ///
    /// [`InputError::NoFolder`] if the action has a Dockerfile and no folder.
    pub fn dockerfile(&self) -> Result<Option<String>, InputError> {
        match &self.action.image {
            Image::Reference(_) => Ok(None),
            Image::Dockerfile(file) => match self.folder {
                Some(folder) => Ok(Some(format!("{folder}/{file}"))),
                None => Err(InputError::NoFolder(self.uses.clone())),
            },
        }
    }

    fn container(&self) -> Result<Container, InputError> {
        let image = match &self.action.image {
            Image::Reference(image) => Some(image.clone()),
            Image::Dockerfile(_) => None,
        };
        Ok(Container {
            image,
            dockerfile: self.dockerfile()?,
            entry_point_args: self.arguments()?,
            entry_point: self.entry_point()?,
            working_directory: Some("/github/workspace".to_owned()),
            create_options: None,
            registry: None,
            environment_variables: self.environment()?,
            port_mappings: Vec::new(),
            system_mount_volumes: self.mounts(),
            user_mount_volumes: Vec::new(),
        })
    }

    fn entry_point(&self) -> Result<Option<String>, InputError> {
        let own = self.action.entry_point(self.stage);
        match self.stage {
            Stage::Main => Ok(own.or(self.inputs.get("entrypoint")).map(str::to_owned)),
            stage => own
                .map(|entry_point| Some(entry_point.to_owned()))
                .ok_or(InputError::NoEntryPoint(stage)),
        }
    }

    fn arguments(&self) -> Result<Vec<String>, InputError> {
        let Some(list) = &self.action.arguments else {
            return Ok(arguments::split(self.inputs.get("args").unwrap_or_default()));
        };
        let evaluated: Result<Vec<String>, InputError> = list
            .iter()
            .zip(1..)
            .map(|(text, index)| {
                template::evaluate(text, |name| self.inputs.get(name))
                    .map_err(|source| InputError::Argument { index, source })
            })
            .collect();
        Ok(arguments::from_list(&evaluated?))
    }

    fn environment(&self) -> Result<Variables, InputError> {
        let mut variables = self.env.clone();
        for (name, value) in self.saved.iter() {
            variables.set(format!("STATE_{name}"), value);
        }
        for (name, value) in self.inputs.variables() {
            variables.set(name, value);
        }
        for (name, text) in &self.action.environment {
            let value = template::evaluate(text, |name| self.inputs.get(name))
                .map_err(|source| InputError::Environment { name: name.clone(), source })?;
            variables.set_default(name, value);
        }
        variables.set("HOME", self.work.path("_temp/_github_home"));
        variables.extend(&context::github(self.job, self.work));
        variables.extend(&context::github_step(&self.uses.into(), self.files));
        variables.extend(&context::runner(self.job, self.work));
        variables.extend(&self.job.service);
        let translation = Translation::of_container_step(self.work, &self.job.repository);
        let mut result = self.job.proxy.clone();
        for (name, value) in variables.iter() {
            result.set(name, translation.to_container(value));
        }
        Ok(result)
    }

    fn mounts(&self) -> Vec<Mount> {
        let mount = |source: String, target: &str| Mount::of_runner(source, target, false);
        vec![
            mount("/var/run/docker.sock".to_owned(), "/var/run/docker.sock"),
            mount(self.work.temp(), "/github/runner_temp"),
            mount(self.work.path("_temp/_github_home"), "/github/home"),
            mount(self.work.path("_temp/_github_workflow"), "/github/workflow"),
            mount(self.work.path("_temp/_runner_file_commands"), "/github/file_commands"),
            mount(self.work.workspace(&self.job.repository), "/github/workspace"),
        ]
    }
}

#[cfg(test)]
mod tests;
