//! What a build may push and pull, from its Dockerfile and the settings; and its Job.

use std::path::Path;

use super::{Build, reading};
use crate::build::context::BuildContext;
use crate::build::dockerfile::{self, DockerfileError};
use crate::config::ProxySource;
use crate::endpoint::EndpointConfig;
use crate::error::{Failure, Reason};
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
    let images = images.map_err(|error| images_unknown(build.dockerfile, &error))?;
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

/// Why a Dockerfile is not built whose images cannot be determined.
fn images_unknown(dockerfile: &Path, error: &DockerfileError) -> Failure {
    let dockerfile = dockerfile.display();
    Failure::new(
        Reason::BuildFailed,
        format!("The build of {dockerfile} failed: dockerfile parse error on {error}"),
        "Correct the Dockerfile: the images that it names must be known before it is built",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_cannot_be_determined_is_reported_by_line() {
        let error = dockerfile::images(b"FROM a\nCOPY --from=$X / /\n").unwrap_err();
        let failure = images_unknown(Path::new("/w/a/Dockerfile"), &error);
        assert!(
            failure.message.contains("/w/a/Dockerfile failed: dockerfile parse error on line 2")
        );
    }
}
