//! Why images stay.

use std::io;
use std::path::PathBuf;

use reqwest::StatusCode;

use crate::registry::client::{RegistryError, UnreadableTls};
use crate::registry::error::DestinationError;

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
    /// The client for the registry cannot be made.
    #[error(transparent)]
    Client(#[from] RegistryError),
    /// The registry does not answer.
    #[error(
        "the tags of {repository} cannot be listed, because the registry does not answer: \
         ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST and ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT must \
         name it as pods reach it, HOOKD_REGISTRY_TLS its authority if it is not public, and \
         HOOKD_INSECURE_REGISTRIES the registry if it uses plain HTTP"
    )]
    NoAnswer {
        /// The repository.
        repository: String,
        /// Why.
        source: RegistryError,
    },
    /// The credentials may not list.
    #[error(
        "registry {host} does not let these credentials list the tags of {repository} ({}): give \
         --credentials-file the file of a user of {host} who may read and delete there \
         (deploy/registry-gc.yaml mounts the Secret that \
         ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET names)", .status.as_u16()
    )]
    MayNotList {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// Its answer.
        status: StatusCode,
        /// The same, as the client has it.
        source: RegistryError,
    },
    /// The repository has more tags than are looked at.
    #[error(
        "nothing of {repository} is deleted, because not all of its tags can be listed, and each may keep an \
         image: delete old tags by a retention rule of the registry (docs/building.md), or set another \
         HOOKD_BUILD_REPOSITORY"
    )]
    TooManyTags {
        /// The repository.
        repository: String,
        /// How many are looked at.
        source: RegistryError,
    },
    /// The registry answers wrongly.
    #[error(
        "nothing of {repository} is deleted, because its tags cannot be listed: run hookd gc again, and look \
         at the registry's log if this stays so"
    )]
    NotListed {
        /// The repository.
        repository: String,
        /// Why.
        source: RegistryError,
    },
    /// What a tag names is not known, and may be an image that would go.
    #[error(
        "nothing of {repository} is deleted: {unread} of its tags cannot be read, and {tag} may keep an \
         image. Run hookd gc again; if the registry never answers for {tag}, push that tag anew or delete it \
         there"
    )]
    UnreadTag {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
        /// Tags that cannot be read.
        unread: usize,
        /// Why; none: too many others could not be read.
        #[source]
        source: Option<RegistryError>,
    },
    /// It deletes nothing.
    #[error(
        "registry {host} does not delete images ({}): give it a retention rule of its own \
         (docs/building.md), or set REGISTRY_STORAGE_DELETE_ENABLED if it is the one of \
         deploy/registry.yaml", .status.as_u16()
    )]
    DeletesNothing {
        /// The registry.
        host: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The credentials may not delete.
    #[error(
        "registry {host} lets these credentials delete nothing ({}): give them the right to delete, or \
         the registry a retention rule of its own (docs/building.md)", .status.as_u16()
    )]
    MayNotDelete {
        /// The registry.
        host: String,
        /// Its answer.
        status: StatusCode,
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

impl GcError {
    /// The tags of the repository cannot be listed.
    pub(super) fn of_listing(repository: &str, source: RegistryError) -> Self {
        let repository = repository.to_owned();
        match &source {
            RegistryError::Refused {
                host,
                status: status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            } => Self::MayNotList { host: host.clone(), repository, status: *status, source },
            RegistryError::TooManyTags { .. } => Self::TooManyTags { repository, source },
            error if error.is_no_answer() => Self::NoAnswer { repository, source },
            _ => Self::NotListed { repository, source },
        }
    }
}
