//! The files that the runner has around a step.

mod tree;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::uses::Uses;
use tree::Tree;

/// A file or folder that could not be made.
#[derive(Debug, Error)]
#[error("cannot {operation} {}", path.display())]
pub struct LayoutError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LayoutError {
    fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { operation, path, source }
    }
}

/// The runner's work directory: by the name that the runner has for it, and where this process
/// finds it, for instance the same volume mounted elsewhere.
#[derive(Clone, Debug)]
pub struct WorkDir {
    runner: String,
    local: PathBuf,
}

impl WorkDir {
    /// The directory that the runner calls `runner` (absolute) and this process `local`.
    pub fn new(runner: impl Into<String>, local: impl Into<PathBuf>) -> Self {
        let runner: String = runner.into();
        Self { runner: runner.trim_end_matches('/').to_owned(), local: local.into() }
    }

    /// `name` in the work directory, as the runner calls it.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.runner)
    }

    /// The directory itself, as the runner calls it.
    pub fn root(&self) -> &str {
        &self.runner
    }

    /// `_temp`, as the runner calls it.
    pub fn temp(&self) -> String {
        self.path("_temp")
    }

    /// The workspace of `owner/repository`, as the runner calls it.
    pub fn workspace(&self, repository: &str) -> String {
        let name = repository.rsplit('/').next().unwrap_or_default();
        self.path(&format!("{name}/{name}"))
    }

    /// Where this process finds what the runner calls `path`. Paths outside the work directory are
    /// taken to be the same for both.
    pub fn local(&self, path: &str) -> PathBuf {
        match Path::new(path).strip_prefix(&self.runner) {
            Ok(inside) => self.local.join(inside),
            Err(_) => PathBuf::from(path),
        }
    }
}

/// The files through which a step tells the runner something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCommand {
    /// `GITHUB_PATH`.
    AddPath,
    /// `GITHUB_ENV`.
    SetEnv,
    /// `GITHUB_STEP_SUMMARY`.
    StepSummary,
    /// `GITHUB_STATE`.
    SaveState,
    /// `GITHUB_OUTPUT`.
    SetOutput,
    /// `GITHUB_ARTIFACTS`.
    Artifacts,
    /// `GITHUB_ARTIFACTS_LIST`: the runner fills it before the step; here it stays empty.
    ArtifactsList,
}

impl FileCommand {
    /// All of them in the runner's order.
    pub const ALL: [Self; 7] = [
        Self::AddPath,
        Self::SetEnv,
        Self::StepSummary,
        Self::SaveState,
        Self::SetOutput,
        Self::Artifacts,
        Self::ArtifactsList,
    ];

    /// The variable that names the file.
    pub fn variable(self) -> &'static str {
        self.names().0
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::AddPath => ("GITHUB_PATH", "add_path_"),
            Self::SetEnv => ("GITHUB_ENV", "set_env_"),
            Self::StepSummary => ("GITHUB_STEP_SUMMARY", "step_summary_"),
            Self::SaveState => ("GITHUB_STATE", "save_state_"),
            Self::SetOutput => ("GITHUB_OUTPUT", "set_output_"),
            Self::Artifacts => ("GITHUB_ARTIFACTS", "artifacts_"),
            Self::ArtifactsList => ("GITHUB_ARTIFACTS_LIST", "artifacts_list_"),
        }
    }
}

/// Where one step's files are, as the runner calls them.
#[derive(Clone, Debug)]
pub struct StepFiles {
    /// Folder of the file commands.
    commands: String,
    /// What the names of this step's file commands end in.
    guid: String,
    /// The event that started the workflow.
    pub event: String,
    /// Where the hook is to write its response.
    pub response: String,
}

impl StepFiles {
    /// Names for a step in `work`; `guid` and `response_guid` tell it from other steps.
    pub fn named(work: &WorkDir, guid: &str, response_guid: &str) -> Self {
        Self {
            commands: work.path("_temp/_runner_file_commands"),
            guid: guid.to_owned(),
            event: work.path("_temp/_github_workflow/event.json"),
            response: work.path(&format!("_temp/_runner_hook_responses/{response_guid}.json")),
        }
    }

