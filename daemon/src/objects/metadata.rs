//! Labels and owners of the objects that hookd makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::ids::StepId;
use crate::names::{COMPONENT_LABEL, RUNNER_LABEL, STEP_LABEL};
use crate::runner::Runner;

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A job's pod, or a Secret of it.
    Job,
    /// A container step.
    Step,
    /// A build.
    Build,
}

impl Component {
    /// The value of [`COMPONENT_LABEL`].
    pub fn label(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Step => "step",
            Self::Build => "build",
        }
    }
}

/// Labels of an object of this step.
pub fn labels(runner: &Runner, step: &StepId, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (RUNNER_LABEL.to_owned(), runner.name.clone()),
        (STEP_LABEL.to_owned(), step.to_string()),
        (COMPONENT_LABEL.to_owned(), component.label().to_owned()),
    ])
}

/// Metadata of an object of this step: owned by the runner pod, so that it goes when that goes.
pub fn of_step(runner: &Runner, step: &StepId, name: &str, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(runner.namespace.clone()),
        labels: Some(labels(runner, step, component)),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: runner.name.clone(),
            uid: runner.uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    }
}
