//! A container step as the rest of hookd knows it: checked, with nothing left to interpret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hookd_api::v1::{ContainerSpec, Mount};

use crate::error::Failure;
use crate::names;
use crate::objects::bounds;
use crate::objects::docker::args;
use crate::objects::docker::options::{self, CreateOptions};
use crate::objects::docker::volumes::{self, UserVolumes};
use crate::objects::error::SpecError;

/// Largest environment of a container step: it travels in one Secret, which may have 1 MiB.
const ENVIRONMENT_LIMIT: usize = 1_000_000;

/// Variables of a container: the pod's specification has some 150 bytes for each, which are kilobytes
/// in memory, and the API server takes 1.5 MB.
const MOST_VARIABLES: usize = 2048;

/// What a container step runs.
#[derive(Clone, Debug, Default)]
pub struct ContainerStep {
    /// Where the image comes from.
    pub source: Source,
    /// In place of the image's ENTRYPOINT.
    pub entry_point: Option<String>,
    /// Arguments as the program is to see them, but for white space that the runner has lost.
    pub args: Vec<String>,
    /// Arguments as the runner has cut them.
    pub pieces: Vec<String>,
    /// In place of the image's WORKDIR.
    pub working_directory: Option<String>,
    /// Environment, complete.
    pub environment: BTreeMap<String, String>,
    /// What the runner mounts, in the order of the input.
    pub mounts: Vec<Mount>,
    /// What the user mounts.
    pub volumes: UserVolumes,
    /// docker's options.
    pub options: CreateOptions,
    /// The event that the hook's environment names; empty: none.
    pub event: String,
}

/// Where a step's image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A registry.
    Image(String),
    /// A Dockerfile on the runner.
    Dockerfile(PathBuf),
}

impl Default for Source {
    fn default() -> Self {
        Self::Image(String::new())
    }
}

impl TryFrom<ContainerSpec> for ContainerStep {
    type Error = Failure;

    fn try_from(spec: ContainerSpec) -> Result<Self, Failure> {
        bounds::check(&spec)?;
        let source = source(&spec)?;
        // The runner never sends options for container steps; other clients may.
        let options = options::parse(&spec.create_options)?;
        let mut environment = options.environment().clone();
        environment.extend(spec.environment_variables);
        let environment = self::environment(environment)?;
        let volumes = volumes::read(
            names::STEP_CONTAINER,
            &spec.user_mount_volumes,
            &options,
            &spec.system_mount_volumes,
        )?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let entry_point = given(spec.entry_point);
        let working_directory = given(spec.working_directory);
        let args = args::split(&spec.entry_point_args);
        check_size(&args, &environment)?;
        Ok(Self {
            source,
            entry_point: entry_point.or_else(|| options.entrypoint().map(str::to_owned)),
            args,
            pieces: spec.entry_point_args,
            working_directory: working_directory
                .or_else(|| options.working_directory().map(str::to_owned)),
            environment,
            mounts: spec.system_mount_volumes,
            volumes,
            options,
            event: String::new(),
        })
    }
}

fn source(spec: &ContainerSpec) -> Result<Source, Failure> {
    match (spec.image.as_str(), spec.dockerfile.as_str()) {
        ("", "") => Err(SpecError::NoSource.into()),
        (image, "") => Ok(Source::Image(image.to_owned())),
        ("", dockerfile) => Ok(Source::Dockerfile(PathBuf::from(dockerfile))),
        (image, dockerfile) => {
            let (image, dockerfile) = (image.to_owned(), dockerfile.to_owned());
            Err(SpecError::TwoSources { image, dockerfile }.into())
        }
    }
}

/// Bytes of one argument or variable, with its name, that Linux gives to a program (MAX_ARG_STRLEN,
/// its NUL included).
const LONGEST_STRING: usize = 128 << 10;
/// Bytes of all of them together, with 8 for each: a quarter of the usual stack.
const PROGRAM_LIMIT: usize = 2 << 20;

/// What Linux starts no program with: one string, or all together, too large.
///
/// # Errors
/// `INVALID_INPUT` with the variable's name, or the argument's number.
pub fn check_size(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let limit = LONGEST_STRING;
    let mut total = 0;
    for (number, argument) in arguments.iter().enumerate() {
        let size = argument.len() + 1;
        if size > LONGEST_STRING {
            return Err(SpecError::ArgumentTooLarge { number: number + 1, size, limit }.into());
        }
        total += size + 8;
    }
    for (name, value) in environment {
        let size = name.len() + value.len() + 2;
        if size > LONGEST_STRING {
            let name = bounds::shown(name);
            return Err(SpecError::VariableTooLarge { name, size, limit }.into());
        }
        total += size + 8;
    }
    if total > PROGRAM_LIMIT {
        return Err(SpecError::ProgramTooLarge { size: total, limit: PROGRAM_LIMIT }.into());
    }
    Ok(())
}

