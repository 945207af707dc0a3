//! The white space in an action's arguments that the runner loses: it cuts the line of arguments at
//! its spaces before it sends it. The line itself is known all the same: `with: args:` is a variable
//! of the step, and `runs.args` stands in the action.yml on the disk. One that gives the very pieces
//! that were sent is taken in their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::image::context;
use crate::spec::args;
use crate::spec::container::{ContainerStep, Source};

/// Bytes that an action.yml may have.
const LIMIT: u64 = 1 << 20;
/// `with: args:` as the runner passes it on.
const INPUT_ARGS: &str = "INPUT_ARGS";

/// The step's arguments, without loss where their line is found. Reads files.
pub fn whole(step: &ContainerStep, work_dir: &Path, roots: &[PathBuf]) -> Vec<String> {
    let cut = args::split(&step.pieces);
    if step.pieces.is_empty() {
        return cut;
    }
    let input = step.environment.get(INPUT_ARGS);
    let found = input.and_then(|line| args::of_line(line, &step.pieces));
    let found = found.or_else(|| {
        let list = definition(step, work_dir, roots)?.runs.args?;
        let list: Option<Vec<_>> = list.iter().map(|one| text(one, &step.environment)).collect();
        args::of_line(&args::line_of(&list?), &step.pieces)
    });
    found.unwrap_or(cut)
}

#[derive(Deserialize)]
struct Definition {
    runs: Runs,
}

#[derive(Deserialize)]
struct Runs {
    args: Option<Vec<Value>>,
}

/// The action's definition, looked for as the runner does: from its Dockerfile's directory upwards,
/// or where the action was downloaded to.
fn definition(step: &ContainerStep, work_dir: &Path, roots: &[PathBuf]) -> Option<Definition> {
    let start = match &step.source {
        Source::Dockerfile(dockerfile) => context::normalised(dockerfile)?.parent()?.to_owned(),
        Source::Image(_) => {
            let part = |name: &str| step.environment.get(name).filter(|part| !part.is_empty());
            let (repository, version) =
                (part("GITHUB_ACTION_REPOSITORY")?, part("GITHUB_ACTION_REF")?);
            work_dir.join("_actions").join(repository).join(version)
        }
    };
    let within = |directory: &&Path| roots.iter().any(|root| directory.starts_with(root));
    let directories = start.ancestors().take_while(within);
    let files = directories
        .flat_map(|directory| ["action.yml", "action.yaml"].map(|name| directory.join(name)));
    let mut read = files.filter_map(|file| context::read_small(roots, &file, LIMIT).ok().flatten());
    serde_yaml_ng::from_slice(&read.next()?).ok()
}

/// An argument as text; none if it has an expression that is not evaluated here.
fn text(argument: &Value, environment: &BTreeMap<String, String>) -> Option<String> {
    let text = match argument {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        _ => return None,
    };
    let mut evaluated = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}")?;
        let name = expression.trim().strip_prefix("inputs.")?;
        let variable = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
        evaluated.push_str(before);
        evaluated.push_str(environment.get(&variable)?);
        rest = after;
    }
    evaluated.push_str(rest);
    Some(evaluated)
}

#[cfg(test)]
mod tests {
    use hookd_api::v1::ContainerSpec;

    use super::*;

    /// A step that runs the Dockerfile beside `action.yml`, with the pieces that the runner makes
    /// of this line.
    fn step(root: &Path, line: &str, environment: &[(&str, &str)]) -> ContainerStep {
        let pieces = line.split(' ').map(str::trim).filter(|piece| !piece.is_empty());
        let pairs = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        ContainerStep::try_from(ContainerSpec {
            dockerfile: root.join("_actions/o/a/v1/./docker/Dockerfile").display().to_string(),
            entry_point_args: pieces.map(str::to_owned).collect(),
            environment_variables: pairs.collect(),
            ..ContainerSpec::default()
        })
        .unwrap()
    }

    fn found(root: &Path, step: &ContainerStep) -> Vec<String> {
        whole(step, root, &[root.to_owned()])
    }

    fn with_action(args: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let action = root.path().join("_actions/o/a/v1");
        std::fs::create_dir_all(action.join("docker")).unwrap();
        let yaml = format!("runs: {{using: docker, image: docker/Dockerfile, args: {args}}}");
        std::fs::write(action.join("action.yml"), yaml).unwrap();
        root
    }

    #[test]
    fn the_args_input_keeps_its_white_space() {
        let root = tempfile::tempdir().unwrap();
        let line = "-c  \"a   b\tc\n d\"";
        let step = step(root.path(), line, &[("INPUT_ARGS", line)]);
        assert_eq!(found(root.path(), &step), ["-c", "a   b\tc\n d"]);
    }

    #[test]
    fn the_literals_and_inputs_of_an_action_keep_theirs() {
        let root = with_action(r#"["a   b", "${{ inputs.two words }}!", 5, "", " x\n "]"#);
        let line = "\"a   b\" \"1  2!\" \"5\" \"\" \" x\n \"";
        let environment = [("INPUT_TWO_WORDS", "1  2")];
        let step = step(root.path(), line, &environment);
        assert_eq!(found(root.path(), &step), ["a   b", "1  2!", "5", "", " x\n "]);
    }

    #[test]
    fn what_does_not_give_the_pieces_that_were_sent_is_not_taken() {
        let root = with_action(r#"["a   b", "${{ github.ref }}"]"#);
        let line = "\"a   b\" \"refs\"";
        let one = step(root.path(), line, &[("INPUT_ARGS", "something else")]);
        assert_eq!(found(root.path(), &one), ["a b", "refs"]);
    }

    #[test]
    fn an_action_of_an_image_is_found_where_it_was_downloaded_to() {
        let root = with_action(r#"["a   b"]"#);
        let environment = [("GITHUB_ACTION_REPOSITORY", "o/a"), ("GITHUB_ACTION_REF", "v1")];
        let mut step = step(root.path(), "\"a   b\"", &environment);
        step.source = Source::Image("busybox".into());
        assert_eq!(found(root.path(), &step), ["a   b"]);
        step.environment.insert("GITHUB_ACTION_REF".into(), "../../../../..".into());
        assert_eq!(found(root.path(), &step), ["a b"]);
    }

    #[test]
    fn a_link_out_of_the_work_directory_is_not_followed() {
        let root = with_action("[]");
        let outside = tempfile::tempdir().unwrap();
        let theirs = outside.path().join("action.yml");
        std::fs::write(&theirs, "runs: {args: ['a   b']}").unwrap();
        let link = root.path().join("_actions/o/a/v1/action.yml");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(theirs, link).unwrap();
        let step = step(root.path(), "\"a   b\"", &[]);
        assert_eq!(found(root.path(), &step), ["a b"]);
    }
}
