//! What a build may push and pull, from its Dockerfile and the settings; and its Job.

use std::path::Path;

use k8s_openapi::api::batch::v1::Job;

use super::{Build, context_failure};
use crate::config::ProxySource;
use crate::endpoint::{EndpointConfig, Shown};
use crate::error::{Failure, Reason};
use crate::image::context::BuildContext;
use crate::image::dockerfile::{self, DockerfileError};
use crate::spec::build_job::proxy::Proxy;
use crate::spec::{build_job, template};

/// The settings of the build's registry endpoint; the context is read on a thread of its own.
///
/// # Errors
/// A Dockerfile that cannot be read, or whose images cannot be determined.
pub(super) async fn of(
    build: &Build<'_>,
    source: BuildContext,
) -> Result<(BuildContext, EndpointConfig), Failure> {
    let read = tokio::task::spawn_blocking(move || {
        let text = source.read_dockerfile(dockerfile::LIMIT).map_err(context_failure)?;
        Ok((source, dockerfile::images(&text)))
    });
    let (source, images) = read
        .await
        .map_err(|error| Failure::internal("Reading the Dockerfile failed").because(error))??;
    let images = images.map_err(|error| images_unknown(build.dockerfile, &error))?;
    let registry = &build.context.config.registry;
    Ok((source, EndpointConfig::new(registry, &build.destination, &images)))
}

/// The registries' names for the log. Those of the images are read again from the Dockerfile, since
/// the Job may be an earlier daemon's.
pub(super) async fn shown(build: &Build<'_>) -> Shown {
    let config = match build.open_context().await {
        Ok(source) => of(build, source).await.ok().map(|(_, config)| config),
        Err(_) => None,
    };
    let registry = &build.context.config.registry;
    let without = || EndpointConfig::new(registry, &build.destination, &[]);
    Shown::new(&config.unwrap_or_else(without))
}

/// The Job of attempt number `attempt`: Kaniko and its endpoint, with the sidecar's proxy, placed as the
/// template says.
///
/// # Errors
/// No endpoint can be made, or the template makes no pod of it.
pub(super) async fn job(
    build: &Build<'_>,
    attempt: u32,
    dockerfile: &str,
    endpoint: &EndpointConfig,
) -> Result<Job, Failure> {
    let runner = &build.context.known().await?.runner;
    let config = &build.context.config;
    let names = (build.step, attempt);
    let (registry, settings) = (&config.registry, &config.build);
    let mut job = build_job::job(runner, names, dockerfile, endpoint, registry, settings)?;
    if settings.proxy == ProxySource::Sidecar {
        // Kaniko could not read what is no text, and nor could hookd's own client.
        let own = std::env::vars_os();
        let own =
            own.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
        let proxy = Proxy::from_environment(own);
        proxy.bypassed_for(&build.destination, registry).apply(&mut job);
    }
    template::build::place(build.context.template()?.as_ref(), job)
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
    fn an_image_that_cannot_be_determined_is_told_with_its_line() {
        let error = dockerfile::images(b"FROM a\nCOPY --from=$X / /\n").unwrap_err();
        let failure = images_unknown(Path::new("/w/a/Dockerfile"), &error);
        assert!(
            failure.message.contains("/w/a/Dockerfile failed: dockerfile parse error on line 2")
        );
    }
}
