//! A whole job, as the runner takes a hook through it.
//!
//! prepare_job; what actions have to run before; the steps in order; what actions have to run after,
//! the last one first; cleanup_job. After each call the step's files are read back, also after a
//! failure, and what they say holds for later steps.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::containers::Container;
use crate::context::StepName;
use crate::driver::Driver;
use crate::expressions::{Scope, holds};
use crate::outcome::Outcome;
use crate::runner::{PrepareError, Prepared, Runner};
use crate::template::TemplateError;
use crate::uses::UsesError;
use crate::variables::Variables;
use crate::workflow::JobDefinition;

mod composite;
mod steps;

use steps::Pending;

/// How a call of the hook ended.
#[derive(Clone, Debug)]
pub struct HookEnd {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// What the runner reads back, with the exit code.
    pub outcome: Outcome,
}

/// Starts the hook for a call of this name and waits for its end.
pub type Invoke<'a> = dyn FnMut(&str, Prepared) -> HookEnd + 'a;

/// A job cannot be driven on.
#[derive(Debug, Error)]
pub enum JobError {
    /// A call cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// An expression.
    #[error(transparent)]
    Expression(#[from] TemplateError),
    /// `uses:`.
    #[error(transparent)]
    Uses(#[from] UsesError),
    /// A step that is no step, or one that this crate cannot run.
    #[error("the step {0}")]
    Step(String),
    /// The hook's answer would make the runner throw.
    #[error("the runner cannot take the hook's response: {0}")]
    Response(String),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It ended with 0, or may fail.
    Success,
    /// It failed.
    Failure,
    /// Its condition did not hold.
    Skipped,
}

/// One call of the hook within a job.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// "prepare_job", a step's id or name, "post" and its name, "cleanup_job".
    pub name: String,
    /// How it ended.
    pub end: HookEnd,
}

/// A job that was driven to its end.
#[derive(Clone, Debug, Default)]
pub struct JobReport {
    /// All calls in order.
    pub calls: Vec<CallReport>,
    /// What became of the job's steps, by id or name.
    pub conclusions: BTreeMap<String, Conclusion>,
    /// False if a step failed that may not.
    pub success: bool,
}

impl JobReport {
    /// The call of this name.
    pub fn call(&self, name: &str) -> Option<&CallReport> {
        self.calls.iter().find(|call| call.name == name)
    }

    /// Names of the calls, in order.
    pub fn names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.name.as_str()).collect()
    }
}

impl CallReport {
    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.end.stdout).into_owned()
    }

    /// Its standard error as text: the lines of the hook, and what the program writes there.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.end.stderr).into_owned()
    }

    /// Its exit code.
    pub fn code(&self) -> i32 {
        self.end.outcome.exit_code
    }
}

/// A job under way.
struct JobRun<'a, 'i> {
    driver: Driver,
    definition: &'a JobDefinition,
    invoke: &'a mut Invoke<'i>,
    is_alpine: bool,
    scope: Scope,
    post: Vec<Pending>,
    /// What actions saved, by the place of their step.
    saved: BTreeMap<String, Variables>,
    report: JobReport,
}

impl Runner {
    /// Drives `definition` from prepare_job to cleanup_job; `invoke` starts the hook.
    ///
    /// # Errors
    ///
    /// [`JobError`] for what the runner would not do, or this crate cannot.
    pub fn run_job(
        &self,
        definition: &JobDefinition,
        invoke: &mut Invoke<'_>,
    ) -> Result<JobReport, JobError> {
        let mut run = JobRun {
            driver: Driver::begin(self.clone(), Variables::from_iter(definition.env.clone())),
            definition,
            invoke,
            is_alpine: false,
            scope: Scope::default(),
            post: Vec::new(),
            saved: BTreeMap::new(),
            report: JobReport { success: true, ..JobReport::default() },
        };
        run.prepare()?;
        if run.report.success {
            run.before()?;
            run.steps()?;
            run.after()?;
        }
        run.clean_up()?;
        Ok(run.report)
    }
}

impl JobRun<'_, '_> {
    fn prepare(&mut self) -> Result<(), JobError> {
        let runner = self.driver.runner();
        let (work, job) = (runner.layout().work(), &runner.job);
        let container = self.definition.container.as_ref();
        let container = container.map(|container| Container::of_job(container, job, work));
        let services = self.definition.services.iter();
        let services = services.map(|(_, service)| Container::of_service(service, job)).collect();
        let prepared = self.driver.prepare(container, services)?;
        let outcome = self.call("prepare_job", "prepare_job", prepared);
        if outcome.exit_code != 0 {
            self.report.success = false;
            return Ok(());
        }
        let response = outcome.response.unwrap_or(Value::Null);
        self.take_context(&response)
    }

    /// As the runner's UpdateJobContext, with its exceptions as errors.
    fn take_context(&mut self, response: &Value) -> Result<(), JobError> {
        let wrong = |what: &str| Err(JobError::Response(what.to_owned()));
        if !response.is_object() {
            return wrong("it is no object");
        }
        match (&self.definition.container, &response["isAlpine"]) {
            (Some(_), Value::Bool(is_alpine)) => self.is_alpine = *is_alpine,
            (Some(_), _) => return wrong("isAlpine is missing"),
            (None, _) => {}
        }
        let context = &response["context"];
        let container = &context["container"];
        let named = container["id"].is_string() || container["network"].is_string();
        if named && self.definition.container.is_none() {
            return wrong("it has a container, and the job has none");
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.scope.container = (text(&container["id"]), text(&container["network"]));
        let services = match context.get("services") {
            None => &Vec::new(),
            Some(Value::Array(services)) => services,
            Some(_) => return wrong("context.services is no list"),
        };
        if services.len() > self.definition.services.len() {
            return wrong("it has more services than the job");
        }
        for (service, (name, _)) in services.iter().zip(&self.definition.services) {
            if !service["ports"].is_object() {
                return wrong("a service has no ports");
            }
            self.scope.services.insert(name.clone(), service.clone());
        }
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), JobError> {
        let prepared = self.driver.finish()?;
        let outcome = self.call("cleanup_job", "cleanup_job", prepared);
        self.report.success &= outcome.exit_code == 0;
        Ok(())
    }

    /// Makes a call and takes over what it leaves.
    fn call(&mut self, name: &str, command: &str, prepared: Prepared) -> Outcome {
        let end = (self.invoke)(command, prepared);
        let outcome = end.outcome.clone();
        self.report.calls.push(CallReport { name: name.to_owned(), end });
        self.driver.take(&outcome);
        outcome
    }

    fn holds(&self, condition: Option<&str>) -> Result<bool, JobError> {
        holds(condition, self.report.success).map_err(JobError::Step)
    }
}

/// `GITHUB_ACTION` of a `run:` step: counted from the second on.
fn run_name(number: usize) -> StepName {
    let action = if number == 1 { "__run".to_owned() } else { format!("__run_{number}") };
    StepName { action, ..StepName::default() }
}

#[cfg(test)]
mod tests;
