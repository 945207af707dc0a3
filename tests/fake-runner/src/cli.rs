//! The program's arguments.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fake_runner::{Job, Prepared, Runner, Stage, Step, Uses, Variables, WorkDir};
use serde_json::Value;

use crate::Failure;

/// Behaves towards a container hook as the GitHub Actions runner does.
#[derive(Parser)]
#[command(name = "fake-runner")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CommandName,
}

#[derive(Subcommand)]
pub(crate) enum CommandName {
    /// Run one step that uses a container action: call the hook, read back what the step left.
    Run(StepArgs),
    /// Make the files and the input for such a step; print shell lines that set its environment.
    Prepare(StepArgs),
    /// Call the hook's cleanup_job.
    Cleanup(CleanupArgs),
}

#[derive(Args)]
pub(crate) struct Call {
    /// The hook: a file that ends in .sh, .js or .ps1
    #[arg(long, env = "ACTIONS_RUNNER_CONTAINER_HOOKS", value_name = "FILE")]
    hook: PathBuf,
    /// The runner's work directory where this process finds it
    #[arg(long, default_value = "/home/runner/_work", value_name = "FOLDER")]
    work: PathBuf,
    /// The work directory as the runner calls it, if that differs
    #[arg(long, value_name = "FOLDER")]
    runner_work: Option<String>,
    /// Where the runner has its Node.js
    #[arg(long, default_value = "/home/runner/externals", value_name = "FOLDER")]
    externals: String,
    /// The repository that the workflow belongs to
    #[arg(long, default_value = "octo/demo", value_name = "OWNER/NAME")]
    repo: String,
    /// Name of the runner
    #[arg(long, env = "ACTIONS_RUNNER_POD_NAME", default_value = "runner", value_name = "NAME")]
    runner_name: String,
    /// An entry that a step wrote to GITHUB_PATH; newest first
    #[arg(long = "add-path", value_name = "FOLDER")]
    added_path: Vec<String>,
    /// What the hook last answered as its state
    #[arg(long, default_value = "null", value_name = "JSON", value_parser = json)]
    state: Value,
    /// Cancel after so many seconds, as a time-out of the step does
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cancel_after: Option<f64>,
    /// Write what was read back to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) result: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct StepArgs {
    #[command(flatten)]
    pub(crate) call: Call,
    /// Folder of the action; it is copied to where the runner downloads actions to
    #[arg(long, value_name = "FOLDER", required_unless_present = "uses")]
    action: Option<PathBuf>,
    /// What the step uses [default: demo/<name of the folder>@v1]
    #[arg(long, value_name = "OWNER/NAME[/PATH]@REF | ./PATH | docker://IMAGE")]
    uses: Option<Uses>,
    /// An input
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(String, String)>,
    /// A variable of the env context
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// A value that the action saved through GITHUB_STATE before
    #[arg(long = "saved", value_name = "NAME=VALUE", value_parser = pair)]
    saved: Vec<(String, String)>,
    /// Which of the action's entrypoints
    #[arg(long, value_enum, default_value_t = StageName::Main)]
    stage: StageName,
    /// Empty _temp and _actions first, as at the start of a job
    #[arg(long)]
    new_job: bool,
}

#[derive(Args)]
pub(crate) struct CleanupArgs {
    #[command(flatten)]
    pub(crate) call: Call,
}

#[derive(Clone, Copy, ValueEnum)]
enum StageName {
    Pre,
    Main,
    Post,
}

impl Call {
    fn runner(&self) -> Result<Runner, Failure> {
        let local = std::path::absolute(&self.work)?;
        let runner_work = match &self.runner_work {
            Some(path) => path.clone(),
            None => local.to_str().ok_or("the work directory's path is no UTF-8")?.to_owned(),
        };
        let mut job = Job::new(self.repo.as_str(), self.runner_name.as_str());
        job.externals.clone_from(&self.externals);
        let work = WorkDir::new(runner_work, local);
        let mut runner = Runner::new(work, job, std::path::absolute(&self.hook)?);
        runner.added_path.clone_from(&self.added_path);
        Ok(runner)
    }
}

impl StepArgs {
    pub(crate) fn prepare(&self) -> Result<Prepared, Failure> {
        let runner = self.call.runner()?;
        if self.new_job {
            runner.layout().start_job()?;
        }
        let step = Step {
            source: self.action.clone(),
            stage: match self.stage {
                StageName::Pre => Stage::Pre,
                StageName::Main => Stage::Main,
                StageName::Post => Stage::Post,
            },
            with: self.inputs.clone(),
            env: Variables::from_iter(self.env.iter().cloned()),
            saved: Variables::from_iter(self.saved.iter().cloned()),
            state: self.call.state.clone(),
            ..Step::new(self.uses()?)
        };
        Ok(runner.prepare_container_step(&step)?)
    }

    fn uses(&self) -> Result<Uses, Failure> {
        if let Some(uses) = &self.uses {
            return Ok(uses.clone());
        }
        let folder = self.action.as_deref().unwrap_or(".".as_ref()).canonicalize()?;
        let name = folder.file_name().and_then(|name| name.to_str());
        Ok(format!("demo/{}@v1", name.ok_or("the action's folder has no plain name")?).parse()?)
    }
}

impl CleanupArgs {
    pub(crate) fn prepare(&self) -> Result<Prepared, Failure> {
        Ok(self.call.runner()?.prepare_cleanup(self.call.state.clone())?)
    }
}

/// Prints what a shell needs to make the call itself:
/// `eval "$(fake-runner prepare ...)"; cd "$hook_directory"; bash -e hook.sh < "$hook_input"`.
pub(crate) fn print_shell(prepared: &Prepared, out: &mut impl Write) -> Result<(), Failure> {
    let input = prepared.write_input()?;
    for (name, value) in [
        ("hook_input", input.display().to_string()),
        ("hook_directory", prepared.process.directory.display().to_string()),
        ("hook_response", prepared.files.response.clone()),
    ] {
        writeln!(out, "{name}={}", quoted(&value))?;
    }
    let inherited: Vec<_> = std::env::vars_os().collect();
    for (name, value) in &prepared.process.environment {
        if !inherited.iter().any(|(known, old)| known == name && old == value) {
            writeln!(
                out,
                "export {}={}",
                name.to_string_lossy(),
                quoted(&value.to_string_lossy())
            )?;
        }
    }
    Ok(out.flush()?)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Not left to clap, which would take any text for a JSON string.
fn json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

fn pair(text: &str) -> Result<(String, String), io::Error> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(io::Error::other("it must be NAME=VALUE")),
    }
}
