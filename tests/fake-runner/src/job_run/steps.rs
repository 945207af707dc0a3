//! The steps of a job, and those within composite actions.

use super::{Conclusion, JobError, JobRun, run_name};
use crate::Stage;
use crate::context::StepName;
use crate::definition::{Definition, JavaScript};
use crate::inputs::Inputs;
use crate::outcome::Outcome;
use crate::runner::{PrepareError, Step};
use crate::scripts::{self, Surroundings};
use crate::uses::Uses;
use crate::variables::Variables;
use crate::workflow::StepDefinition;

/// What is left to run of an action after the job's steps.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    name: String,
    place: String,
    uses: Uses,
    with: Vec<(String, String)>,
    env: Variables,
}

/// A step that is being run.
pub(super) struct Current<'a> {
    /// Id, name or what it does.
    name: String,
    /// Tells it apart from all others of the job.
    pub(super) place: String,
    pub(super) definition: &'a StepDefinition,
    /// The env context.
    pub(super) env: Variables,
}

impl JobRun<'_, '_> {
    /// The pre stages of the actions that are on disk already.
    pub(super) fn before(&mut self) -> Result<(), JobError> {
        let runner = self.driver.runner();
        let work = runner.layout().work();
        let workspace = work.workspace(&runner.job.repository);
        self.scope.workspace = workspace.replacen(work.root(), "/__w", 1);
        for (number, definition) in self.definition.steps.iter().enumerate() {
            let Some(uses) = &definition.uses else { continue };
            let uses: Uses = uses.parse()?;
            if matches!(uses, Uses::Local { .. } | Uses::Image { .. }) {
                continue;
            }
            let action = self.definition_of(&uses)?;
            if action.has(Stage::Pre) {
                let place = number.to_string();
                let current = self.current(definition, &place)?;
                self.stage(&format!("pre {}", current.name), &uses, &current, Stage::Pre)?;
                self.leave(&current, &uses, &action)?;
            }
        }
        Ok(())
    }

    /// The job's own steps.
    pub(super) fn steps(&mut self) -> Result<(), JobError> {
        for (number, definition) in self.definition.steps.iter().enumerate() {
            let conclusion = self.step(definition, &number.to_string())?;
            let name = name_of(definition);
            self.report.conclusions.insert(name, conclusion);
        }
        Ok(())
    }

    /// The post stages, the last one first.
    pub(super) fn after(&mut self) -> Result<(), JobError> {
        while let Some(pending) = self.post.pop() {
            let definition = StepDefinition { with: pending.with, ..StepDefinition::default() };
            let current = Current {
                name: pending.name.clone(),
                place: pending.place,
                definition: &definition,
                env: pending.env,
            };
            let name = format!("post {}", pending.name);
            let outcome = self.stage(&name, &pending.uses, &current, Stage::Post)?;
            self.report.success &= outcome.exit_code == 0;
        }
        Ok(())
    }

    /// One step, if its condition holds.
    pub(super) fn step(
        &mut self,
        definition: &StepDefinition,
        place: &str,
    ) -> Result<Conclusion, JobError> {
        if !self.holds(definition.r#if.as_deref())? {
            return Ok(Conclusion::Skipped);
        }
        let current = self.current(definition, place)?;
        let (succeeded, outputs) = match (&definition.run, &definition.uses) {
            (Some(script), None) => {
                let outcome = self.run(&current, script)?;
                (outcome.exit_code == 0, outcome.outputs)
            }
            (None, Some(uses)) => self.uses(&current, &uses.parse()?)?,
            _ => {
                let message = format!("{} has not one of `run` and `uses`", current.name);
                return Err(JobError::Step(message));
            }
        };
        if let Some(id) = &definition.id {
            self.scope.outputs.insert(id.clone(), outputs);
            let outcome = if succeeded { "success" } else { "failure" };
            self.scope.outcomes.insert(id.clone(), outcome);
        }
        if succeeded || definition.continue_on_error {
            return Ok(Conclusion::Success);
        }
        self.report.success = false;
        Ok(Conclusion::Failure)
    }

