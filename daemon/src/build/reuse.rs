//! Builds that need not happen: an image that was built of the same things is found by its key.
//!
//! Kaniko pushes an image under the tag of its step. Only hookd gives it the tag of a key, once it is known
//! that what was sent is what the key was computed from: a job may change the context in between, and its
//! image would be taken for that of others.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use sha2::{Digest, Sha256};

use super::changes::MadeOf;
use super::context::{ContextSummary, normalised};
use super::key::{BuildKey, Ingredients};
use super::repository::Repository;
use super::{Build, Running, asking, plan};
use crate::config::{BuildReuse, BuiltImages};
use crate::endpoint::EndpointConfig;
use crate::error::{Failure, report};
use crate::names;
use crate::registry::base_images::ResolvedImage;
use crate::registry::built_tags;
use crate::registry::client::{Access, RegistryError};
use crate::registry::notes;
use crate::registry::reference::NamedImage;
use crate::registry::tags::{self, Manifest};
use crate::session::cursor::BuiltReference;
use crate::session::events::Session;
use crate::session::log_group;

/// For all that registries are asked before a build, and after it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// For a note, without which all goes on.
pub(super) const NOTE_TIMEOUT: Duration = Duration::from_secs(3);

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
    /// The base images, as the Dockerfile names them.
    images: Vec<NamedImage>,
    /// What the names of base images stand for in this build.
    bases: Vec<ResolvedImage>,
    /// What such a build may push and pull.
    pub(super) endpoint: EndpointConfig,
    /// What is shown in place of values of arguments.
    pub(super) hidden: BTreeMap<String, String>,
    /// For the next who builds the Dockerfile.
    made_of: MadeOf,
    /// What changed since the last who did.
    changes: String,
}

impl Lookup {
    /// What the log says about it.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::Found(_) | Self::NoKey(None) => None,
            Self::Missing(recipe) => Some(recipe.line()),
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

impl Recipe {
    /// What the log says of an image that is not there.
    pub(super) fn line(&self) -> String {
        format!("Key {}: not built before; {}", self.key, self.changes)
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
        let may_be_used = !self.spec.no_cache && config.build.reuse != BuildReuse::Never;
        if !is_kept || begun || !may_be_used {
            return Ok(Lookup::NoKey(None));
        }
        let Some(repository) = self.repository().await else { return Ok(Lookup::NoKey(None)) };
        let (read, planned) = plan::of(self).await?;
        read.say(self.dockerfile, self.env.warnings, session).await?;
        let (images, hidden) = (read.images, read.hidden);
        let context = self.reader().survey(read.source).await?;
        if let Some(bases) = self.noted_bases(repository, &images).await {
            let recipe = self.recipe(&images, &planned, &context, bases)?;
            if let Ok(Some(image)) = self.find_in_time(repository, &recipe.tag).await {
                return self.found(&recipe.key, image.digest, session).await.map(Lookup::Found);
            }
        }
        // What is built is built of what they are now.
        let bases = match self.asked_bases(repository, &images).await {
            Ok(bases) => bases,
            Err(why) => return Ok(Lookup::NoKey(Some(why))),
        };
        let mut recipe = self.recipe(&images, &planned, &context, bases)?;
        match self.find_in_time(repository, &recipe.tag).await {
            Ok(Some(image)) => {
                self.note_bases(repository, &recipe.bases, &images, &image).await;
                self.found(&recipe.key, image.digest, session).await.map(Lookup::Found)
            }
            Ok(None) => {
                recipe.changes = self.changes(repository, &recipe).await;
                recipe.hidden = hidden;
                Ok(Lookup::Missing(Box::new(recipe)))
            }
            Err(why) => Ok(Lookup::NoKey(Some(why))),
        }
    }

    /// What the image is made of, with these base images.
    fn recipe(
        &self,
        images: &[NamedImage],
        planned: &EndpointConfig,
        context: &ContextSummary,
        bases: Vec<ResolvedImage>,
    ) -> Result<Recipe, Failure> {
        let registry = &self.env.config.registry;
        let endpoint = plan::scoped(self, planned.clone().pinned(&bases), &context.names)?;
        let job = plan::job(self, 0, None, &endpoint)?.job;
        let ingredients = Ingredients { context: &context.digest, bases: &bases, job: &job };
        let key = BuildKey::new(&ingredients)?;
        let made_of = MadeOf::new(&ingredients, context)?;
        let tag = built_tags::of_key(key.hex(), Timestamp::now(), registry.max_age);
        let (images, changes) = (images.to_vec(), String::new());
        let hidden = BTreeMap::new();
        Ok(Recipe { key, tag, images, bases, endpoint, hidden, made_of, changes })
    }

