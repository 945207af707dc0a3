//! What builds images: Kaniko or BuildKit. All that differs between both stands behind one trait.

use crate::build::progress::Progress;
use crate::config::{BuildConfig, BuilderKind};
use crate::dockerfile::{ContextFiles, Dockerfile, DockerfileError, Lowered};
use crate::endpoint::EndpointConfig;
use crate::objects::build_job::{self, Sharing};
use crate::registry::digest::is_digest;

mod buildkit;
mod kaniko;

pub(super) use kaniko::NO_IMAGE;

/// Kaniko: it alone builds where the image is to run.
pub const KANIKO: &dyn Builder = &kaniko::Kaniko;
/// BuildKit.
pub(super) const BUILDKIT: &dyn Builder = &buildkit::BuildKit;

/// A program that makes an image of a Dockerfile and a context.
pub trait Builder: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its image.
    fn image<'c>(&self, settings: &'c BuildConfig) -> &'c str;

    /// What it is to build so that the image is docker's.
    ///
    /// # Errors
    /// What docker refuses, and what it would build wrongly without a trace.
    fn dockerfile(
        &self,
        dockerfile: &Dockerfile,
        files: &dyn ContextFiles,
        settings: &BuildConfig,
    ) -> Result<Lowered, DockerfileError>;

    /// Why no layer of what it builds may be taken from a cache; none: each may.
    fn uncacheable(&self, lowered: &Lowered, settings: &BuildConfig) -> Option<&'static str>;

    /// Its part of the build's pod.
    fn part(
        &self,
        endpoint: &EndpointConfig,
        settings: &BuildConfig,
        sharing: Sharing,
    ) -> build_job::Builder;

    /// The argument by which it takes a build argument of this name from its environment.
    fn build_argument(&self, name: &str) -> String;

    /// How far it came with its context, from the beginning of its log.
    fn progress(&self, head: &str) -> Progress;

    /// Why it failed, from the end of its log; none: the log does not say.
    fn last_error(&self, tail: &str) -> Option<LastError>;

    /// The digest of the image that it has just pushed to this repository, if this line of its log says so. It
    /// pushes cached layers elsewhere.
    fn pushed(&self, line: &str, repository: &str) -> Option<String>;

    /// The digest of the image that it pushed, from its termination message; none: it is none.
    fn digest(&self, message: &str) -> Option<String>;
}

/// A builder's own last error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastError {
    /// The line of the Dockerfile, if the builder names one and the message does not.
    pub line: Option<u32>,
    /// The message.
    pub message: String,
    /// Of a `RUN` that failed.
    pub exit_code: Option<i32>,
}

/// The builder of the settings, for a build in a pod of its own.
pub fn of(settings: &BuildConfig) -> &'static dyn Builder {
    match settings.builder {
        BuilderKind::Kaniko => KANIKO,
        BuilderKind::BuildKit => BUILDKIT,
    }
}

/// The digest of an image of this repository, whatever its registry is called.
fn digest_in(reference: &str, repository: &str) -> Option<String> {
    let (name, of) = reference.rsplit_once('@')?;
    let (path, last) = name.rsplit_once('/')?;
    let last = last.split_once(':').map_or(last, |(last, _)| last);
    let is_there = format!("{path}/{last}").ends_with(&format!("/{repository}"));
    digest(of).filter(|_| is_there)
}

/// A digest, if the text is one: a `RUN` may write it, too.
fn digest(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| is_digest(text)).map(str::to_owned)
}