    fn current<'d>(
        &self,
        definition: &'d StepDefinition,
        place: &str,
    ) -> Result<Current<'d>, JobError> {
        let mut env = self.driver.env().clone();
        for (name, value) in self.scope.evaluate_all(&definition.env, self.driver.env())? {
            env.set(name, value);
        }
        Ok(Current { name: name_of(definition), place: place.to_owned(), definition, env })
    }

    fn run(&mut self, current: &Current<'_>, script: &str) -> Result<Outcome, JobError> {
        let definition = current.definition;
        let shell = definition.shell.as_deref();
        if shell.is_none() && self.scope.inputs.is_some() {
            return Err(JobError::Step(format!("{} of an action needs a `shell`", current.name)));
        }
        let script = self.scope.evaluate(script, &current.env)?;
        let runs = self.report.calls.iter().filter(|call| !call.name.ends_with("_job")).count();
        let name = match &definition.id {
            Some(id) => StepName { action: id.clone(), ..StepName::default() },
            None => run_name(runs + 1),
        };
        let name = StepName { path: self.scope.action_path.clone(), ..name };
        let runner = self.driver.runner();
        let layout = runner.layout();
        let work = layout.work();
        let guid = crate::layout::guid().map_err(PrepareError::from)?;
        let file = format!("{}/{guid}{}", work.temp(), scripts::extension(shell));
        layout.write(&file, &script).map_err(PrepareError::from)?;
        let workspace = work.workspace(&runner.job.repository);
        let directory = definition.working_directory.as_deref();
        let directory =
            directory.map(|text| self.scope.evaluate(text, &current.env)).transpose()?;
        let directory = match directory.as_deref() {
            None | Some("") => workspace,
            Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
            Some(inside) => format!("{workspace}/{inside}"),
        };
        let prepared = self.driver.run(Some(&name), |files| {
            let around = Surroundings {
                job: &runner.job,
                work,
                path: &runner.added_path,
                name: &name,
                files,
                env: &current.env,
            };
            around.run(shell, &file, &directory)
        })?;
        Ok(self.call(&current.name, "run_script_step", prepared))
    }

    /// An action, of whatever kind; whether it succeeded, and its outputs.
    fn uses(&mut self, current: &Current<'_>, uses: &Uses) -> Result<(bool, Variables), JobError> {
        let action = self.definition_of(uses)?;
        if let Definition::Composite(composite) = &action {
            return self.composite(current, uses, composite);
        }
        let outcome = self.stage(&current.name, uses, current, Stage::Main)?;
        self.leave(current, uses, &action)?;
        Ok((outcome.exit_code == 0, outcome.outputs))
    }

    /// Remembers what of an action is to run after the job.
    fn leave(
        &mut self,
        current: &Current<'_>,
        uses: &Uses,
        action: &Definition,
    ) -> Result<(), JobError> {
        let known = self.post.iter().any(|pending| pending.place == current.place);
        if action.has(Stage::Post) && !known {
            self.post.push(Pending {
                name: current.name.clone(),
                place: current.place.clone(),
                uses: uses.clone(),
                with: self.scope.evaluate_all(&current.definition.with, &current.env)?,
                env: current.env.clone(),
            });
        }
        Ok(())
    }

    /// One stage of an action that is called through the hook.
    fn stage(
        &mut self,
        name: &str,
        uses: &Uses,
        current: &Current<'_>,
        stage: Stage,
    ) -> Result<Outcome, JobError> {
        let with = self.scope.evaluate_all(&current.definition.with, &current.env)?;
        let saved = self.saved.get(&current.place).cloned().unwrap_or_default();
        let outcome = match self.definition_of(uses)? {
            Definition::JavaScript(script) => {
                self.java_script(name, (uses, &script), current, (stage, with, &saved))?
            }
            _ => {
                let env = current.env.clone();
                let step = Step { stage, with, env, saved, ..Step::new(uses.clone()) };
                let prepared = self.driver.uses(step)?;
                self.call(name, "run_container_step", prepared)
            }
        };
        self.saved.entry(current.place.clone()).or_default().extend(&outcome.saved);
        Ok(outcome)
    }

    fn java_script(
        &mut self,
        name: &str,
        (uses, action): (&Uses, &JavaScript),
        current: &Current<'_>,
        (stage, with, saved): (Stage, Vec<(String, String)>, &Variables),
    ) -> Result<Outcome, JobError> {
        let inputs = Inputs::of(&with, &action.inputs).map_err(input_failed)?;
        let folder = self.driver.runner().layout().action_folder(uses).unwrap_or_default();
        let runner = self.driver.runner();
        let step_name = StepName::from(uses);
        let is_alpine = self.is_alpine;
        let prepared = self.driver.run(Some(&step_name), |files| {
            let around = Surroundings {
                job: &runner.job,
                work: runner.layout().work(),
                path: &runner.added_path,
                name: &step_name,
                files,
                env: &current.env,
            };
            around.java_script((action, &folder, is_alpine), (stage, &inputs, saved))
        })?;
        Ok(self.call(name, "run_script_step", prepared))
    }

    fn definition_of(&self, uses: &Uses) -> Result<Definition, JobError> {
        if let Uses::Image { image } = uses {
            return Ok(Definition::Docker(crate::Action::from_image(image)));
        }
        let folder = self.driver.runner().layout().action_folder(uses).unwrap_or_default();
        let local = self.driver.runner().layout().work().local(&folder);
        let found = Definition::in_folder(&local);
        Ok(found.map_err(|source| PrepareError::Action { uses: uses.clone(), source })?)
    }
}

pub(super) fn input_failed(error: crate::inputs::DefaultError) -> JobError {
    JobError::Prepare(PrepareError::Input(error.into()))
}

fn name_of(definition: &StepDefinition) -> String {
    let what = definition.id.as_ref().or(definition.name.as_ref());
    let what = what.or(definition.uses.as_ref()).or(definition.run.as_ref());
    what.map(|text| text.lines().next().unwrap_or_default().to_owned()).unwrap_or_default()
}
