//! Any kind of action: its `action.yml`, or a bare Dockerfile.

use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::Stage;
use crate::action::{self, Action, ActionError, Input, input_defaults};
use crate::workflow::StepDefinition;
use crate::yaml::{self, Entries, Scalar};

/// What an action is made of.
#[derive(Clone, Debug)]
pub enum Definition {
    /// It runs in a container of its own.
    Docker(Action),
    /// It runs under the runner's Node.js.
    JavaScript(JavaScript),
    /// It is made of steps.
    Composite(Composite),
}

/// An action in JavaScript.
#[derive(Clone, Debug)]
pub struct JavaScript {
    /// "node20" or "node24".
    pub using: String,
    /// Inputs and their defaults.
    pub inputs: Vec<(String, String)>,
    main: String,
    pre: Option<String>,
    post: Option<String>,
}

/// An action of steps.
#[derive(Clone, Debug)]
pub struct Composite {
    /// Inputs and their defaults.
    pub inputs: Vec<(String, String)>,
    /// Outputs and the expressions that they are.
    pub outputs: Vec<(String, String)>,
    /// The steps.
    pub steps: Vec<StepDefinition>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    inputs: Entries<Input>,
    #[serde(default)]
    outputs: Entries<Output>,
    runs: Runs,
}

#[derive(Deserialize)]
struct Runs {
    using: String,
    main: Option<String>,
    pre: Option<String>,
    post: Option<String>,
    #[serde(default)]
    steps: Vec<StepDefinition>,
}

/// The `value` of an output; empty, if it has none.
struct Output(String);

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Scalar(value) = Scalar::of_field(&Value::deserialize(from)?, "value")?;
        Ok(Self(value))
    }
}

impl Definition {
    /// The action in `folder`, found as the runner looks for it.
    ///
    /// # Errors
    ///
    /// [`ActionError`] if there is none, or one of an unknown kind.
    pub fn in_folder(folder: &Path) -> Result<Self, ActionError> {
        match action::manifest(folder)? {
            Some(text) => Self::from_yaml(&text),
            None => Action::in_folder(folder).map(Self::Docker),
        }
    }

    fn from_yaml(text: &str) -> Result<Self, ActionError> {
        let manifest: Manifest = yaml::parse(text).map_err(ActionError::Malformed)?;
        let inputs = input_defaults(manifest.inputs);
        let runs = manifest.runs;
        match runs.using.as_str() {
            "composite" => {
                let outputs = manifest.outputs.0.into_iter();
                let outputs = outputs.map(|(name, Output(value))| (name, value)).collect();
                Ok(Self::Composite(Composite { inputs, outputs, steps: runs.steps }))
            }
            using if using.starts_with("node") => {
                let main = runs.main.unwrap_or_default();
                let (pre, post, using) = (runs.pre, runs.post, using.to_owned());
                Ok(Self::JavaScript(JavaScript { using, inputs, main, pre, post }))
            }
            _ => Action::from_yaml(text).map(Self::Docker),
        }
    }

    /// True if the action has something to run in this stage.
    pub fn has(&self, stage: Stage) -> bool {
        match (self, stage) {
            (_, Stage::Main) => true,
            (Self::Docker(action), stage) => action.entry_point(stage).is_some(),
            (Self::JavaScript(script), stage) => script.file(stage).is_some(),
            (Self::Composite(_), _) => false,
        }
    }
}

impl JavaScript {
    /// The script of this stage, relative to the action's folder.
    pub fn file(&self, stage: Stage) -> Option<&str> {
        match stage {
            Stage::Pre => self.pre.as_deref(),
            Stage::Main => Some(&self.main),
            Stage::Post => self.post.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_are_told_apart() {
        let js = "runs: {using: node20, main: m.js, post: p.js}";
        let Definition::JavaScript(script) = Definition::from_yaml(js).unwrap() else { panic!() };
        assert_eq!((script.file(Stage::Main), script.file(Stage::Pre)), (Some("m.js"), None));
        let composite = "outputs: {o: {value: '${{ steps.a.outputs.b }}'}}\n\
                         runs: {using: composite, steps: [{run: x, shell: sh}]}";
        let Definition::Composite(made) = Definition::from_yaml(composite).unwrap() else {
            panic!()
        };
        assert_eq!(made.outputs, [("o".to_owned(), "${{ steps.a.outputs.b }}".to_owned())]);
        assert_eq!(made.steps.len(), 1);
        let docker = "runs: {using: docker, image: Dockerfile, post-entrypoint: /p}";
        let docker = Definition::from_yaml(docker).unwrap();
        assert!(docker.has(Stage::Post) && !docker.has(Stage::Pre));
    }
}