/// What no process can be given: names and values that are none, or are too large.
///
/// # Errors
/// `INVALID_INPUT` with the variable's name.
pub fn check_environment(given: &BTreeMap<String, String>) -> Result<(), Failure> {
    if let Some(name) = given.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(SpecError::InvalidVariableName { name: bounds::shown(name) }.into());
    }
    if let Some((name, _)) = given.iter().find(|(_, value)| value.contains('\0')) {
        return Err(SpecError::VariableWithNul { name: bounds::shown(name) }.into());
    }
    check_size(&[], given)
}

/// What a pod has no room for.
///
/// # Errors
/// `INVALID_INPUT` with the number of variables.
pub fn check_number(given: &BTreeMap<String, String>) -> Result<(), Failure> {
    if given.len() <= MOST_VARIABLES {
        return Ok(());
    }
    let number = given.len();
    Err(SpecError::TooManyVariables { number, limit: MOST_VARIABLES }.into())
}

/// The step's variables and those that docker mode adds.
fn environment(mut given: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    check_number(&given)?;
    check_environment(&given)?;
    given.insert("GITHUB_ACTIONS".to_owned(), "true".to_owned());
    given.entry("CI".to_owned()).or_insert_with(|| "true".to_owned());
    let size: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > ENVIRONMENT_LIMIT {
        return Err(SpecError::EnvironmentTooLarge { size, limit: ENVIRONMENT_LIMIT }.into());
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn step(spec: ContainerSpec) -> Result<ContainerStep, Failure> {
        ContainerStep::try_from(ContainerSpec { image: "x".into(), ..spec })
    }

    #[test]
    fn one_of_image_and_dockerfile_is_needed() {
        let none = ContainerStep::try_from(ContainerSpec::default()).unwrap_err();
        assert!(none.message.contains("neither an image nor a Dockerfile"));
        let both = step(ContainerSpec { dockerfile: "/d".into(), ..ContainerSpec::default() });
        assert!(both.unwrap_err().message.contains("both"));
    }

    #[test]
    fn docker_mode_adds_github_actions_and_ci() {
        let given = BTreeMap::from([("CI".to_owned(), "no".to_owned())]);
        let spec = ContainerSpec { environment_variables: given, ..ContainerSpec::default() };
        let environment = step(spec).unwrap().environment;
        assert_eq!(
            (environment["GITHUB_ACTIONS"].as_str(), environment["CI"].as_str()),
            ("true", "no")
        );
    }

    #[test]
    fn what_linux_starts_no_program_with_is_refused_by_name() {
        let variable = |bytes| BTreeMap::from([("BIG".to_owned(), "x".repeat(bytes))]);
        let argument = |bytes| ["y".repeat(bytes)];
        let one = LONGEST_STRING - "BIG=".len() - 1;
        check_size(&argument(LONGEST_STRING - 1), &variable(one)).unwrap();
        for (arguments, environment, words) in [
            (argument(LONGEST_STRING), variable(1), "Argument 1 has 131073 bytes"),
            (argument(1), variable(one + 1), "variable BIG has 131073 bytes"),
        ] {
            let failure = check_size(&arguments, &environment).unwrap_err();
            assert!(failure.message.contains(words), "{failure}");
        }
        let many: BTreeMap<_, _> =
            (0..17).map(|number| (format!("V{number}"), "x".repeat(one - 8))).collect();
        let failure = check_environment(&many).unwrap_err();
        assert!(failure.message.contains("environment have"), "{failure}");
    }

    #[test]
    fn more_variables_than_a_pod_has_room_for_are_refused() {
        let variables = |number: usize| (0..number).map(|n| (format!("V{n}"), String::new()));
        let spec = |number| ContainerSpec {
            environment_variables: variables(number).collect(),
            ..ContainerSpec::default()
        };
        step(spec(MOST_VARIABLES)).unwrap();
        let failure = step(spec(MOST_VARIABLES + 1)).unwrap_err();
        assert!(failure.message.contains("2049 environment variables"), "{failure}");
    }

    #[test]
    fn an_environment_too_large_for_a_secret_is_refused() {
        let variable = |number| (format!("BIG{number}"), "x".repeat(100_000));
        let given = (0..10).map(variable).collect();
        let spec = ContainerSpec { environment_variables: given, ..ContainerSpec::default() };
        assert_eq!(step(spec).unwrap_err().reason, Reason::InvalidInput);
    }
}
