//! One repository of the registry: what it has, and what is done to it.

use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::StatusCode;

use super::{Counts, GcConfig, GcError};
use crate::config::RegistryConfig;
use crate::error::report;
use crate::registry::built_tags::{self, Kind};
use crate::registry::client::{
    Access, ClientOptions, RegistryClient, RegistryError, RegistryTls, Session,
};
use crate::registry::credentials::Credentials;
use crate::registry::destination::Destination;
use crate::registry::mirrors::Mirrors;
use crate::registry::tags;

/// Requests for the repository.
pub(super) struct Repository {
    /// As jobs name it.
    pub(super) name: String,
    delete: Session,
    push: Session,
}

impl Repository {
    /// Host of the registry.
    pub(super) fn host(&self) -> &str {
        self.delete.host()
    }

    /// For requests that read, too.
    pub(super) fn session(&self) -> &Session {
        &self.delete
    }

    /// Deletes an image; returns what was done.
    pub(super) async fn delete(
        &self,
        digest: &str,
        tags: &[String],
        dry_run: bool,
        counts: &mut Counts,
    ) -> Result<&'static str, GcError> {
        counts.unused += 1;
        if dry_run {
            return Ok("would delete");
        }
        match self.delete_image(digest, tags).await {
            Ok(()) => {
                counts.deleted += 1;
                Ok("deleted")
            }
            Err(RegistryError::Refused {
                host,
                status:
                    status @ (StatusCode::NOT_FOUND
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::NOT_IMPLEMENTED),
            }) => Err(GcError::DeletesNothing { host, status }),
            Err(error) => {
                if let RegistryError::Refused {
                    status: status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                    ..
                } = error
                {
                    counts.denied = Some(status);
                }
                tracing::warn!(digest, error = report(&error), "an image is not deleted");
                counts.failed += 1;
                Ok("could not delete")
            }
        }
    }

    /// A registry that deletes nothing may answer that an image is not there, which is.
    async fn delete_image(&self, digest: &str, tags: &[String]) -> Result<(), RegistryError> {
        if tags::delete_image(&self.delete, digest).await? {
            return Ok(());
        }
        let Some(tag) = tags.first() else { return Ok(()) };
        match tags::digest(&self.delete, tag).await? {
            Some(still) if still == digest => {
                let (host, status) = (self.delete.host().to_owned(), StatusCode::NOT_FOUND);
                Err(RegistryError::Refused { host, status })
            }
            _ => Ok(()),
        }
    }

    /// Lets no build find the image any more; returns what was done. It stays for jobs that found it.
    pub(super) async fn withdraw(
        &self,
        digest: &str,
        tags: &[String],
        dry_run: bool,
        counts: &mut Counts,
    ) -> &'static str {
        counts.replaced += 1;
        if dry_run {
            return "would withdraw";
        }
        match self.take_off(digest, tags).await {
            Ok(()) => {
                counts.withdrawn += 1;
                "withdrew"
            }
            Err(error) => {
                tracing::warn!(digest, error = report(&error), "an image is not withdrawn");
                counts.failed += 1;
                "could not withdraw"
            }
        }
    }

    async fn take_off(&self, digest: &str, all: &[String]) -> Result<(), RegistryError> {
        let Some(manifest) = tags::find(&self.push, digest).await? else { return Ok(()) };
        // Its time counts from before the last build that finds it, at the earliest: so this is first, and
        // once more if what follows is broken off.
        tags::set(&self.push, &built_tags::of_old(digest, Timestamp::now()), &manifest).await?;
        let is_key = |tag: &&String| built_tags::read(tag).is_some_and(|tag| tag.kind == Kind::Key);
        for tag in all.iter().filter(is_key) {
            tags::take_off(&self.push, tag).await?;
        }
        Ok(())
    }

    /// What is left of tags that were taken off: builds that find them know it.
    pub(super) async fn sweep(&self) {
        if let Err(error) = tags::sweep(&self.delete).await {
            tracing::warn!(error = report(&error), "an index of no images stays");
        }
    }
}

/// Opens it.
///
/// # Errors
/// A file that cannot be read, or a registry's name that is none.
pub(super) fn open(
    config: &GcConfig,
    registry: &RegistryConfig,
    destination: &Destination,
) -> Result<Repository, GcError> {
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
    let (path, _) = destination.repository_and_tag();
    let all = credentials.unwrap_or_default();
    let user = Credentials::find(&all, &destination.push_host, path);
    let session = |access| client.session(&destination.push_host, path, user.cloned(), access);
    let (delete, push) = (session(Access::Delete)?, session(Access::Push)?);
    Ok(Repository { delete, push, name: destination.pull.clone() })
}
