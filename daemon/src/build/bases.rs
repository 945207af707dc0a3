//! What the base images of a build are: asked of their registries, or, for a time, as a runner that has
//! asked them has noted it in the registry of built images.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::repository::Repository;
use super::reuse::{NOTE_TIMEOUT, late};
use super::{Build, asking};
use crate::config::BuildReuse;
use crate::error::report;
use crate::registry::base_images::{BaseImages, ResolvedImage};
use crate::registry::built_tags;
use crate::registry::client::Access;
use crate::registry::digest::is_digest;
use crate::registry::mirrors::Mirrors;
use crate::registry::notes;
use crate::registry::reference::NamedImage;
use crate::registry::tags::Manifest;

/// What registries have answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answered {
    /// When, in seconds since 1970.
    at: i64,
    /// The digests, in the order of the Dockerfile.
    digests: Vec<String>,
}

impl Answered {
    /// The digests of these images, if they are to be believed yet.
    fn of(self, images: &[NamedImage], now: Timestamp, trust: i64) -> Option<Vec<ResolvedImage>> {
        let age = now.as_second().checked_sub(self.at)?;
        let is_whole = self.digests.len() == images.len();
        let is_valid = is_whole && self.digests.iter().all(|digest| is_digest(digest));
        if !(0..trust).contains(&age) || !is_valid {
            return None;
        }
        let resolved = images.iter().zip(self.digests).map(|(image, digest)| {
            let reference = image.reference.clone();
            // A name with a digest means this one, whatever the note says.
            let digest = if reference.is_digest() { reference.version.clone() } else { digest };
            ResolvedImage { reference, digest }
        });
        Some(resolved.collect())
    }
}

impl Build<'_> {
    /// The base images by what their registries say now.
    ///
    /// # Errors
    /// Why they cannot be known, for people.
    pub(super) async fn asked_bases(
        &self,
        repository: &Repository<'_>,
        images: &[NamedImage],
    ) -> Result<Vec<ResolvedImage>, String> {
        let mirrors = Mirrors::new(&self.env.config.registry);
        let (client, credentials) = (repository.client(), repository.credentials());
        let base_images = BaseImages { client, mirrors: &mirrors, credentials };
        match asking::in_time(|| base_images.resolve(images)).await {
            Some(resolved) => resolved.map_err(|error| report(&error)),
            None => Err(late("registries of its base images")),
        }
    }

    /// The base images by what was noted not long ago; none: they are to be asked for.
    pub(super) async fn noted_bases(
        &self,
        repository: &Repository<'_>,
        images: &[NamedImage],
    ) -> Option<Vec<ResolvedImage>> {
        if !self.are_trusted(images) {
            return None;
        }
        let session = repository.session(&self.destination, Access::Pull).ok()?;
        let tag = self.tag_of_bases(images);
        let read = notes::read::<Answered>(&session, &tag);
        let answered = tokio::time::timeout(NOTE_TIMEOUT, read).await.ok()?.ok()??;
        let trust = i64::try_from(self.env.config.build.trust_bases.as_secs()).unwrap_or(i64::MAX);
        answered.of(images, Timestamp::now(), trust)
    }

    /// Notes what the registries have said, beside an image. No build fails for it.
    pub(super) async fn note_bases(
        &self,
        repository: &Repository<'_>,
        bases: &[ResolvedImage],
        images: &[NamedImage],
        image: &Manifest,
    ) {
        if !self.are_trusted(images) {
            return;
        }
        let digests = bases.iter().map(|base| base.digest.clone()).collect();
        let answered = Answered { at: Timestamp::now().as_second(), digests };
        let tag = self.tag_of_bases(images);
        let Ok(session) = repository.session(&self.destination, Access::Push) else { return };
        let written = notes::write(&session, &tag, image, &answered);
        match tokio::time::timeout(NOTE_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!(error = report(&error), "what base images are cannot be noted");
            }
            Err(_) => tracing::info!("what base images are cannot be noted in time"),
        }
    }

    /// Where no tag is named there is nothing to ask, and nothing to note.
    fn are_trusted(&self, images: &[NamedImage]) -> bool {
        self.env.config.build.reuse == BuildReuse::Trust
            && images.iter().any(|image| !image.reference.is_digest())
    }

    /// The tag of the note about these images, as they are found with these settings.
    fn tag_of_bases(&self, images: &[NamedImage]) -> String {
        let registry = &self.env.config.registry;
        let mut hash = Sha256::new();
        let names = images.iter().map(|image| image.reference.to_string());
        let settings = [registry.map.clone().unwrap_or_default(), registry.mirrors.join(",")];
        for text in settings.into_iter().chain(names) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let digest: [u8; 32] = hash.finalize().into();
        built_tags::of_note("bases", &digest, Timestamp::now(), registry.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile;

    #[test]
    fn what_was_noted_is_believed_for_a_time() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let text = format!("FROM busybox:1\nCOPY --from=b@{} / /\n", digest("2"));
        let images = dockerfile::images(text.as_bytes()).unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |at, digests: &[String]| {
            let found = Answered { at, digests: digests.to_vec() }.of(&images, now, 300);
            found.map(|found| found.into_iter().map(|base| base.digest).collect::<Vec<_>>())
        };
        let both = [digest("1"), digest("3")];
        assert_eq!(at(1_000_000, &both), Some(vec![digest("1"), digest("2")]));
        assert!(at(999_701, &both).is_some());
        // Too old, of the future, too few, or no digests.
        assert_eq!(at(999_700, &both), None);
        assert_eq!(at(1_000_001, &both), None);
        assert_eq!(at(i64::MIN, &both), None);
        assert_eq!(at(1_000_000, &both[..1]), None);
        assert_eq!(at(1_000_000, &["latest".into(), digest("3")]), None);
    }
}
