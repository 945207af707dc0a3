//! The white space in an action's arguments that the runner loses: it cuts the line of arguments at
//! its spaces before it sends it. The line itself is known all the same: `with: args:` is a variable
//! of the step, and `runs.args` stands in the action.yml on the disk. One that gives the very pieces
//! that were sent is taken in their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::build::context;
use crate::hooks::action_args::scalars::{Scalar, Scalars};
use crate::names;
use crate::objects::container::{ContainerStep, Source};
use crate::objects::docker::args;
use crate::yaml;

mod scalars;

/// Directories that are searched for an action.yml.
const LEVELS: usize = 64;
/// Longest path that Linux opens.
const LONGEST_PATH: usize = 4096;
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
        // A line with more than what was sent, and the white space that was lost, is another one.
        let mut room = step.pieces.iter().map(String::len).sum::<usize>() + yaml::LIMIT;
        let list = list.0.iter().map(|one| text(one, &step.environment, &mut room));
        let list: Option<Vec<_>> = list.collect();
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
    args: Option<Scalars>,
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
            work_dir.join(names::ACTIONS_DIR).join(repository).join(version)
        }
    };
    if start.as_os_str().len() > LONGEST_PATH {
        return None;
    }
    let within = |directory: &&Path| roots.iter().any(|root| directory.starts_with(root));
    let directories = start.ancestors().take_while(within).take(LEVELS);
    let files = directories
        .flat_map(|directory| ["action.yml", "action.yaml"].map(|name| directory.join(name)));
    let mut read = files
        .filter_map(|file| context::read_small(roots, &file, yaml::LIMIT as u64).ok().flatten());
    yaml::parse(&read.next()?).ok()
}

/// An argument as text; none if it has an expression that is not evaluated here, or more than
/// `room` bytes, which are taken from it.
fn text(
    argument: &Scalar,
    environment: &BTreeMap<String, String>,
    room: &mut usize,
) -> Option<String> {
    let Scalar::Text(text) = argument else { return None };
    let mut evaluated = String::new();
    let mut add = |part: &str| {
        *room = room.checked_sub(part.len())?;
        evaluated.push_str(part);
        Some(())
    };
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}")?;
        let name = expression.trim().strip_prefix("inputs.")?;
        let variable = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
        add(before)?;
        add(environment.get(&variable)?)?;
        rest = after;
    }
    add(rest)?;
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
    fn an_expression_cannot_make_more_of_an_input_than_was_sent() {
        let root = with_action(&format!("[\"{}\"]", "${{inputs.a}}".repeat(10_000)));
        let environment = [("INPUT_A", "x".repeat(100_000))];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let step = step(root.path(), "\"a b\"", &environment);
        assert_eq!(found(root.path(), &step), ["a b"]);
    }

    #[test]
    fn a_definition_that_exceeds_a_limit_is_not_used() {
        let aliases = format!("[&a x, {}]", vec!["*a"; 4000].join(","));
        let deep = format!("{}x{}", "[".repeat(5000), "]".repeat(5000));
        let large = format!("[{}]", vec!["x"; 1 << 18].join(","));
        for args in [aliases, deep, large, "[[a], {b: c}]".to_owned()] {
            let root = with_action(&args);
            let step = step(root.path(), "\"a   b\"", &[]);
            assert_eq!(found(root.path(), &step), ["a b"]);
        }
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
