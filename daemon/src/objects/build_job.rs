//! The Job that builds an image, without privileges: a builder, or the client of one elsewhere, and its
//! registry endpoint.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSecurityContext, PodSpec, ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::{BuildConfig, RegistryConfig};
use crate::endpoint::EndpointConfig;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::docker::args;
use crate::objects::error::SpecError;
use crate::objects::metadata::{self, Component};
use crate::objects::registry_endpoint;
use crate::objects::step_job;
use crate::runner::Runner;

pub mod buildkit;
mod buildkitd;
pub mod kaniko;
pub mod proxy;

/// How the arguments begin by which builders are told where the image goes.
const DESTINATIONS: [&str; 2] = [kaniko::DESTINATION, buildkit::DESTINATION];

/// What differs between the pods of builders.
#[derive(Clone, Debug)]
pub struct Builder {
    /// Its container, but for its name, standard input and resources.
    pub container: Container,
    /// What it mounts.
    pub volumes: Vec<Volume>,
    /// As of a pod's specification.
    pub host_users: Option<bool>,
    /// How it reaches registries.
    pub registries: RegistryAccess,
}

/// How a builder reaches registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryAccess {
    /// By the endpoint beside it, which alone has credentials.
    Endpoint,
    /// Itself, with the credentials of its build alone.
    Direct,
}

/// Whose layers a build may use that its builder keeps for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Those of builds of trusted events: see `build/trust.rs`.
    pub is_trusted: bool,
    /// None.
    pub no_cache: bool,
}

/// One attempt at a build: each has a Job of its own.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The step whose image is built.
    pub step: &'a StepId,
    /// Attempts before this one.
    pub number: u32,
}

/// The Job of an attempt. Its builder waits for the context on standard input.
///
/// # Errors
/// See [`registry_endpoint::endpoint`]; a buildkitd without a certificate for it.
pub fn job(
    runner: &Runner,
    attempt: Attempt<'_>,
    builder: Builder,
    endpoint: &EndpointConfig,
    registry: &RegistryConfig,
    build: &BuildConfig,
) -> Result<Job, Failure> {
    let beside = match (builder.registries, &build.buildkit_tls_secret) {
        (RegistryAccess::Endpoint, _) => {
            Some(registry_endpoint::endpoint(runner, endpoint, registry)?)
        }
        (RegistryAccess::Direct, Some(_)) => {
            registry_endpoint::credentials(runner, endpoint, registry)?
        }
        (RegistryAccess::Direct, None) => {
            let address = build.buildkit_address.clone().unwrap_or_default();
            return Err(SpecError::NoBuildkitCertificate { address }.into());
        }
    };
    let (beside, volumes) = beside.map(|one| (one.container, one.volumes)).unzip();
    let container = Container {
        name: names::BUILD_CONTAINER.to_owned(),
        stdin: Some(true),
        stdin_once: Some(true),
        resources: Some(resources(build)),
        ..builder.container
    };
    let pod = PodSpec {
        init_containers: beside.map(|container| vec![container]),
        containers: vec![container],
        volumes: Some(volumes.into_iter().flatten().chain(builder.volumes).collect()),
        image_pull_secrets: step_job::pull_secrets(runner, registry.secret.as_deref()),
        host_users: builder.host_users,
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(step_job::runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..step_job::base_pod()
    };
    let name = names::build(&runner.name, attempt.step, attempt.number);
    let metadata = metadata::of_step(runner, attempt.step, &name, Component::Build);
    Ok(step_job::one_pod_job(metadata, pod, build.timeout))
}

/// True of a builder's argument that only says where the image goes, or how much memory it takes to make.
pub fn is_destination(argument: &str) -> bool {
    argument == kaniko::NOT_IN_MEMORY
        || DESTINATIONS.iter().any(|start| argument.starts_with(start))
}

fn quoted(arguments: &[String]) -> Option<Vec<String>> {
    Some(arguments.iter().map(|argument| args::quote_dollars(argument)).collect())
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn resources(build: &BuildConfig) -> ResourceRequirements {
    let quantities = |pairs: [(&str, &str); 3]| {
        Some(pairs.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into())
    };
    ResourceRequirements {
        limits: quantities([
            ("cpu", &build.cpu),
            ("memory", &build.memory),
            ("ephemeral-storage", &build.ephemeral_storage),
        ]),
        requests: quantities([("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "64Mi")]),
        ..ResourceRequirements::default()
    }
}

#[cfg(test)]
mod tests;
