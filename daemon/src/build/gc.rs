//! `hookd gc`: deletes the images of the repository of built images that no build uses any more.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use reqwest::StatusCode;

use crate::config::{CacheConfig, RegistryConfig, count};
use crate::registry::client::{RegistryError, UnreadableTls};
use crate::registry::destination;
use crate::registry::error::DestinationError;

mod policy;
mod repository;
#[cfg(test)]
mod tests;

use policy::{Verdict, judge};
use repository::Repository;

/// Where the certificates of registries are mounted.
const TLS_DIR: &str = "/run/hookd/tls";

/// What is deleted, and where.
#[derive(Args, Clone, Debug)]
pub struct GcConfig {
    /// Prints what would be deleted and why, and deletes nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// File in docker's form with the credentials for the registry. Default: none.
    #[arg(long)]
    pub credentials_file: Option<PathBuf>,

    /// Directory with a folder for each Secret of HOOKD_REGISTRY_TLS, by its name.
    #[arg(long, default_value = TLS_DIR)]
    pub tls_dir: PathBuf,

    /// Images of one Dockerfile, the newest, that builds find; 0: all.
    #[arg(
        long = "keep-last",
        env = "HOOKD_BUILT_IMAGES_KEEP_LAST",
        default_value = "0",
        value_parser = count
    )]
    pub keep_last: usize,

    /// The registry, as builds push to it.
    #[command(flatten)]
    pub registry: RegistryConfig,

    /// The repositories of cached layers.
    #[command(flatten)]
    pub cache: CacheConfig,
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

/// How many images there are, and what was done to them.
#[derive(Debug, Default)]
struct Counts {
    unused: usize,
    deleted: usize,
    replaced: usize,
    withdrawn: usize,
    found: usize,
    noted: usize,
    may_run: usize,
    foreign: usize,
    failed: usize,
    /// The answer that the credentials do not suffice.
    denied: Option<StatusCode>,
}

/// Deletes what is over and prints a line for each image of that kind.
///
/// # Errors
/// See [`GcError`]. What could be deleted is.
pub async fn run(config: &GcConfig, output: &mut impl Write) -> Result<(), GcError> {
    let registry = config.registry.clone().without_empty();
    let built = destination::of_tag(&registry, "any").map_err(GcError::NotConfigured)?;
    let layers = config.cache.all();
    let layers = layers.iter().map(|name| destination::of_layers(&registry, name));
    let layers: Vec<_> = layers.collect::<Result<_, _>>().map_err(GcError::NotConfigured)?;
    let mut first = Ok(());
    for destination in [built].into_iter().chain(layers) {
        let repository = repository::open(config, &registry, &destination)?;
        let collected = collect(config, &repository, output).await;
        first = first.and(collected);
    }
    first
}

/// Deletes what is over of one repository.
async fn collect(
    config: &GcConfig,
    repository: &Repository,
    output: &mut impl Write,
) -> Result<(), GcError> {
    let images = repository::images(repository).await?;
    let now = Timestamp::now();
    let verdicts = judge(&images.by_digest, config.keep_last, now);
    let mut counts = Counts { failed: images.failed, ..Counts::default() };
    for (digest, verdict) in &verdicts {
        let tags = &images.by_digest[*digest];
        let (done, why) = match verdict {
            Verdict::Unused { since } => {
                let done = repository.delete(digest, tags, config.dry_run, &mut counts).await?;
                (done, format!("not used since {since}"))
            }
            Verdict::Replaced { newer } => {
                let done = repository.withdraw(digest, tags, config.dry_run, &mut counts).await;
                (done, format!("{newer} newer images of its Dockerfile; it is deleted in 5 days"))
            }
            stays => {
                counts.add(*stays);
                continue;
            }
        };
        let (name, tags) = (&repository.name, tags.join(", "));
        writeln!(output, "{done} {name}@{digest}: {why}; tags {tags}").map_err(GcError::Output)?;
    }
    if counts.withdrawn > 0 || (images.has_nothing && !config.dry_run) {
        repository.sweep().await;
    }
    let (name, summary) = (&repository.name, counts.summary(verdicts.len()));
    writeln!(output, "{name}: {summary}").map_err(GcError::Output)?;
    match (counts.failed, counts.denied) {
        (0, _) => Ok(()),
        (_, Some(status)) if counts.deleted == 0 => {
            Err(GcError::MayNotDelete { host: repository.host().to_owned(), status })
        }
        (failed, _) => Err(GcError::Incomplete { failed, all: images.tags }),
    }
}

impl Counts {
    fn add(&mut self, stays: Verdict) {
        match stays {
            Verdict::Found => self.found += 1,
            Verdict::Noted => self.noted += 1,
            Verdict::MayRun => self.may_run += 1,
            Verdict::Foreign => self.foreign += 1,
            Verdict::Unused { .. } | Verdict::Replaced { .. } => {}
        }
    }

    fn summary(&self, all: usize) -> String {
        let Self { unused, deleted, replaced, withdrawn, found, noted, may_run, foreign, .. } =
            self;
        format!(
            "{all} images and notes: {unused} not used any more, {deleted} deleted; {replaced} replaced by \
             newer ones, {withdrawn} withdrawn from builds; {found} stay for builds, {may_run} for jobs \
             that may run them, {noted} as notes about Dockerfiles, {foreign} for tags that are not hookd's"
        )
    }
}
