//! `hookd gc`: deletes the images of the repository of built images that no build uses any more.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use reqwest::StatusCode;

use crate::config::{CacheConfig, RegistryConfig, count};
use crate::error::report;
use crate::registry::destination;

mod error;
mod images;
mod policy;
mod repository;
#[cfg(test)]
mod tests;

pub use error::GcError;

use images::{Unread, images};
use policy::{Verdict, judge, may_keep};
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
        if let (Err(_), Err(error)) = (&first, &collected) {
            tracing::error!("{}", report(error));
        }
        first = first.and(collected);
    }
    first
}

/// Deletes what is over of one repository. A tag that cannot be read may keep any image: then what would
/// go is printed only.
async fn collect(
    config: &GcConfig,
    repository: &Repository,
    output: &mut impl Write,
) -> Result<(), GcError> {
    let name = &repository.name;
    let Some(mut images) = images(repository).await? else {
        return writeln!(
            output,
            "{name}: the registry has no such repository. Nothing was pushed to it yet, or \
             HOOKD_BUILD_REPOSITORY or HOOKD_BUILD_CACHE_REPOSITORY is not that of the hookd container"
        )
        .map_err(GcError::Output);
    };
    let now = Timestamp::now();
    let mut counts = Counts { failed: images.unread.len(), ..Counts::default() };
    let keeping = images.unread.iter().position(|unread| may_keep(&unread.tag, now));
    let keeping = keeping.map(|at| images.unread.swap_remove(at));
    let dry_run = config.dry_run || keeping.is_some();
    let verdicts = judge(&images.by_digest, config.keep_last, now);
    for (digest, verdict) in &verdicts {
        let tags = &images.by_digest[*digest];
        let (done, why) = match verdict {
            Verdict::Unused { since } => {
                let done = repository.delete(digest, tags, dry_run, &mut counts).await?;
                (done, format!("not used since {since}"))
            }
            Verdict::Replaced { newer } => {
                let done = repository.withdraw(digest, tags, dry_run, &mut counts).await;
                (done, format!("{newer} newer images of its Dockerfile; it is deleted in 5 days"))
            }
            stays => {
                counts.add(*stays);
                continue;
            }
        };
        let tags = tags.join(", ");
        writeln!(output, "{done} {name}@{digest}: {why}; tags {tags}").map_err(GcError::Output)?;
    }
    if !dry_run && (counts.withdrawn > 0 || images.has_nothing) {
        repository.sweep().await;
    }
    let summary = counts.summary(verdicts.len());
    writeln!(output, "{name}: {summary}").map_err(GcError::Output)?;
    match keeping {
        Some(Unread { tag, source }) => {
            let repository = name.clone();
            Err(GcError::UnreadTag { repository, tag, unread: counts.failed, source })
        }
        None => counts.result(repository.host(), images.tags),
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

    /// An error if something of the repository, which has so many tags, failed.
    fn result(&self, host: &str, all: usize) -> Result<(), GcError> {
        match (self.failed, self.denied) {
            (0, _) => Ok(()),
            (_, Some(status)) if self.deleted == 0 => {
                Err(GcError::MayNotDelete { host: host.to_owned(), status })
            }
            (failed, _) => Err(GcError::Incomplete { failed, all }),
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
