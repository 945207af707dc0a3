//! What a build may push and pull, from its Dockerfile and the settings; and its Job.

use super::key::BuildKey;
use super::{Build, ReadContext};
use crate::config::ProxySource;
use crate::dockerfile::Platform;
use crate::endpoint::{EndpointConfig, LayerCache, Place};
use crate::error::Failure;
use crate::objects::build_job::proxy::Proxy;
use crate::objects::build_job::{self, Attempt, RegistryAccess, Sharing};
use crate::objects::template::Template;
use crate::objects::template::build::{Placed, place};
use crate::registry::destination;

/// The settings of the build's registry endpoint.
///
/// # Errors
/// As [`ContextReader::read`](super::ContextReader::read).
pub(super) async fn of(build: &Build<'_>) -> Result<(ReadContext, EndpointConfig), Failure> {
    let read = build.reader().read().await?;
    let registry = &build.env.config.registry;
    let mut endpoint = EndpointConfig::new(registry, &build.destination, &read.images);
    let cache = &build.env.config.build.cache;
    let may_be_used = read.uncacheable.is_none() && !build.spec.no_cache;
    let repository = cache.of(build.env.is_trusted).filter(|_| may_be_used);
    if let Some(repository) = repository {
        let layers = destination::of_layers(registry, &repository)?;
        let (repository, _) = layers.repository_and_tag();
        let place = Place { repository: repository.to_owned(), registry: layers.push_host.clone() };
        let (scope, max_age) = (String::new(), cache.max_age.as_secs());
        endpoint.cache = Some(LayerCache { place, scope, max_age });
    }
    Ok((read, endpoint))
}

/// The same, with the layers that this build may share: `names` is a hash of the names in its context.
///
/// # Errors
/// As [`job`].
pub(super) fn scoped(
    build: &Build<'_>,
    mut endpoint: EndpointConfig,
    names: &[u8; 32],
) -> Result<EndpointConfig, Failure> {
    if endpoint.cache.is_some() {
        let job = job(build, 0, None, &endpoint)?.job;
        let scope = BuildKey::of_layers(names, &job)?;
        endpoint.cache = endpoint.cache.map(|cache| LayerCache { scope, ..cache });
    }
    Ok(endpoint)
}

/// The Job of attempt number `attempt`, with more memory or as much as the settings say: the builder and its
/// endpoint, with the sidecar's proxy, placed as the template says.
///
/// # Errors
/// No endpoint can be made, or the template makes no pod of it.
pub(super) fn job(
    build: &Build<'_>,
    attempt: u32,
    more_memory: Option<&str>,
    endpoint: &EndpointConfig,
) -> Result<Placed, Failure> {
    let runner = build.env.runner;
    let config = &build.env.config;
    let attempt = Attempt { step: build.step, number: attempt };
    let (registry, mut settings) = (&config.registry, config.build.clone());
    if let Some(more) = more_memory {
        more.clone_into(&mut settings.memory);
        settings.layers.compressed_caching = false;
    }
    let builder = build.builder();
    let (is_trusted, no_cache) = (build.env.is_trusted, build.spec.no_cache);
    let part = builder.part(endpoint, &settings, Sharing { is_trusted, no_cache });
    let is_elsewhere = part.registries == RegistryAccess::Direct;
    let mut job = build_job::job(runner, attempt, part, endpoint, registry, &settings)?;
    let proxy = Proxy::of_process().bypassed_for(Some(&build.destination), registry);
    proxy.apply_to_endpoint(&mut job);
    // What the call says of its proxy stands in the Dockerfile, and goes before the sidecar's; to a builder
    // elsewhere it is not sent.
    let of_call = build.spec.options.arguments.keys().filter(|_| !is_elsewhere);
    let proxy = proxy.without(of_call);
    if settings.proxy == ProxySource::Sidecar {
        proxy.apply_to_build(&mut job, |name| builder.build_argument(name));
    }
    let platform = build.spec.options.platform.as_ref().filter(|_| !is_elsewhere);
    let wanted = platform.map(Platform::architecture);
    place(Template::of(&build.env.template)?.as_ref(), wanted, job)
}
