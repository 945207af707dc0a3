//! A built image under further names: hookd itself copies it there by its digest, once it is built.
//!
//! No builder and no RUN can reach these repositories, nor put anything there but the image that the call
//! answers with; it is the same for an image that was built before.

use std::time::Duration;

use hookd_api::v1::Phase;

use super::BuildEnvironment;
use super::error::BuildError;
use super::repository::Repository;
use crate::error::{Failure, report};
use crate::registry::client::{Access, RegistryError};
use crate::registry::copy::Image;
use crate::registry::credentials::Credentials;
use crate::registry::destination;
use crate::registry::reference::Reference;
use crate::session::cursor::BuiltReference;
use crate::session::events::Session;

/// For the manifests of an image.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Waits before a copy is tried once more; what is there already is not sent again.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// An image, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedImage {
    /// As the kubelet pulls it.
    pub image: BuiltReference,
    /// Bytes of its configuration and layers; 0: they are not known.
    pub size: u64,
    /// Its further names.
    pub tags: Vec<Reference>,
}

/// Refuses names that the administrator does not allow, before anything is built.
///
/// # Errors
/// `POLICY_DENIED` for the first such name.
pub fn check(env: &BuildEnvironment<'_>, tags: &[Reference]) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    let (registry, build) = (&env.config.registry, &env.config.build);
    let mut own = vec![destination::of_tag(registry, "latest")?];
    for repository in build.cache.all() {
        own.push(destination::of_layers(registry, &repository)?);
    }
    let check = |tag| destination::check_allowed(&own, &build.destinations, tag);
    Ok(tags.iter().try_for_each(check)?)
}

/// Gives the image its further names.
///
/// # Errors
/// A name that it cannot be given.
pub async fn publish(
    env: &BuildEnvironment<'_>,
    image: BuiltReference,
    tags: &[Reference],
    session: &mut Session,
) -> Result<PublishedImage, Failure> {
    let read = read(env, &image.digest).await;
    if tags.is_empty() {
        let size = read.map(|read| read.image.size());
        let size = size.inspect_err(|error| {
            tracing::info!(error = report(error), "the size of the image is not known");
        });
        return Ok(PublishedImage { image, size: size.unwrap_or_default(), tags: Vec::new() });
    }
    let failed = |tag: &Reference, source| BuildError::NotCopied { tag: tag.to_string(), source };
    let read = read.map_err(|error| failed(&tags[0], error))?;
    for tag in tags {
        let copy = tokio::time::timeout(env.config.build.timeout, read.copy(tag));
        let late = |_| RegistryError::Timeout { host: tag.registry.clone() };
        let copied = copy.await.map_err(late).and_then(|copied| copied);
        copied.map_err(|error| failed(tag, error))?;
        session.progress(Phase::BuildRunning, format!("The image is {tag} too")).await?;
    }
    Ok(PublishedImage { image, size: read.image.size(), tags: tags.to_vec() })
}

/// An image that can be copied.
struct Readable<'a> {
    repository: Repository<'a>,
    from: crate::registry::client::Session,
    image: Image,
}

async fn read<'a>(env: &BuildEnvironment<'a>, digest: &str) -> Result<Readable<'a>, RegistryError> {
    let registry = &env.config.registry;
    let host = registry.host.clone().unwrap_or_default();
    let unreachable = || RegistryError::Timeout { host: host.clone() };
    let client = env.registry.ok_or_else(unreachable)?;
    let destination = destination::of_tag(registry, "latest").map_err(|_| unreachable())?;
    let read = async {
        let repository = Repository::new(client, env.cluster, registry).await;
        let from = repository.session(&destination, Access::Pull)?;
        let image = Image::read(&from, digest).await?;
        Ok(Readable { repository, from, image })
    };
    tokio::time::timeout(TIMEOUT, read).await.unwrap_or_else(|_| Err(unreachable()))
}

impl Readable<'_> {
    /// Copies the image, with the credentials for this very repository, if there are any.
    async fn copy(&self, tag: &Reference) -> Result<(), RegistryError> {
        let Reference { registry, repository, version } = tag;
        let user = Credentials::find(self.repository.credentials(), registry, repository);
        let client = self.repository.client();
        let to = client.session(registry, repository, user.cloned(), Access::Push)?;
        let mut pauses = PAUSES.iter();
        loop {
            let copied = self.image.copy(&self.from, &to, version).await;
            match (copied, pauses.next()) {
                (Err(error), Some(pause)) if error.may_pass() => {
                    tracing::info!(error = report(&error), "copying an image once more");
                    tokio::time::sleep(*pause).await;
                }
                (copied, _) => return copied,
            }
        }
    }
}
