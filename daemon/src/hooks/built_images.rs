//! The images that a job built go at its end: with `cleanup_job`, or, in a job without a container, which
//! has none, when the runner pod ends.

use std::time::Duration;

use crate::build::repository::Repository;
use crate::config::BuiltImages;
use crate::context::Context;
use crate::error::report;
use crate::ids::StepId;
use crate::registry::client::{Access, RegistryError, Session};
use crate::registry::destination;
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
    let tags = context.built_tags.all().await;
    if tags.is_empty() {
        return;
    }
    let (count, host) = (tags.len(), context.config.registry.host.as_deref().unwrap_or_default());
    match tokio::time::timeout(TIMEOUT, delete_all(context, &tags)).await {
        Ok(Ok(deleted)) => {
            tracing::info!(deleted, "deleted the images that the job built");
            context.built_tags.forget().await;
        }
        Ok(Err(error)) => tracing::warn!(
            count,
            host,
            error = error.as_ref().map_or_else(|| "no registry".to_owned(), |error| report(error)),
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

/// The number of images that were there.
async fn delete_all(context: &Context, tags: &[StepId]) -> Result<usize, Option<RegistryError>> {
    let session = session(context).await?;
    let mut deleted = 0;
    for tag in tags {
        deleted += usize::from(tags::delete(&session, tag.as_str()).await?);
    }
    Ok(deleted)
}

/// None: no registry is configured.
async fn session(context: &Context) -> Result<Session, Option<RegistryError>> {
    let config = &context.config.registry;
    let Ok(destination) = destination::of_tag(config, "any") else { return Err(None) };
    let client = context.registries().await.map_err(Some)?;
    let repository = Repository::new(client, &context.cluster, config).await;
    Ok(repository.session(&destination, Access::Delete)?)
}
