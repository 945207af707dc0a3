//! Builds that need not happen: an image that was built of the same things is found by its key.
//!
//! Kaniko pushes an image under the tag of its step. Only hookd gives it the tag of a key, once it is known
//! that what was sent is what the key was computed from: a job may change the context in between, and its
//! image would be taken for that of others.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

use super::key::{BuildKey, Ingredients};
use super::repository::Repository;
use super::{Build, Running, plan};
use crate::config::{BuildReuse, BuiltImages};
use crate::endpoint::EndpointConfig;
use crate::error::{Failure, report};
use crate::registry::base_images::{BaseImages, ResolvedImage};
use crate::registry::built_tags;
use crate::registry::client::{Access, RegistryError};
use crate::registry::mirrors::Mirrors;
use crate::registry::tags;
use crate::session::cursor::BuiltReference;
use crate::session::events::Session;
use crate::session::log_group;

/// For all that registries are asked before a build, and after it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether an image is there.
pub(super) enum Lookup {
    /// It is.
    Found(BuiltReference),
    /// It is built, and can be found by its key then.
    Missing(Box<Recipe>),
    /// It is built, and cannot be found again; why, if the user may wonder.
    NoKey(Option<String>),
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Its hash.
    pub(super) key: BuildKey,
    /// The tag of the image.
    tag: String,
    /// What the names of base images stand for in this build.
    bases: Vec<ResolvedImage>,
    /// What such a build may push and pull.
    pub(super) endpoint: EndpointConfig,
}

impl Lookup {
    /// What the log says about it.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::Found(_) | Self::NoKey(None) => None,
            Self::Missing(recipe) => Some(format!("Key {}: not built before", recipe.key)),
            Self::NoKey(Some(why)) => Some(format!("No key: {why}; the image is not reused")),
        }
    }

    /// What it is built of.
    pub(super) fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::Missing(recipe) => Some(recipe),
            Self::Found(_) | Self::NoKey(_) => None,
        }
    }
}

impl Build<'_> {
    /// Looks for the image in the registry.
    ///
    /// # Errors
    /// A context that cannot be read, so that it cannot be built either.
    pub(super) async fn look_up(&self, session: &mut Session) -> Result<Lookup, Failure> {
        let config = self.env.config;
        let is_kept = config.registry.built_images == BuiltImages::Keep;
        // One that has begun goes on.
        let begun = session
            .cursor
            .build
            .as_ref()
            .is_some_and(|build| build.attempt > 0 || build.context_sent);
        if !is_kept || begun || config.build.reuse == BuildReuse::Never {
            return Ok(Lookup::NoKey(None));
        }
        let Some(repository) = self.repository().await else { return Ok(Lookup::NoKey(None)) };
        let read = self.reader().read().await?;
        let mirrors = Mirrors::new(&config.registry);
        let base_images = BaseImages {
            client: repository.client(),
            mirrors: &mirrors,
            credentials: repository.credentials(),
        };
        let bases = match tokio::time::timeout(TIMEOUT, base_images.resolve(&read.images)).await {
            Ok(Ok(bases)) => bases,
            Ok(Err(error)) => return Ok(Lookup::NoKey(Some(report(&error)))),
            Err(_) => return Ok(Lookup::NoKey(Some(late("registries of its base images")))),
        };
        let endpoint = EndpointConfig::new(&config.registry, &self.destination, &read.images);
        let endpoint = endpoint.pinned(&bases);
        let job = plan::job(self, 0, &endpoint)?.job;
        let context = self.reader().digest(read.source).await?;
        let ingredients = Ingredients { context: &context, bases: &bases, job: &job };
        let key = BuildKey::new(&ingredients)?;
        let tag = built_tags::of_key(key.hex(), Timestamp::now(), config.registry.max_age);
        let found = tokio::time::timeout(TIMEOUT, self.find(repository, &tag)).await;
        match found {
            Ok(Ok(Some(digest))) => self.found(&key, digest, session).await.map(Lookup::Found),
            Ok(Ok(None)) => Ok(Lookup::Missing(Box::new(Recipe { key, tag, bases, endpoint }))),
            Ok(Err(error)) => Ok(Lookup::NoKey(Some(report(&error)))),
            Err(_) => Ok(Lookup::NoKey(Some(late("registry of built images")))),
        }
    }

    /// The digest of the image with the key, if it can be found out now.
    pub(super) async fn shared(&self, recipe: &Recipe) -> Option<String> {
        let repository = self.repository().await?;
        tokio::time::timeout(TIMEOUT, self.find(repository, &recipe.tag)).await.ok()?.ok()?
    }

    async fn find(
        &self,
        repository: &Repository<'_>,
        tag: &str,
    ) -> Result<Option<String>, RegistryError> {
        let session = repository.session(&self.destination, Access::Pull)?;
        Ok(tags::find(&session, tag).await?.map(|manifest| manifest.digest))
    }

    /// The repository, with credentials that are read once a call.
    async fn repository(&self) -> Option<&Repository<'_>> {
        let (client, cluster) = (self.env.registry?, self.env.cluster);
        let made = || Repository::new(client, cluster, &self.env.config.registry);
        Some(self.repository.get_or_init(made).await)
    }

    pub(super) async fn found(
        &self,
        key: &BuildKey,
        digest: String,
        session: &mut Session,
    ) -> Result<BuiltReference, Failure> {
        let image = BuiltReference { reference: self.destination.reference(&digest), digest };
        self.env.cache.add(self.dockerfile, key.context().clone(), image.clone());
        let line = format!("Key {key}: built before; the image is {}", image.reference);
        log_group::of_image(self.dockerfile, &line, &image, session).await?;
        Ok(image)
    }

    /// True if the Job builds what the key is of, once it is sent the context of the key.
    ///
    /// # Errors
    /// The Job cannot be written as JSON.
    pub(super) fn is_of_key(&self, recipe: &Recipe, job: &Job) -> Result<bool, Failure> {
        let context = recipe.key.context();
        let ingredients = Ingredients { context, bases: &recipe.bases, job };
        Ok(BuildKey::new(&ingredients)? == recipe.key)
    }

    /// Lets others find the image that was just built, if it is what its key says. A build does not fail
    /// for it.
    pub(super) async fn share(&self, recipe: &Recipe, running: &Running, digest: &str) {
        if !running.is_of(&recipe.key) {
            tracing::info!(key = %recipe.key, "it was built of other things than its key: not shared");
            return;
        }
        let shared = tokio::time::timeout(TIMEOUT, self.give_tag(&recipe.tag, digest)).await;
        let error = match shared {
            Ok(Ok(())) => return,
            Ok(Err(error)) => report(&error),
            Err(_) => late("registry of built images"),
        };
        tracing::warn!(key = %recipe.key, error, "the image will be built again");
    }

    async fn give_tag(&self, tag: &str, digest: &str) -> Result<(), RegistryError> {
        // Read again: a build takes long enough for a Secret to change.
        let Some(client) = self.env.registry else { return Ok(()) };
        let config = &self.env.config.registry;
        let repository = Repository::new(client, self.env.cluster, config).await;
        let session = repository.session(&self.destination, Access::Push)?;
        match tags::find(&session, digest).await? {
            Some(manifest) => tags::set(&session, tag, &manifest).await,
            None => {
                let host = session.host().to_owned();
                Err(RegistryError::Refused { host, status: reqwest::StatusCode::NOT_FOUND })
            }
        }
    }
}

fn late(who: &str) -> String {
    format!("no answer of the {who} within {} s", TIMEOUT.as_secs())
}
