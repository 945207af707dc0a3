//! The sample workflow and actions in `examples/`, read as a runner reads them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fake_runner::action::Image;
use fake_runner::definition::Definition;
use fake_runner::workflow::JobDefinition;
use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../examples")
}

#[test]
fn the_sample_actions_are_of_three_kinds() {
    let action = |name| Definition::in_folder(&examples().join("actions").join(name)).unwrap();
    let image = |name| match action(name) {
        Definition::Docker(action) => action.image,
        other => panic!("{other:?}"),
    };
    assert_eq!(image("dockerfile"), Image::Dockerfile("Dockerfile".to_owned()));
    assert_eq!(image("image"), Image::Reference("busybox:1".to_owned()));
    assert!(matches!(action("composite"), Definition::Composite(all) if all.steps.len() == 2));
}

#[test]
fn the_sample_workflow_uses_every_sample_action() {
    let text = std::fs::read_to_string(examples().join("workflow.yaml")).unwrap();
    let workflow: Value = serde_saphyr::from_str(&text).unwrap();
    let mut used = BTreeSet::new();
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let mut job = job.clone();
        job.as_object_mut().unwrap().remove("runs-on").unwrap();
        let job: JobDefinition =
            serde_json::from_value(job).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let steps = job.steps.into_iter().filter_map(|step| step.uses);
        used.extend(
            steps.filter_map(|uses| uses.strip_prefix("./.github/actions/").map(str::to_owned)),
        );
    }
    let folders = std::fs::read_dir(examples().join("actions")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(used, folders.collect());
}
