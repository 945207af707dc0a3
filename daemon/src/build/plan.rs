//! What a build may push and pull, from its Dockerfile and the settings; and its Job.

use super::{Build, reading};
use crate::build::context::BuildContext;
use crate::build::dockerfile;
use crate::build::error::BuildError;
use crate::config::ProxySource;
use crate::endpoint::EndpointConfig;
use crate::error::Failure;
use crate::objects::build_job::proxy::Proxy;
use crate::objects::build_job::{self, Attempt};
use crate::objects::template::Template;
use crate::objects::template::build::{Placed, place};

/// The settings of the build's registry endpoint; the context is read on a thread of its own.
///
/// # Errors
/// A Dockerfile that cannot be read, or whose images cannot be determined.
pub(super) async fn of(
    build: &Build<'_>,
    source: BuildContext,
) -> Result<(BuildContext, EndpointConfig), Failure> {
    let read = build.on_thread(move || {
        let text = source.read_dockerfile(dockerfile::LIMIT).map_err(reading::failure)?;
        Ok::<_, Failure>((source, dockerfile::images(&text)))
    });
    let (source, images) = read.await??;
    let images = images.map_err(|source| {
        let dockerfile = build.dockerfile.to_owned();
        BuildError::ImagesUnknown { dockerfile, source }
    })?;
    let registry = &build.env.config.registry;
    Ok((source, EndpointConfig::new(registry, &build.destination, &images)))
}

/// The Job of attempt number `attempt`: Kaniko and its endpoint, with the sidecar's proxy, placed as the
/// template says.
///
/// # Errors
/// No endpoint can be made, or the template makes no pod of it.
pub(super) fn job(
    build: &Build<'_>,
    attempt: u32,
    dockerfile: &str,
    endpoint: &EndpointConfig,
) -> Result<Placed, Failure> {
    let runner = build.env.runner;
    let config = &build.env.config;
    let attempt = Attempt { step: build.step, number: attempt };
    let (registry, settings) = (&config.registry, &config.build);
    let mut job = build_job::job(runner, attempt, dockerfile, endpoint, registry, settings)?;
    // Kaniko could not read what is no text, and nor could hookd's own client.
    let own = std::env::vars_os();
    let own = own.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let proxy = Proxy::from_environment(own).bypassed_for(&build.destination, registry);
    proxy.apply_to_endpoint(&mut job);
    if settings.proxy == ProxySource::Sidecar {
        proxy.apply_to_build(&mut job);
    }
    place(Template::of(&build.env.template)?.as_ref(), job)
}
