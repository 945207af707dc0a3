//! What the builds on a runner share.

use std::path::Path;

use crate::build::cache::BuildCache;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names::origin::Origin;
use crate::policy::Policy;
use crate::registry::client::RegistryClient;
use crate::registry::destination::{self, Destination};
use crate::runner::{HookTemplate, Runner};
use crate::session::remembered::RememberedSteps;
use crate::session::warnings::Warnings;

/// What the builds on a runner share.
pub struct BuildEnvironment<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The runner's namespace.
    pub cluster: &'a Cluster,
    /// The runner pod.
    pub runner: &'a Runner,
    /// Where the administrator's template for pods is; each Job reads it anew.
    pub template: HookTemplate,
    /// The administrator's policy, for the images that Dockerfiles name.
    pub policy: Option<Policy>,
    /// The images that the job has built.
    pub cache: &'a BuildCache,
    /// The client for registries; none: hookd asks none.
    pub registry: Option<&'a RegistryClient>,
    /// Where a build's tag is remembered before it is pushed.
    pub built_tags: &'a RememberedSteps,
    /// The warnings that the job's user has read.
    pub warnings: &'a Warnings,
    /// The build may share layers with those of other trusted events: see [`trust`](super::trust).
    pub is_trusted: bool,
    /// The job that the build's objects are made for.
    pub origin: Origin,
}

impl BuildEnvironment<'_> {
    /// Where the image of a step's Dockerfile goes.
    pub(super) fn destination(
        &self,
        step: &StepId,
        dockerfile: &Path,
    ) -> Result<Destination, Failure> {
        let path = dockerfile.strip_prefix(&self.config.work_dir).unwrap_or(dockerfile);
        destination::of_step(&self.config.registry, &self.runner.uid, step, path)
    }
}
