//! What a build may push and pull, from its Dockerfile and the settings; and its Job.

use super::{Build, ReadContext};
use crate::config::ProxySource;
use crate::endpoint::EndpointConfig;
use crate::error::Failure;
use crate::objects::build_job::proxy::Proxy;
use crate::objects::build_job::{self, Attempt};
use crate::objects::template::Template;
use crate::objects::template::build::{Placed, place};

/// The settings of the build's registry endpoint.
///
/// # Errors
/// As [`ContextReader::read`](super::ContextReader::read).
pub(super) async fn of(build: &Build<'_>) -> Result<(ReadContext, EndpointConfig), Failure> {
    let read = build.reader().read().await?;
    let registry = &build.env.config.registry;
    let endpoint = EndpointConfig::new(registry, &build.destination, &read.images);
    Ok((read, endpoint))
}

/// The Job of attempt number `attempt`: the builder and its endpoint, with the sidecar's proxy, placed as the
/// template says.
///
/// # Errors
/// No endpoint can be made, or the template makes no pod of it.
pub(super) fn job(
    build: &Build<'_>,
    attempt: u32,
    endpoint: &EndpointConfig,
) -> Result<Placed, Failure> {
    let runner = build.env.runner;
    let config = &build.env.config;
    let attempt = Attempt { step: build.step, number: attempt };
    let (registry, settings) = (&config.registry, &config.build);
    let builder = build.builder();
    let part = builder.part(endpoint, settings);
    let mut job = build_job::job(runner, attempt, part, endpoint, registry, settings)?;
    let proxy = Proxy::of_process().bypassed_for(Some(&build.destination), registry);
    proxy.apply_to_endpoint(&mut job);
    if settings.proxy == ProxySource::Sidecar {
        proxy.apply_to_build(&mut job, |name| builder.build_argument(name));
    }
    place(Template::of(&build.env.template)?.as_ref(), job)
}
