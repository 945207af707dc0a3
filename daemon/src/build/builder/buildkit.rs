//! Facts about BuildKit: its log, and what it is sent. It builds Dockerfiles as docker does, which builds
//! with it.

use serde::Deserialize;

use super::{Builder, LastError, digest, digest_in};
use crate::build::progress::{Progress, is_local};
use crate::cluster::pod::one_line;
use crate::config::BuildConfig;
use crate::dockerfile::{ContextFiles, Dockerfile, DockerfileError, Lowered};
use crate::endpoint::EndpointConfig;
use crate::objects::build_job::{self, Sharing, buildkit};

/// What the script in its container says of the context (`objects/build_job/buildkit.sh`).
const ARRIVED: &str = "hookd: the build context has arrived";
const BROKEN: &str = "hookd: the build context did not arrive whole";
/// How the lines begin of what makes its user namespace, before it reads any context.
const NO_NAMESPACE: &str = "[rootlesskit:";
/// How the last line of `buildctl` begins.
const ERROR: &str = "error: ";
/// What it says of each failure.
const FAILED: &str = "failed to solve: ";
/// How it ends what it says of a `RUN` that failed.
const EXIT_CODE: &str = "did not complete successfully: exit code: ";
/// How a place in the Dockerfile begins.
const PLACE: &str = "Dockerfile:";

/// Runs each instruction in a container of its own.
pub(super) struct BuildKit;

/// What it says of the image that it pushed.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "containerimage.digest")]
    digest: String,
}

impl Builder for BuildKit {
    fn name(&self) -> &'static str {
        "BuildKit"
    }

    fn image<'c>(&self, settings: &'c BuildConfig) -> &'c str {
        &settings.buildkit_image
    }

    fn dockerfile(
        &self,
        dockerfile: &Dockerfile,
        files: &dyn ContextFiles,
        settings: &BuildConfig,
    ) -> Result<Lowered, DockerfileError> {
        dockerfile.as_written(files, settings.buildkit_address.is_some())
    }

    fn uncacheable(&self, _: &Lowered, _: &BuildConfig) -> Option<&'static str> {
        Some("BuildKit has no cache in the registry here")
    }

    fn part(
        &self,
        endpoint: &EndpointConfig,
        settings: &BuildConfig,
        sharing: Sharing,
    ) -> build_job::Builder {
        buildkit::builder(endpoint, settings, sharing)
    }

    fn build_argument(&self, name: &str) -> String {
        buildkit::build_argument(name)
    }

    /// The script says whether the context is whole before it builds anything.
    fn progress(&self, head: &str) -> Progress {
        // What gunzip and tar say of it.
        let mut before = String::new();
        for line in head.lines().map(str::trim_end) {
            match line {
                ARRIVED => return Progress::Decided,
                BROKEN if is_local(&before) => return Progress::Decided,
                BROKEN => return Progress::Incomplete(one_line(&before)),
                _ if line.starts_with(NO_NAMESPACE) => return Progress::Decided,
                _ => before = before + line + "; ",
            }
        }
        Progress::Unknown
    }

    fn last_error(&self, tail: &str) -> Option<LastError> {
        // Whatever a RUN prints has a number or a time before it.
        let lines: Vec<_> = tail.lines().map(str::trim_end).collect();
        let mut own = lines
            .iter()
            .rev()
            .filter(|line| line.starts_with(ERROR) || line.starts_with(NO_NAMESPACE));
        let message = one_line(own.next()?);
        let message = message.trim_start_matches(ERROR).trim_start_matches(FAILED);
        let exit_code = message.rsplit_once(EXIT_CODE).and_then(|(_, code)| code.parse().ok());
        let place = lines.iter().rev().find_map(|line| line.strip_prefix(PLACE)?.parse().ok());
        let line = place.filter(|_| !message.contains(" on line "));
        let message = message.chars().take(600).collect();
        Some(LastError { line, message, exit_code })
    }

    /// `Push` in util/push/push.go: "#8 pushing manifest for <reference>@<digest> 0.1s done", which it says of a
    /// push that failed, too. What a RUN prints has a time after the number.
    fn pushed(&self, line: &str, repository: &str) -> Option<String> {
        let (_, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let rest = rest.strip_prefix("pushing manifest for ")?;
        let (reference, _) = rest.trim_end().strip_suffix("done")?.split_once(' ')?;
        digest_in(reference, repository)
    }

    fn digest(&self, message: &str) -> Option<String> {
        digest(&serde_json::from_str::<Metadata>(message).ok()?.digest)
    }
}

#[cfg(test)]
mod tests;