    pub(super) async fn find_in_time(
        &self,
        repository: &Repository<'_>,
        tag: &str,
    ) -> Result<Option<Manifest>, String> {
        match asking::in_time(|| self.find(repository, tag)).await {
            Some(found) => found.map_err(|error| report(&error)),
            None => Err(late("registry of built images")),
        }
    }

    /// What changed since anyone built this Dockerfile, for people.
    async fn changes(&self, repository: &Repository<'_>, recipe: &Recipe) -> String {
        let read = async {
            let session = repository.session(&self.destination, Access::Pull)?;
            notes::read::<MadeOf>(&session, &self.tag_of_dockerfile()).await
        };
        match tokio::time::timeout(NOTE_TIMEOUT, read).await {
            Ok(Ok(Some(before))) => recipe.made_of.since(&before, self.dockerfile),
            Ok(Ok(None)) => "no build of this Dockerfile is known".to_owned(),
            _ => "what changed is not known".to_owned(),
        }
    }

    /// The tag of the note about the last build of this Dockerfile: an action's is the same at all its
    /// versions.
    fn tag_of_dockerfile(&self) -> String {
        let path = normalised(self.dockerfile).unwrap_or_else(|| self.dockerfile.to_owned());
        let path = path.strip_prefix(&self.env.config.work_dir).unwrap_or(&path);
        let is_action = path.starts_with(names::ACTIONS_DIR);
        let parts = path.components().enumerate();
        let mut hash = Sha256::new();
        // `_actions/<owner>/<repository>/<version>/...`
        for (_, part) in parts.filter(|(number, _)| !(is_action && *number == 3)) {
            hash.update(part.as_os_str().as_bytes());
            hash.update(b"/");
        }
        let about: [u8; 32] = hash.finalize().into();
        let max_age = self.env.config.registry.max_age;
        built_tags::of_note("dockerfile", &about, Timestamp::now(), max_age)
    }

    /// The digest of the image with the key, if it can be found out now.
    pub(super) async fn shared(&self, recipe: &Recipe) -> Option<String> {
        let repository = self.repository().await?;
        let found = self.find_in_time(repository, &recipe.tag).await.ok()?;
        found.map(|image| image.digest)
    }

    async fn find(
        &self,
        repository: &Repository<'_>,
        tag: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let session = repository.session(&self.destination, Access::Pull)?;
        let found = tags::find(&session, tag).await?;
        Ok(found.filter(|manifest| !manifest.is_nothing()))
    }

    /// The repository, with credentials that are read once a call.
    pub(super) async fn repository(&self) -> Option<&Repository<'_>> {
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
        self.env.cache.add(self.spec, key.context().clone(), image.clone());
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
        let shared = tokio::time::timeout(TIMEOUT, self.give_tag(recipe, digest)).await;
        let error = match shared {
            Ok(Ok(())) => return,
            Ok(Err(error)) => report(&error),
            Err(_) => late("registry of built images"),
        };
        tracing::warn!(key = %recipe.key, error, "the image will be built again");
    }

    async fn give_tag(&self, recipe: &Recipe, digest: &str) -> Result<(), RegistryError> {
        // Read again: a build takes long enough for a Secret to change.
        let Some(client) = self.env.registry else { return Ok(()) };
        let config = &self.env.config.registry;
        let repository = Repository::new(client, self.env.cluster, config).await;
        let session = repository.session(&self.destination, Access::Push)?;
        let Some(image) = tags::find(&session, digest).await? else {
            let host = session.host().to_owned();
            return Err(RegistryError::Refused { host, status: reqwest::StatusCode::NOT_FOUND });
        };
        tags::set(&session, &recipe.tag, &image).await?;
        let tag = self.tag_of_dockerfile();
        let note = notes::write(&session, &tag, &image, &recipe.made_of);
        if let Err(error) = note.await {
            tracing::info!(error = report(&error), "what was built cannot be noted");
        }
        self.note_bases(&repository, &recipe.bases, &recipe.images, &image).await;
        Ok(())
    }
}

pub(super) fn late(who: &str) -> String {
    format!("no answer of the {who} within {} s", TIMEOUT.as_secs())
}
