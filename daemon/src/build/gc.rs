//! `hookd gc`: deletes the images of the repository of built images that no build uses any more.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;

use super::key;
use crate::config::RegistryConfig;
use crate::registry::client::{
    Access, CertificateAuthority, ClientOptions, RegistryClient, RegistryError, Session,
};
use crate::registry::credentials::Credentials;
use crate::registry::destination;
use crate::registry::error::DestinationError;
use crate::registry::mirrors::Mirrors;
use crate::registry::tags;

/// An image is deleted so long after its end: a step that found it just before pulls it.
const GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(1);
/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 8;

/// What is deleted, and where.
#[derive(Args, Clone, Debug)]
pub struct GcConfig {
    /// Prints what would be deleted, and deletes nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// File in docker's form with the credentials for the registry. Default: none.
    #[arg(long)]
    pub credentials_file: Option<PathBuf>,

    /// The registry, as builds push to it.
    #[command(flatten)]
    pub registry: RegistryConfig,
}

/// Why images stay.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// No registry is configured.
    #[error(
        "set ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and its port as on the hookd container"
    )]
    NotConfigured(#[source] DestinationError),
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The registry does not answer, or wrongly.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It deletes nothing.
    #[error(
        "registry {host} does not delete images (405): give it a retention rule of its own, or set \
         REGISTRY_STORAGE_DELETE_ENABLED if it is the one of deploy/registry.yaml"
    )]
    DeletesNothing {
        /// The registry.
        host: String,
    },
    /// What was done cannot be printed.
    #[error("standard output cannot be written to")]
    Output(#[source] io::Error),
}

/// An image of the repository.
#[derive(Debug, Default, PartialEq, Eq)]
struct Image {
    tags: Vec<String>,
    /// When no build uses it any more; none: that is not known.
    end: Option<Timestamp>,
}

/// Deletes what is over and prints a line for each image of that kind.
///
/// # Errors
/// See [`GcError`]. Images that were deleted by then are.
pub async fn run(config: &GcConfig, output: &mut impl Write) -> Result<(), GcError> {
    let registry = &config.registry;
    let destination = destination::of_tag(registry, "any").map_err(GcError::NotConfigured)?;
    let session = session(config, &destination)?;
    let images = images(&session, registry.max_age).await?;
    let now = Timestamp::now();
    let (mut expired, mut deleted) = (0, 0);
    for (digest, image) in &images {
        let Some(end) = image.end.filter(|end| now > *end + GRACE_PERIOD) else { continue };
        expired += 1;
        let done = if config.dry_run { "would delete" } else { "deleted" };
        if !config.dry_run {
            match tags::delete_image(&session, digest).await {
                Ok(_) => deleted += 1,
                Err(RegistryError::Refused { host, status: StatusCode::METHOD_NOT_ALLOWED }) => {
                    return Err(GcError::DeletesNothing { host });
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (repository, tags) = (&destination.pull, image.tags.join(", "));
        writeln!(output, "{done} {repository}@{digest}: not used since {end}; tags {tags}")
            .map_err(GcError::Output)?;
    }
    let all = images.len();
    writeln!(output, "{all} images, {expired} not used any more, {deleted} deleted")
        .map_err(GcError::Output)
}

fn session(config: &GcConfig, destination: &destination::Destination) -> Result<Session, GcError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| GcError::Unreadable { path: path.clone(), source })
    };
    let registry = &config.registry;
    let authority = registry.ca_file.as_ref().map(read).transpose()?;
    let authority =
        authority.map(|pem| CertificateAuthority { host: destination.push_host.clone(), pem });
    let insecure = Mirrors::new(registry).insecure().to_vec();
    let client = RegistryClient::new(&ClientOptions { insecure, authority })?;
    let credentials = config.credentials_file.as_ref().map(read).transpose()?;
    let credentials = credentials.map(|file| Credentials::of_docker_config(&file));
    let (repository, _) = destination.repository_and_tag();
    let all = credentials.unwrap_or_default();
    let user = Credentials::find(&all, &destination.push_host, repository).cloned();
    Ok(client.session(&destination.push_host, repository, user, Access::Delete)?)
}

/// All images, by digest: one is used for as long as one of its tags is.
async fn images(
    session: &Session,
    max_age: Duration,
) -> Result<BTreeMap<String, Image>, RegistryError> {
    let mut described = Vec::new();
    for tag in tags::list(session).await? {
        described.push(describe(session, tag, max_age));
    }
    let described: Vec<_> = stream::iter(described).buffered(MAX_REQUESTS).try_collect().await?;
    let mut images: BTreeMap<String, Image> = BTreeMap::new();
    for tagged in described.into_iter().flatten() {
        let Tagged { digest, tag, end } = tagged;
        match images.get_mut(&digest) {
            Some(image) => {
                image.tags.push(tag);
                image.end = image.end.zip(end).map(|(one, other)| one.max(other));
            }
            None => {
                images.insert(digest, Image { tags: vec![tag], end });
            }
        }
    }
    Ok(images)
}

/// A tag, and what it names.
struct Tagged {
    digest: String,
    tag: String,
    end: Option<Timestamp>,
}

/// The end of a key stands in its tag; the image of a step is as old as its configuration says.
async fn describe(
    session: &Session,
    tag: String,
    max_age: Duration,
) -> Result<Option<Tagged>, RegistryError> {
    let Some(manifest) = tags::find(session, &tag).await? else { return Ok(None) };
    let end = match key::end_of(&tag) {
        Some(end) => Some(end),
        None => {
            let age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
            let created = tags::created(session, &manifest).await?;
            created.and_then(|created| created.checked_add(age).ok())
        }
    };
    Ok(Some(Tagged { digest: manifest.digest, tag, end }))
}

#[cfg(test)]
mod tests;
