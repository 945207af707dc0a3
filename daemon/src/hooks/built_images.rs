//! The images that a job built go at its end: with `cleanup_job`, or, in a job without a container, which
//! has none, when the runner pod ends.

use std::time::Duration;

use crate::build::repository::Repository;
use crate::config::BuiltImages;
use crate::context::Context;
use crate::error::{Failure, report};
use crate::ids::StepId;
use crate::registry::built_tags;
use crate::registry::client::{Access, RegistryError, Session};
use crate::registry::destination;
use crate::registry::error::DestinationError;
use crate::registry::tags;

/// A job's end waits for its registry for no longer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Deletes the images of this runner's builds, after the steps that ran them. What cannot be deleted is
/// named in one warning and stays for the registry's own rules; no job fails for it.
pub async fn delete(context: &Context) {
    // The next job of this runner looks for them in the registry, and whether they are still the same.
    context.builds.clear();
    if context.config.registry.built_images == BuiltImages::Keep {
        return;
    }
    let steps = context.built_tags.all().await;
    if steps.is_empty() {
        return;
    }
    let (count, host) = (steps.len(), context.config.registry.host.as_deref().unwrap_or_default());
    match tokio::time::timeout(TIMEOUT, delete_all(context, &steps)).await {
        Ok(Ok(deleted)) => {
            tracing::info!(deleted, "deleted the images that the job built");
            context.built_tags.forget().await;
        }
        Ok(Err(error)) => tracing::warn!(
            count,
            host,
            error = report(&error),
            "the images that the job built stay in the registry; set HOOKD_BUILT_IMAGES=keep if it \
             cannot delete images"
        ),
        Err(_) => tracing::warn!(
            count,
            host,
            "the images that the job built stay in the registry: it does not answer in time"
        ),
    }
}

/// Why images stay.
#[derive(Debug, thiserror::Error)]
enum NotDeleted {
    /// Their tags are not known without the runner pod's uid.
    #[error(transparent)]
    Runner(#[from] Failure),
    #[error(transparent)]
    NoRegistry(#[from] DestinationError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The number of images that were there.
async fn delete_all(context: &Context, steps: &[StepId]) -> Result<usize, NotDeleted> {
    let runner = &context.cluster_info().await?.runner;
    let session = session(context).await?;
    let mut deleted = 0;
    for step in steps {
        let tag = built_tags::of_job(step, &runner.uid);
        deleted += usize::from(tags::delete(&session, &tag).await?);
    }
    Ok(deleted)
}

async fn session(context: &Context) -> Result<Session, NotDeleted> {
    let config = &context.config.registry;
    let destination = destination::of_tag(config, "any")?;
    let client = context.registries().await?;
    let repository = Repository::new(client, &context.cluster, config).await;
    Ok(repository.session(&destination, Access::Delete)?)
}
