//! Names and labels of the objects that hookd makes. A name derives from the step's id alone, so
//! that a create whose outcome is unknown can be repeated: it finds its own object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::ids::StepId;
use crate::runner::Runner;

/// On every object: the runner pod that it belongs to. ARC deletes pods and Secrets by it.
pub const RUNNER_LABEL: &str = "runner-pod";
/// On every object: the step that it belongs to.
pub const STEP_LABEL: &str = "hookd.dev/step";
/// The Job controller's own label on a Job's pods.
pub const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

/// The longest name that also fits a label, which a Job's name must.
const MAX_LEN: usize = 63;

/// Name of the Job and of the Secret of a container step.
pub fn step(runner: &str, step: &StepId) -> String {
    named(runner, &format!("step-{step}"))
}

/// Name of the Job of a build; each attempt has its own.
pub fn build(runner: &str, step: &StepId, attempt: u32) -> String {
    match attempt {
        0 => named(runner, &format!("build-{step}")),
        attempt => named(runner, &format!("build-{attempt}-{step}")),
    }
}

/// Name of a job's pod: a runner has one job. Of the reference hooks, for whom it is known.
pub fn job_pod(runner: &str) -> String {
    named(runner, "workflow")
}

/// Name of the Secret with the environment of a job's services.
pub fn services_secret(runner: &str, step: &StepId) -> String {
    named(runner, &format!("services-{step}"))
}

/// Name of the Secret with the credentials for a job's images.
pub fn pull_secret(runner: &str, step: &StepId) -> String {
    named(runner, &format!("pull-{step}"))
}

/// `<runner>-<suffix>`, the runner's part cut to what is left.
fn named(runner: &str, suffix: &str) -> String {
    let room = MAX_LEN - suffix.len() - 1;
    let prefix: String = runner.chars().take(room).collect();
    format!("{}-{suffix}", prefix.trim_end_matches(['-', '.']))
}

/// Labels of an object of this step.
pub fn labels(runner: &Runner, step: &StepId) -> BTreeMap<String, String> {
    BTreeMap::from([
        (RUNNER_LABEL.to_owned(), runner.name.clone()),
        (STEP_LABEL.to_owned(), step.to_string()),
    ])
}

/// Metadata of an object of this step: owned by the runner pod, so that it goes when that goes.
pub fn metadata(runner: &Runner, step: &StepId, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(runner.namespace.clone()),
        labels: Some(labels(runner, step)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_63_characters_and_keep_the_step_whole() {
        let id: StepId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        for name in [step(&"r".repeat(250), &id), build(&"r".repeat(250), &id, 12)] {
            assert!(name.len() <= 63 && name.ends_with(id.as_str()), "{name}");
        }
        let short: StepId = "ab12".parse().unwrap();
        assert_eq!(step("my-runner", &short), "my-runner-step-ab12");
        assert_eq!(build("my-runner", &short, 0), "my-runner-build-ab12");
        assert_eq!(build("my-runner", &short, 2), "my-runner-build-2-ab12");
    }

    #[test]
    fn a_cut_runner_name_does_not_end_with_a_dash() {
        let id: StepId = "x".repeat(40).parse().unwrap();
        let runner = format!("{}-{}", "r".repeat(16), "s".repeat(30));
        assert!(!step(&runner, &id).contains("--"), "{}", step(&runner, &id));
    }
}
