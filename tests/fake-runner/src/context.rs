//! The contexts `github` and `runner` as environment variables, with the runner's own paths.
//!
//! Order, names and the made-up values are those of the hook inputs under `tests/fixtures`.

use crate::layout::{FileCommand, StepFiles, WorkDir};
use crate::uses::Uses;
use crate::variables::Variables;

/// What is the same for every step of a job.
#[derive(Clone, Debug)]
pub struct Job {
    /// `owner/repository` that the workflow belongs to.
    pub repository: String,
    /// Name of the runner; under ARC the name of its pod.
    pub runner_name: String,
    /// Where the runner keeps its Node.js: `/home/runner/externals`.
    pub externals: String,
    /// What `RUNNER_ARCH` says: `X64`, `ARM64`.
    pub architecture: String,
    /// Proxy variables of the runner's configuration, for containers that set none themselves.
    pub proxy: Variables,
    /// `ACTIONS_*` variables that the service hands to actions.
    pub service: Variables,
}

impl Job {
    /// A job of `repository` on the runner `runner_name`, with made-up service addresses and a
    /// token that opens nothing.
    pub fn new(repository: impl Into<String>, runner_name: impl Into<String>) -> Self {
        Self {
            repository: repository.into(),
            runner_name: runner_name.into(),
            externals: "/home/runner/externals".to_owned(),
            architecture: architecture().to_owned(),
            proxy: Variables::default(),
            service: Variables::from_iter([
                ("ACTIONS_RUNTIME_URL", "https://pipelines.example.invalid/abc/"),
                ("ACTIONS_RUNTIME_TOKEN", "fake-runtime-token"),
                ("ACTIONS_CACHE_URL", "https://cache.example.invalid/abc/"),
                ("ACTIONS_RESULTS_URL", "https://results.example.invalid/"),
            ]),
        }
    }
}

/// The `GITHUB_*` variables that every step of `job` has.
pub fn github(job: &Job, work: &WorkDir) -> Variables {
    let owner = job.repository.split('/').next().unwrap_or_default();
    let workflow = format!("{}/.github/workflows/ci.yml@refs/heads/main", job.repository);
    let workspace = work.workspace(&job.repository);
    Variables::from_iter([
        ("GITHUB_JOB", "build"),
        ("GITHUB_REF", "refs/heads/main"),
        ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567"),
        ("GITHUB_REPOSITORY", &job.repository),
        ("GITHUB_REPOSITORY_OWNER", owner),
        ("GITHUB_REPOSITORY_OWNER_ID", "1000001"),
        ("GITHUB_RUN_ID", "9000000001"),
        ("GITHUB_RUN_NUMBER", "42"),
        ("GITHUB_RETENTION_DAYS", "90"),
        ("GITHUB_RUN_ATTEMPT", "1"),
        ("GITHUB_REPOSITORY_ID", "2000002"),
        ("GITHUB_ACTOR_ID", "3000003"),
        ("GITHUB_ACTOR", "octocat"),
        ("GITHUB_TRIGGERING_ACTOR", "octocat"),
        ("GITHUB_WORKFLOW", "CI"),
        ("GITHUB_HEAD_REF", ""),
        ("GITHUB_BASE_REF", ""),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_API_URL", "https://api.github.com"),
        ("GITHUB_GRAPHQL_URL", "https://api.github.com/graphql"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_REF_PROTECTED", "false"),
        ("GITHUB_REF_TYPE", "branch"),
        ("GITHUB_WORKFLOW_REF", &workflow),
        ("GITHUB_WORKFLOW_SHA", "0123456789abcdef0123456789abcdef01234567"),
        ("GITHUB_WORKSPACE", &workspace),
    ])
}

/// What a step calls itself.
#[derive(Clone, Debug, Default)]
pub struct StepName {
    /// `GITHUB_ACTION`.
    pub action: String,
    /// `GITHUB_ACTION_REPOSITORY`.
    pub repository: String,
    /// `GITHUB_ACTION_REF`.
    pub reference: String,
    /// `GITHUB_ACTION_PATH`, in a composite action.
    pub path: Option<String>,
}

impl From<&Uses> for StepName {
    fn from(uses: &Uses) -> Self {
        let (repository, reference) = uses.repository_and_reference();
        Self {
            action: uses.github_action(),
            repository: repository.to_owned(),
            reference: reference.to_owned(),
            path: None,
        }
    }
}

/// The `GITHUB_*` variables that a step adds.
pub fn github_step(name: &StepName, files: &StepFiles) -> Variables {
    let mut variables = Variables::from_iter([
        ("GITHUB_ACTION", name.action.as_str()),
        ("GITHUB_EVENT_PATH", &files.event),
        ("GITHUB_ACTION_REPOSITORY", &name.repository),
        ("GITHUB_ACTION_REF", &name.reference),
    ]);
    if let Some(path) = &name.path {
        variables.set("GITHUB_ACTION_PATH", path);
    }
    for command in FileCommand::ALL {
        variables.set(command.variable(), files.command_file(command));
    }
    variables
}

/// The `RUNNER_*` variables.
pub fn runner(job: &Job, work: &WorkDir) -> Variables {
    let name = job.repository.rsplit('/').next().unwrap_or_default();
    Variables::from_iter([
        ("RUNNER_OS", "Linux"),
        ("RUNNER_ARCH", &job.architecture),
        ("RUNNER_NAME", &job.runner_name),
        ("RUNNER_ENVIRONMENT", "self-hosted"),
        ("RUNNER_TOOL_CACHE", &work.path("_tool")),
        ("RUNNER_TEMP", &work.temp()),
        ("RUNNER_WORKSPACE", &work.path(name)),
    ])
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "ARM64",
        "arm" => "ARM",
        "x86" => "X86",
        _ => "X64",
    }
}
