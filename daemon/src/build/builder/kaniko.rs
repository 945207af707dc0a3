//! Facts about Kaniko: its log, and what it is sent in a Dockerfile's place.

use super::{Builder, LastError, digest, digest_in};
use crate::build::progress::{Progress, is_local, plain};
use crate::cluster::pod::one_line;
use crate::config::BuildConfig;
use crate::dockerfile::{self, ContextFiles, Dockerfile, DockerfileError, Lowered};
use crate::endpoint::EndpointConfig;
use crate::objects::build_job::{self, Sharing, kaniko};

/// How the last message of Kaniko begins once it has its context.
const LATER_ERRORS: [&str; 6] = [
    "error building image",
    "error changing to root dir",
    "error checking push permission",
    "error pushing image",
    "error resolving relative paths",
    "kaniko should only be run inside of a container",
];
/// How lines begin that Kaniko writes once it has its context.
const LATER_LINES: [&str; 10] = [
    "Built cross stage deps",
    "Building stage",
    "Executing ",
    "Found cached layer",
    "Resolved base name",
    "Retrieving image",
    "Returning cached image",
    "Storing source image",
    "Unpacking rootfs",
    "Using dockerignore file",
];

/// Its phrase for a base image that it did not get, whatever the reason.
pub(in crate::build) const NO_IMAGE: &str = "image not found on";

/// Unpacks the base image onto its own root and runs the instructions there.
pub(super) struct Kaniko;

impl Builder for Kaniko {
    fn name(&self) -> &'static str {
        "Kaniko"
    }

    fn image<'c>(&self, settings: &'c BuildConfig) -> &'c str {
        &settings.kaniko_image
    }

    fn dockerfile(
        &self,
        dockerfile: &Dockerfile,
        files: &dyn ContextFiles,
        settings: &BuildConfig,
    ) -> Result<Lowered, DockerfileError> {
        dockerfile.lower(files, dockerfile::Builder::of_image(&settings.kaniko_image))
    }

    fn uncacheable(&self, lowered: &Lowered, settings: &BuildConfig) -> Option<&'static str> {
        lowered.uncacheable(dockerfile::Builder::of_image(&settings.kaniko_image))
    }

    fn part(
        &self,
        endpoint: &EndpointConfig,
        settings: &BuildConfig,
        _: Sharing,
    ) -> build_job::Builder {
        kaniko::builder(endpoint, settings)
    }

    fn build_argument(&self, name: &str) -> String {
        kaniko::build_argument(name)
    }

    /// It unpacks the whole context before it runs anything of the Dockerfile. So the first line of its log
    /// that decides is its own: a `RUN` may print what it likes, but it prints it later.
    fn progress(&self, head: &str) -> Progress {
        let plain = plain(head);
        plain.lines().find_map(decisive).unwrap_or(Progress::Unknown)
    }

    fn last_error(&self, tail: &str) -> Option<LastError> {
        let tail = &plain(tail);
        let message = error_line(tail)?;
        let message = match registry_message(tail) {
            Some(cause) if message.contains(NO_IMAGE) => format!("{message}: {cause}"),
            _ => message,
        };
        Some(LastError { line: None, exit_code: run_exit_code(&message), message })
    }

    /// `DoPush` in pkg/executor/push.go: what comes after it writes nothing here.
    fn pushed(&self, line: &str, repository: &str) -> Option<String> {
        let line = plain(line);
        let (_, reference) = line.rsplit_once("Pushed ")?;
        digest_in(reference, repository)
    }

    fn digest(&self, message: &str) -> Option<String> {
        digest(message)
    }
}

/// What a line says of the context; nothing for lines that may come before and after it.
fn decisive(line: &str) -> Option<Progress> {
    let (is_fatal, message) = match line.trim_end().split_once("] ") {
        Some((level, message)) if is_level(level) => (level.starts_with("FATA"), message),
        _ => (false, line.trim_end()),
    };
    // What the command line's parser prints comes before anything is built.
    let early = message.strip_prefix("Error: ");
    let early = early.or(is_fatal.then_some(message));
    let context = ["error resolving source context", "error resolving dockerfile path"];
    match early {
        // hookd sends no context without its Dockerfile.
        Some(message) if context.iter().any(|mark| message.starts_with(mark)) => {
            let local = is_local(message);
            let message: String = message.chars().take(300).collect();
            Some(if local { Progress::Decided } else { Progress::Incomplete(message) })
        }
        Some(_) => Some(Progress::Decided),
        None => {
            let marks = LATER_ERRORS.iter().chain(&LATER_LINES);
            marks.into_iter().any(|mark| message.starts_with(mark)).then_some(Progress::Decided)
        }
    }
}

/// "INFO[0003"
fn is_level(text: &str) -> bool {
    let Some((level, seconds)) = text.split_once('[') else { return false };
    let levels = ["TRAC", "DEBU", "INFO", "WARN", "ERRO", "FATA", "PANI"];
    levels.contains(&level) && seconds.bytes().all(|byte| byte.is_ascii_digit())
}

/// The registry's own message: for mapped and mirrored registries Kaniko has it in a warning only.
fn registry_message(tail: &str) -> Option<String> {
    let warning =
        tail.lines().rev().find_map(|line| line.split_once("Failed to retrieve image "))?;
    let (message, _) = warning.1.split_once(". Will try").unwrap_or((warning.1, ""));
    Some(one_line(message))
}

/// Its own last error.
fn error_line(tail: &str) -> Option<String> {
    let line = tail.lines().rev().find(|line| {
        let line = line.trim_start();
        ["error ", "Error", "FATA["].iter().any(|start| line.starts_with(start))
    })?;
    let line = one_line(line);
    let message = line.trim().strip_prefix("FATA[").and_then(|fatal| fatal.split_once("] "));
    let message = message.map_or(line.trim(), |(_, message)| message);
    let message = message.trim_start_matches("error building image: ");
    Some(message.chars().take(600).collect())
}

/// The exit code of a failed RUN.
fn run_exit_code(message: &str) -> Option<i32> {
    let (_, code) = message.split_once("failed to execute command: ")?;
    code.rsplit_once("exit status ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests;
