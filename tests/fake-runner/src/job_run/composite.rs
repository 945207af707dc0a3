//! Composite actions: steps within a step, with inputs and outputs of their own.

use super::steps::{Current, input_failed};
use super::{JobError, JobRun, Scope};
use crate::definition::Composite;
use crate::inputs::Inputs;
use crate::uses::Uses;
use crate::variables::Variables;

impl JobRun<'_, '_> {
    /// Runs the action's steps; whether all succeeded that must, and the action's outputs.
    pub(super) fn composite(
        &mut self,
        current: &Current<'_>,
        uses: &Uses,
        composite: &Composite,
    ) -> Result<(bool, Variables), JobError> {
        let with = self.scope.evaluate_all(&current.definition.with, &current.env)?;
        let inputs = Inputs::of(&with, &composite.inputs).map_err(input_failed)?;
        let folder = self.driver.runner().layout().action_folder(uses).unwrap_or_default();
        let root = self.driver.runner().layout().work().root();
        let within = Scope {
            inputs: Some(inputs),
            action_path: Some(folder.replacen(root, "/__w", 1).replace("/./", "/")),
            outputs: Default::default(),
            outcomes: Default::default(),
            ..self.scope.clone()
        };
        let outside = std::mem::replace(&mut self.scope, within);
        let went_well = std::mem::replace(&mut self.report.success, true);
        for (number, step) in composite.steps.iter().enumerate() {
            self.step(step, &format!("{}.{number}", current.place))?;
        }
        let succeeded = std::mem::replace(&mut self.report.success, went_well);
        let outputs = self.scope.evaluate_all(&composite.outputs, &current.env)?;
        self.scope = outside;
        Ok((succeeded, Variables::from_iter(outputs)))
    }
}
