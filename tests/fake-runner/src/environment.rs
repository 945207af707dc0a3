//! How the runner starts a hook: interpreter, environment, working directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::context::{self, Job, StepName};
use crate::layout::{StepFiles, WorkDir};

/// Why the runner would not start a hook.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HookError {
    /// No such file.
    #[error("the hook {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The runner takes three kinds of files.
    #[error("the hook {} ends in none of .sh, .js and .ps1", .0.display())]
    Kind(PathBuf),
    /// The runner pastes the path into a command line.
    #[error("the hook {} has a space in its path", .0.display())]
    Space(PathBuf),
    /// Neither of these programs is on PATH.
    #[error("no {0} on PATH to start the hook with")]
    NoInterpreter(&'static str),
}

/// Environment variables of a process.
pub type Environment = BTreeMap<OsString, OsString>;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments.
    pub arguments: Vec<OsString>,
}

/// The environment of a hook: `inherited` (that of the runner's worker) and the contexts over it.
/// `step` is nothing in cleanup_job. `tracking` is a GUID; `added_path` has the entries that steps
/// wrote to `GITHUB_PATH`, newest first.
pub fn environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    job: &Job,
    work: &WorkDir,
    step: Option<(&StepName, &StepFiles)>,
    tracking: &str,
    added_path: &[String],
) -> Environment {
    let mut environment: Environment = inherited.into_iter().collect();
    let mut variables = context::github(job, work);
    if let Some((name, files)) = step {
        variables.extend(&context::github_step(name, files));
    }
    variables.extend(&context::runner(job, work));
    variables.set("GITHUB_ACTIONS", "true");
    for (name, value) in variables.iter() {
        environment.insert(name.into(), value.into());
    }
    environment.entry("CI".into()).or_insert_with(|| "true".into());
    let tracking = || format!("github_{tracking}").into();
    environment.entry("RUNNER_TRACKING_ID".into()).or_insert_with(tracking);
    if !added_path.is_empty() {
        let mut path = OsString::from(added_path.join(":"));
        if let Some(old) = environment.get(OsStr::new("PATH")) {
            path.push(":");
            path.push(old);
        }
        environment.insert("PATH".into(), path);
    }
    environment
}

/// How the runner starts `hook` by its name's end. Programs are looked up on the hook's own PATH,
/// which steps can change; that is the runner's doing.
///
/// # Errors
///
/// [`HookError`] where the runner would refuse.
pub fn command_line(
    hook: &Path,
    environment: &Environment,
    externals: &str,
) -> Result<CommandLine, HookError> {
    if !hook.is_file() {
        return Err(HookError::Missing(hook.to_owned()));
    }
    if hook.as_os_str().to_string_lossy().contains(' ') {
        return Err(HookError::Space(hook.to_owned()));
    }
    let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
    let script = hook.as_os_str().to_owned();
    match hook.extension().and_then(OsStr::to_str) {
        Some("sh") => {
            let program = which("bash", path).or_else(|| which("sh", path));
            let program = program.ok_or(HookError::NoInterpreter("bash or sh"))?;
            Ok(CommandLine { program, arguments: vec!["-e".into(), script] })
        }
        Some("js") => {
            let program = Path::new(externals).join("node20/bin/node");
            Ok(CommandLine { program, arguments: vec![script] })
        }
        Some("ps1") => {
            let program = which("pwsh", path).or_else(|| which("powershell", path));
            let program = program.ok_or(HookError::NoInterpreter("pwsh or powershell"))?;
            let command = format!(". '{}'", hook.display());
            Ok(CommandLine { program, arguments: vec!["-command".into(), command.into()] })
        }
        _ => Err(HookError::Kind(hook.to_owned())),
    }
}

fn which(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        environment.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    #[test]
    fn the_hook_sees_the_runners_own_paths_and_no_input_or_token() {
        let work = WorkDir::new("/home/runner/_work", "/elsewhere");
        let uses: crate::Uses = "a/b@v1".parse().unwrap();
        let files = StepFiles::named(&work, "g", "r");
        let inherited = pairs(&[("CI", "yes"), ("PATH", "/usr/bin"), ("GITHUB_JOB", "old")]);
        let job = Job::new("octo/demo", "pod-1");
        let seen = environment(
            inherited,
            &job,
            &work,
            Some((&StepName::from(&uses), &files)),
            "t",
            &["/__w/bin".into()],
        );
        for (name, value) in [
            ("CI", "yes"),
            ("PATH", "/__w/bin:/usr/bin"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_JOB", "build"),
            ("GITHUB_WORKSPACE", "/home/runner/_work/demo/demo"),
            ("GITHUB_OUTPUT", "/home/runner/_work/_temp/_runner_file_commands/set_output_g"),
            ("RUNNER_WORKSPACE", "/home/runner/_work/demo"),
            ("RUNNER_NAME", "pod-1"),
            ("RUNNER_TRACKING_ID", "github_t"),
        ] {
            assert_eq!(get(&seen, name), Some(value), "{name}");
        }
        for name in ["ACTIONS_RUNTIME_TOKEN", "HOME"] {
            assert_eq!(get(&seen, name), None);
        }
    }

    #[test]
    fn the_interpreter_follows_from_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hook.sh", "hook.js", "hook", "hook.SH", "a b.sh", "bash"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let environment: Environment =
            pairs(&[("PATH", folder.path().to_str().unwrap())]).into_iter().collect();
        let start = |name: &str| command_line(&folder.path().join(name), &environment, "/ext");
        let shell = start("hook.sh").unwrap();
        assert_eq!(shell.program, folder.path().join("bash"));
        assert_eq!(shell.arguments, ["-e".into(), folder.path().join("hook.sh").into_os_string()]);
        assert_eq!(start("hook.js").unwrap().program, Path::new("/ext/node20/bin/node"));
        for name in ["hook", "hook.SH"] {
            assert!(matches!(start(name), Err(HookError::Kind(_))), "{name}");
        }
        assert!(matches!(start("a b.sh"), Err(HookError::Space(_))));
        assert!(matches!(start("none.sh"), Err(HookError::Missing(_))));
        assert!(matches!(
            command_line(&folder.path().join("hook.sh"), &Environment::new(), "/ext"),
            Err(HookError::NoInterpreter(_))
        ));
    }
}
