//! The images of a repository, by their tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::StatusCode;

use super::error::GcError;
use super::repository::Repository;
use crate::error::report;
use crate::registry::client::{RegistryError, Session};
use crate::registry::tags;

/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 8;
/// After so many tags that cannot be read the registry is asked for no more.
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
    let mut left = images.read(session, listed.into_iter().collect()).await;
    for pause in PAUSES {
        if left.is_empty() || left.is_given_up() {
            break;
        }
        tokio::time::sleep(pause).await;
        left = images.read(session, left.tags()).await;
    }
    let unread = left.unread(session.host());
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

/// What is not known after all tags were asked for once.
#[derive(Debug, Default)]
struct Left {
    unread: Vec<Unread>,
    /// Listed tags that name nothing, as the registry says.
    gone: Vec<String>,
}

impl Left {
    fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.gone.is_empty()
    }

    /// True if so many cannot be read that the rest was not asked for.
    fn is_given_up(&self) -> bool {
        self.unread.len() >= MAX_UNREAD
    }

    fn tags(self) -> Vec<String> {
        self.unread.into_iter().map(|unread| unread.tag).chain(self.gone).collect()
    }

    /// What stays unread. A tag that named nothing in the last answer, too, was deleted meanwhile; but not
    /// all of them were asked for where the rest was given up.
    fn unread(mut self, host: &str) -> Vec<Unread> {
        if self.is_given_up() {
            let status = StatusCode::NOT_FOUND;
            self.unread.extend(self.gone.into_iter().map(|tag| {
                let host = host.to_owned();
                Unread { tag, source: Some(RegistryError::Refused { host, status }) }
            }));
        }
        self.unread
    }
}

impl Images {
    /// Asks for what the tags name.
    async fn read(&mut self, session: &Session, tags: Vec<String>) -> Left {
        let asked = tags.iter().map(|tag| tags::find(session, tag));
        let mut answers = stream::iter(asked).buffered(MAX_REQUESTS);
        let mut left = Left::default();
        for tag in &tags {
            let answer = match left.is_given_up() {
                true => None,
                false => answers.next().await,
            };
            match answer {
                Some(Ok(Some(manifest))) if manifest.is_nothing() => self.has_nothing = true,
                Some(Ok(Some(manifest))) => {
                    self.by_digest.entry(manifest.digest).or_default().push(tag.clone());
                }
                // It may keep an image: a registry may err once, and so is asked again.
                Some(Ok(None)) => left.gone.push(tag.clone()),
                Some(Err(error)) => {
                    if left.unread.is_empty() {
                        tracing::info!(tag, error = report(&error), "an image cannot be read yet");
                    }
                    left.unread.push(Unread { tag: tag.clone(), source: Some(error) });
                }
                None => left.unread.push(Unread { tag: tag.clone(), source: None }),
            }
        }
        left
    }
}
