//! `hookd gc`: deletes the images of the repository of built images that no build uses any more.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;

use crate::config::RegistryConfig;
use crate::error::report;
use crate::registry::built_tags;
use crate::registry::client::{
    Access, ClientOptions, RegistryClient, RegistryError, RegistryTls, Session, UnreadableTls,
};
use crate::registry::credentials::Credentials;
use crate::registry::destination::{self, Destination};
use crate::registry::error::DestinationError;
use crate::registry::mirrors::Mirrors;
use crate::registry::tags;

/// An image is deleted so long after its end: a job that found it just before may run for 5 days, and pull
/// it again.
const GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 8;
/// Where the certificates of registries are mounted.
const TLS_DIR: &str = "/run/hookd/tls";

/// What is deleted, and where.
#[derive(Args, Clone, Debug)]
pub struct GcConfig {
    /// Prints what would be deleted, and deletes nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// File in docker's form with the credentials for the registry. Default: none.
    #[arg(long)]
    pub credentials_file: Option<PathBuf>,

    /// Directory with a folder for each Secret of HOOKD_REGISTRY_TLS, by its name.
    #[arg(long, default_value = TLS_DIR)]
    pub tls_dir: PathBuf,

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
    /// A Secret of HOOKD_REGISTRY_TLS is not mounted.
    #[error(transparent)]
    Tls(#[from] UnreadableTls),
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
    /// The registry refused single requests; the log names them.
    #[error(
        "{failed} of {all} tags and images could not be read or deleted; the lines above say why"
    )]
    Incomplete {
        /// Requests that failed.
        failed: usize,
        /// Tags of the repository.
        all: usize,
    },
    /// What was done cannot be printed.
    #[error("standard output cannot be written to")]
    Output(#[source] io::Error),
}

/// An image of the repository.
#[derive(Debug, Default, PartialEq, Eq)]
struct Image {
    tags: Vec<String>,
    /// When no build uses it any more; none: a tag of it has another form.
    end: Option<Timestamp>,
}

/// What the repository has.
#[derive(Debug, Default)]
struct Images {
    by_digest: BTreeMap<String, Image>,
    tags: usize,
    /// Tags whose image could not be read.
    failed: usize,
}

/// Deletes what is over and prints a line for each image of that kind.
///
/// # Errors
/// See [`GcError`]. What could be deleted is.
pub async fn run(config: &GcConfig, output: &mut impl Write) -> Result<(), GcError> {
    let registry = config.registry.clone().without_empty();
    let destination = destination::of_tag(&registry, "any").map_err(GcError::NotConfigured)?;
    let session = session(config, &registry, &destination)?;
    let images = images(&session).await?;
    let now = Timestamp::now();
    let (mut expired, mut deleted, mut failed) = (0, 0, images.failed);
    for (digest, image) in &images.by_digest {
        let Some(end) = image.end.filter(|end| now > *end + GRACE_PERIOD) else { continue };
        expired += 1;
        let mut done = "would delete";
        if !config.dry_run {
            match tags::delete_image(&session, digest).await {
                Ok(_) => (deleted, done) = (deleted + 1, "deleted"),
                Err(RegistryError::Refused { host, status: StatusCode::METHOD_NOT_ALLOWED }) => {
                    return Err(GcError::DeletesNothing { host });
                }
                Err(error) => {
                    tracing::warn!(digest, error = report(&error), "an image is not deleted");
                    (failed, done) = (failed + 1, "could not delete");
                }
            }
        }
        let (repository, tags) = (&destination.pull, image.tags.join(", "));
        writeln!(output, "{done} {repository}@{digest}: not used since {end}; tags {tags}")
            .map_err(GcError::Output)?;
    }
    let all = images.by_digest.len();
    writeln!(output, "{all} images, {expired} not used any more, {deleted} deleted")
        .map_err(GcError::Output)?;
    match failed {
        0 => Ok(()),
        failed => Err(GcError::Incomplete { failed, all: images.tags }),
    }
}

fn session(
    config: &GcConfig,
    registry: &RegistryConfig,
    destination: &Destination,
) -> Result<Session, GcError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| GcError::Unreadable { path: path.clone(), source })
    };
    let mut tls = RegistryTls::mounted(&config.tls_dir, &registry.tls)?;
    if let Some(file) = &registry.ca_file {
        tls.push(RegistryTls::of_authority(&destination.push_host, read(file)?));
    }
    let insecure = Mirrors::new(registry).insecure().to_vec();
    let client = RegistryClient::new(&ClientOptions { insecure, tls })?;
    let credentials = config.credentials_file.as_ref().map(read).transpose()?;
    let credentials = credentials.map(|file| Credentials::of_docker_config(&file));
    let (repository, _) = destination.repository_and_tag();
    let all = credentials.unwrap_or_default();
    let user = Credentials::find(&all, &destination.push_host, repository).cloned();
    Ok(client.session(&destination.push_host, repository, user, Access::Delete)?)
}

/// All images: one is used for as long as one of its tags is.
async fn images(session: &Session) -> Result<Images, RegistryError> {
    let mut named = Vec::new();
    for tag in tags::list(session).await? {
        named.push(named_by(session, tag));
    }
    let mut images = Images { tags: named.len(), ..Images::default() };
    let mut named = stream::iter(named).buffered(MAX_REQUESTS);
    while let Some(Named { tag, digest }) = named.next().await {
        let digest = match digest {
            Ok(Some(digest)) => digest,
            // It was deleted meanwhile.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(tag, error = report(&error), "an image cannot be read");
                images.failed += 1;
                continue;
            }
        };
        let end = built_tags::end_of(&tag);
        match images.by_digest.get_mut(&digest) {
            Some(image) => {
                image.tags.push(tag);
                image.end = image.end.zip(end).map(|(one, other)| one.max(other));
            }
            None => {
                images.by_digest.insert(digest, Image { tags: vec![tag], end });
            }
        }
    }
    Ok(images)
}

/// A tag, and what it names.
struct Named {
    tag: String,
    digest: Result<Option<String>, RegistryError>,
}

async fn named_by(session: &Session, tag: String) -> Named {
    let found = tags::find(session, &tag).await;
    Named { tag, digest: found.map(|found| found.map(|manifest| manifest.digest)) }
}

#[cfg(test)]
mod tests;
