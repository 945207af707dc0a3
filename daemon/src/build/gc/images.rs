//! The images of a repository, by their tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};

use super::error::GcError;
use super::repository::Repository;
use crate::error::report;
use crate::registry::client::{RegistryError, Session};
use crate::registry::tags;

/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 8;
/// After so many tags that cannot be read the registry is given a pause.
const MAX_UNREAD: usize = 200;
/// Before what was not answered is asked for again.
const PAUSES: [Duration; 3] = match cfg!(test) {
    true => [Duration::from_millis(1); 3],
    false => [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)],
};

/// What the repository has.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// The tags of each digest.
    pub(super) by_digest: BTreeMap<String, Vec<String>>,
    pub(super) tags: usize,
    /// Tags whose image is not known.
    pub(super) unread: Vec<Unread>,
    /// Tags that were taken off their images are left.
    pub(super) has_nothing: bool,
}

/// A tag whose image is not known.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) tag: String,
    /// None: it was not asked for, because too many others could not be read.
    pub(super) source: Option<RegistryError>,
}

/// All images with their tags; none: the registry does not have the repository. What may pass is asked for
/// again.
///
/// # Errors
/// The tags cannot be listed.
pub(super) async fn images(repository: &Repository) -> Result<Option<Images>, GcError> {
    let session = repository.session();
    let listed = list(session).await;
    let listed = listed.map_err(|error| GcError::of_listing(&repository.name, error))?;
    let Some(listed) = listed else { return Ok(None) };
    let mut images = Images { tags: listed.len(), ..Images::default() };
    let mut unread = images.read(session, listed.into_iter().collect()).await;
    for pause in PAUSES {
        if unread.is_empty() {
            break;
        }
        tokio::time::sleep(pause).await;
        let tags = unread.into_iter().map(|unread| unread.tag).collect();
        unread = images.read(session, tags).await;
    }
    for Unread { tag, source } in &unread {
        if let Some(error) = source {
            tracing::warn!(tag, error = report(error), "an image cannot be read");
        }
    }
    images.unread = unread;
    Ok(Some(images))
}

async fn list(session: &Session) -> Result<Option<BTreeSet<String>>, RegistryError> {
    for pause in PAUSES {
        match tags::list(session).await {
            Err(error) if error.may_pass() => {
                tracing::info!(error = report(&error), "the tags are listed again");
                tokio::time::sleep(pause).await;
            }
            listed => return listed,
        }
    }
    tags::list(session).await
}

impl Images {
    /// Asks for what the tags name; returns those whose image is not known then.
    async fn read(&mut self, session: &Session, tags: Vec<String>) -> Vec<Unread> {
        let asked = tags.iter().map(|tag| tags::find(session, tag));
        let mut answers = stream::iter(asked).buffered(MAX_REQUESTS);
        let mut unread = Vec::new();
        for tag in &tags {
            let answer = match unread.len() < MAX_UNREAD {
                true => answers.next().await,
                false => None,
            };
            match answer {
                Some(Ok(Some(manifest))) if manifest.is_nothing() => self.has_nothing = true,
                Some(Ok(Some(manifest))) => {
                    self.by_digest.entry(manifest.digest).or_default().push(tag.clone());
                }
                // It was deleted meanwhile.
                Some(Ok(None)) => {}
                Some(Err(error)) => {
                    unread.push(Unread { tag: tag.clone(), source: Some(error) });
                }
                None => unread.push(Unread { tag: tag.clone(), source: None }),
            }
        }
        unread
    }
}
