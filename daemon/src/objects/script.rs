//! A script step as the rest of hookd knows it: checked, with nothing left to interpret.

use std::collections::BTreeMap;

use hookd_api::v1::ScriptSpec;

use crate::error::Failure;
use crate::objects::bounds;
use crate::objects::container;
use crate::objects::docker::args;
use crate::objects::error::SpecError;

/// What a script step runs in the job container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptStep {
    /// The program and its arguments as it is to see them.
    pub argv: Vec<String>,
    /// Added to the environment of the job container.
    pub environment: BTreeMap<String, String>,
    /// Go before the container's PATH, in this order.
    pub prepend_path: Vec<String>,
    /// Where it runs; none: the image's own directory.
    pub working_directory: Option<String>,
}

impl TryFrom<ScriptSpec> for ScriptStep {
    type Error = Failure;

    fn try_from(spec: ScriptSpec) -> Result<Self, Failure> {
        if spec.entry_point.is_empty() {
            return Err(SpecError::NoProgram.into());
        }
        bounds::check_text("entry_point", &spec.entry_point)?;
        bounds::check_text("working_directory", &spec.working_directory)?;
        container::check_environment(&spec.environment_variables)?;
        let arguments = args::split(&spec.entry_point_args);
        let argv: Vec<_> = std::iter::once(spec.entry_point).chain(arguments).collect();
        container::check_size(&argv, &spec.environment_variables)?;
        Ok(Self {
            argv,
            environment: spec.environment_variables,
            prepend_path: spec.prepend_path.into_iter().filter(|entry| !entry.is_empty()).collect(),
            working_directory: Some(spec.working_directory).filter(|text| !text.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn the_runners_pieces_become_the_arguments_of_docker_mode() {
        let spec = ScriptSpec {
            entry_point: "pwsh".into(),
            entry_point_args: ["-command", "\".", "'/__w/_temp/x.ps1'\""].map(Into::into).into(),
            ..ScriptSpec::default()
        };
        let step = ScriptStep::try_from(spec).unwrap();
        assert_eq!(step.argv, ["pwsh", "-command", ". '/__w/_temp/x.ps1'"]);
    }

    #[test]
    fn a_program_is_needed() {
        let error = ScriptStep::try_from(ScriptSpec::default()).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidInput);
    }
}