    /// The file of `command`, as the runner calls it.
    pub fn command_file(&self, command: FileCommand) -> String {
        format!("{}/{}{}", self.commands, command.names().1, self.guid)
    }
}

/// Makes the runner's files under a work directory. As root it gives them to uid and gid 1001, the
/// user of the runner's image.
#[derive(Clone, Debug)]
pub struct Layout {
    work: WorkDir,
    repository: String,
    tree: Tree,
}

impl Layout {
    /// The files of a job of `repository` in `work`. Nothing is made yet.
    pub fn new(work: WorkDir, repository: impl Into<String>) -> Self {
        Self { work, repository: repository.into(), tree: Tree::new() }
    }

    /// The work directory.
    pub fn work(&self) -> &WorkDir {
        &self.work
    }

    /// Empties `_temp` and `_actions`, as the runner does when a job starts. Not for a directory in
    /// which another step runs.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if something cannot be removed.
    pub fn start_job(&self) -> Result<(), LayoutError> {
        for name in ["_temp", "_actions"] {
            self.tree.remove(&self.work.local(&self.work.path(name)))?;
        }
        Ok(())
    }

    /// Makes the folders of the job that are not there.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if one cannot be made.
    pub fn make_folders(&self) -> Result<(), LayoutError> {
        let mapping = format!("_PipelineMapping/{}", self.repository);
        for name in [
            "_actions",
            "_tool",
            "_temp/_github_home",
            "_temp/_github_workflow",
            "_temp/_runner_file_commands",
            "_temp/_runner_hook_responses",
            &mapping,
        ] {
            self.tree.make_folder(&self.work.local(&self.work.path(name)))?;
        }
        self.tree.make_folder(&self.work.local(&self.work.workspace(&self.repository)))?;
        let mapping = self.work.path(&format!("{mapping}/PipelineFolder.json"));
        self.tree.write(&self.work.local(&mapping), "{}")
    }

    /// Copies the action in `source` to where the runner downloads `uses` to, in place of what is
    /// there, and returns that folder as the runner calls it. An image has no folder.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if something cannot be copied.
    pub fn place_action(&self, uses: &Uses, source: &Path) -> Result<Option<String>, LayoutError> {
        let Some(folder) = self.action_folder(uses) else { return Ok(None) };
        self.tree.replace(source, &self.work.local(&folder))?;
        if let Uses::Repository { repository, reference, .. } = uses {
            let marker = self.work.path(&format!("_actions/{repository}/{reference}.completed"));
            self.tree.write(&self.work.local(&marker), "")?;
        }
        Ok(Some(folder))
    }

    /// Where the runner has the action that `uses` names, as the runner calls it.
    pub fn action_folder(&self, uses: &Uses) -> Option<String> {
        match uses {
            Uses::Repository { repository, path, reference } => {
                let folder = self.work.path(&format!("_actions/{repository}/{reference}"));
                Some(if path.is_empty() { folder } else { format!("{folder}/{path}") })
            }
            Uses::Local { path } => {
                Some(format!("{}/{path}", self.work.workspace(&self.repository)))
            }
            Uses::Image { .. } => None,
        }
    }

    /// Writes a file that the runner calls `path`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<(), LayoutError> {
        self.tree.write(&self.work.local(path), text)
    }

    /// Makes the files of one step: event, file commands, empty response.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if one cannot be made.
    pub fn make_step_files(&self) -> Result<StepFiles, LayoutError> {
        let files = StepFiles::named(&self.work, &guid()?, &guid()?);
        let event = format!(
            "{{\"ref\":\"refs/heads/main\",\"repository\":{{\"full_name\":\"{}\"}}}}",
            self.repository
        );
        self.tree.write(&self.work.local(&files.event), &event)?;
        for command in FileCommand::ALL {
            self.tree.write(&self.work.local(&files.command_file(command)), "")?;
        }
        self.tree.write(&self.work.local(&files.response), "")?;
        Ok(files)
    }
}

/// A random (version 4) GUID.
///
/// # Errors
///
/// [`LayoutError`] without a `/dev/urandom`.
pub fn guid() -> Result<String, LayoutError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    fs::File::open(source)
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(LayoutError::of("read", source))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests;
