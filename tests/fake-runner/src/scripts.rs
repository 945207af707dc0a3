//! `run:` steps and JavaScript actions: what the job container is to start.

use crate::Stage;
use crate::context::{self, Job, StepName};
use crate::definition::JavaScript;
use crate::input::Script;
use crate::input::translation::Translation;
use crate::inputs::Inputs;
use crate::layout::{StepFiles, WorkDir};
use crate::variables::Variables;

/// What every script of a job shares.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) job: &'a Job,
    pub(crate) work: &'a WorkDir,
    /// Entries of `GITHUB_PATH`, the newest first.
    pub(crate) path: &'a [String],
    pub(crate) name: &'a StepName,
    pub(crate) files: &'a StepFiles,
    /// The env context.
    pub(crate) env: &'a Variables,
}

/// The program of `shell:`, the line of its arguments and the end of its script's name.
pub(crate) fn shell(shell: Option<&str>, file: &str) -> (String, String) {
    let line = match shell.unwrap_or("sh") {
        "bash" => "bash --noprofile --norc -e -o pipefail {0}",
        "sh" => "sh -e {0}",
        "pwsh" => "pwsh -command \". '{0}'\"",
        "python" => "python {0}",
        own => own,
    };
    let (program, arguments) = line.split_once(' ').unwrap_or((line, ""));
    (program.to_owned(), arguments.replace("{0}", file))
}

/// The end of a script's name.
pub(crate) fn extension(shell: Option<&str>) -> &'static str {
    match shell.unwrap_or("sh") {
        "bash" | "sh" => ".sh",
        "pwsh" => ".ps1",
        "python" => ".py",
        _ => "",
    }
}

impl Surroundings<'_> {
    /// A `run:` step whose script lies in `file`.
    pub(crate) fn run(&self, shell_name: Option<&str>, file: &str, directory: &str) -> Script {
        let (program, line) = shell(shell_name, &self.in_container(file));
        self.script(program, &line, self.env.clone(), &Variables::default(), directory)
    }

    /// One stage of a JavaScript action in `folder`.
    pub(crate) fn java_script(
        &self,
        (action, folder, is_alpine): (&JavaScript, &str, bool),
        (stage, inputs, saved): (Stage, &Inputs, &Variables),
    ) -> Script {
        let alpine = if is_alpine { "_alpine" } else { "" };
        let program = format!("/__e/{}{alpine}/bin/node", action.using);
        let file = format!("{folder}/{}", action.file(stage).unwrap_or_default());
        let mut env = self.env.clone();
        for (name, value) in saved.iter() {
            env.set(format!("STATE_{name}"), value);
        }
        for (name, value) in inputs.variables() {
            env.set(name, value);
        }
        let mut service = self.job.service.clone();
        service.set("ACTIONS_CACHE_SERVICE_V2", "True");
        let workspace = self.work.workspace(&self.job.repository);
        self.script(program, &self.in_container(&file), env, &service, &workspace)
    }

    fn script(
        &self,
        entry_point: String,
        line: &str,
        mut variables: Variables,
        more: &Variables,
        directory: &str,
    ) -> Script {
        variables.extend(&context::github(self.job, self.work));
        variables.extend(&context::github_step(self.name, self.files));
        variables.extend(&context::runner(self.job, self.work));
        variables.extend(more);
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| (name, self.in_container(value)));
        Script {
            entry_point_args: line.split(' ').map(|piece| piece.trim().to_owned()).collect(),
            entry_point,
            environment_variables: variables.collect(),
            prepend_path: self.path.to_vec(),
            working_directory: self.in_container(directory),
        }
    }

    fn in_container(&self, value: &str) -> String {
        Translation::of_job(self.work, &self.job.externals).to_container(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_get_their_scripts_as_the_runner_gives_them() {
        let line = |name| shell(name, "/f");
        let owned = |program: &str, line: &str| (program.to_owned(), line.to_owned());
        assert_eq!(line(None), owned("sh", "-e /f"));
        assert_eq!(line(Some("bash")), owned("bash", "--noprofile --norc -e -o pipefail /f"));
        assert_eq!(line(Some("pwsh")), owned("pwsh", "-command \". '/f'\""));
        assert_eq!(line(Some("perl -w {0} x")), owned("perl", "-w /f x"));
        assert_eq!((extension(Some("pwsh")), extension(Some("perl {0}"))), (".ps1", ""));
    }
}
