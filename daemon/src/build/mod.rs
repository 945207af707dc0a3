//! A Dockerfile becomes an image in the registry, by a Job of Kaniko or BuildKit (`builder.rs`).
//!
//! The context goes to the builder's standard input. A Job whose context did not arrive whole is deleted and
//! made again under the next name (`attempts.rs`; `arrival.rs` decides that). A Job that has its context
//! ends by itself: another daemon can read its log and its digest.

use std::path::Path;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::build::builder::Builder;
use crate::build::context::ContextDigest;
use crate::build::error::BuildError;
use crate::build::key::BuildKey;
use crate::build::repository::Repository;
use crate::build::spec::BuildSpec;
use crate::cluster::logs::LogPosition;
use crate::cluster::pod::{self, Termination};
use crate::cluster::watch::PodWatch;
use crate::cluster::{ContainerRef, logs};
use crate::endpoint::Shown;
use crate::error::{Failure, report};
use crate::ids::{self, StepId};
use crate::metrics::{self, TRACE_TARGET};
use crate::names;
use crate::registry::destination::Destination;
use crate::session::cursor::{BuiltReference, Cursor};
use crate::session::error::SessionError;
use crate::session::events::Session;
use crate::session::log_group;
use crate::workload::output;

pub mod actions;
mod arrival;
mod asking;
mod attempts;
mod bases;
pub mod builder;
pub mod cache;
mod changes;
pub mod context;
mod environment;
pub mod error;
pub mod failure;
mod flight;
pub mod gc;
pub mod key;
mod memory;
mod plan;
pub mod prebuild;
pub mod progress;
pub mod publish;
mod pushed;
mod reading;
pub mod repository;
mod reuse;
pub mod spec;
pub mod trust;

pub use environment::BuildEnvironment;
use flight::{HeldLease, Turn};
use reuse::{Lookup, Recipe};

pub use reading::{ContextReader, ReadContext, failure as context_failure};

/// Lines of the log in which the reason of a failure stands.
const TAIL_LINES: i64 = 200;

/// What is built and where to.
struct Build<'a> {
    env: &'a BuildEnvironment<'a>,
    step: &'a StepId,
    spec: &'a BuildSpec,
    /// Of the spec.
    dockerfile: &'a Path,
    destination: Destination,
    /// Distinguishes the Jobs of this call from those of others with the same id.
    call: String,
    /// Where it goes, once it is asked for anything.
    repository: OnceCell<Repository<'a>>,
}

/// A build whose builder has its whole context, or may have.
struct Running {
    job: Job,
    pod: Pod,
    watch: PodWatch,
    /// Restores the names of registries in the log.
    shown: Shown,
    /// What the context is made of, if this daemon has sent it.
    context_digest: Option<ContextDigest>,
    /// The Job is the one that the key was computed from.
    is_of_key: bool,
}

impl Running {
    /// True if everything that the image is made of is what the key was computed from.
    fn is_of(&self, key: &BuildKey) -> bool {
        self.is_of_key && self.context_digest.as_ref() == Some(key.context())
    }
}

/// What a build is for.
struct Plan {
    /// Whether others may find its image.
    lookup: Lookup,
    /// Lets the next have its turn when the build is over.
    lease: Option<Box<HeldLease>>,
}

/// How the builder ended.
enum Finished {
    /// With the image of this digest in the registry.
    Succeeded(String),
    /// Without having had its whole context; why.
    WithoutContext(String),
}

/// Builds the image, or finds it built.
///
/// # Errors
/// Why there is no image.
#[tracing::instrument(target = TRACE_TARGET, name = "image", level = "trace", skip_all)]
pub async fn build(
    env: &BuildEnvironment<'_>,
    step: &StepId,
    spec: &BuildSpec,
    session: &mut Session,
) -> Result<BuiltReference, Failure> {
    let destination = env.destination(step, &spec.dockerfile)?;
    if let Some(image) = &session.cursor.image {
        // The caller may have written the cursor: only what is in our repository was built.
        if image.reference != destination.reference(&image.digest) {
            let (image, repository) = (image.reference.clone(), destination.pull);
            return Err(BuildError::ForeignImage { image, repository }.into());
        }
        let image = image.clone();
        // An earlier daemon may have ended before it did.
        log_group::close(session).await?;
        return Ok(image);
    }
    let build = Build::new(env, step, spec, destination)?;
    if let Some(job) = build.running_job(session).await? {
        let running = build.resume(job, session).await?;
        let plan = Plan { lookup: Lookup::NoKey(None), lease: None };
        let image = build.attend(running, plan, session).await?;
        session.timings.built(metrics::Build::Built);
        return Ok(image);
    }
    if let Some(image) = build.built_before(session).await? {
        session.timings.built(metrics::Build::Hit);
        return Ok(image);
    }
    let lookup = build.look_up(session).await?;
    if let Lookup::Found(image) = lookup {
        session.timings.built(metrics::Build::Hit);
        return Ok(image);
    }
    let began = Instant::now();
    loop {
        let lease = match build.turn(&lookup, session).await? {
            Turn::Built(image) => {
                session.timings.built(metrics::Build::Followed);
                return Ok(image);
            }
            Turn::Ours(lease) => lease,
        };
        // For as long as one may wait for room; then each waits for itself.
        let turn = lease.as_deref().filter(|_| began.elapsed() < env.cluster.start_timeout);
        let Some(running) = build.start_in_turn(&lookup, turn, session).await? else { continue };
        let image = build.attend(running, Plan { lookup, lease }, session).await?;
        session.timings.built(metrics::Build::Built);
        return Ok(image);
    }
}

impl<'a> Build<'a> {
    fn new(
        env: &'a BuildEnvironment<'a>,
        step: &'a StepId,
        spec: &'a BuildSpec,
        destination: Destination,
    ) -> Result<Self, Failure> {
        let call = ids::unguessable()
            .map_err(|source| SessionError::NoRandomBytes { source: source.into() })?;
        let (dockerfile, repository) = (spec.dockerfile.as_path(), OnceCell::new());
        Ok(Self { env, step, spec, dockerfile, destination, call, repository })
    }

    fn reader(&self) -> ContextReader<'_> {
        let (config, builder, policy) = (self.env.config, self.builder(), self.env.policy.as_ref());
        ContextReader { config, builder, policy, spec: self.spec }
    }

    fn builder(&self) -> &'static dyn Builder {
        builder::of(&self.env.config.build)
    }

    /// Follows the build to its image, and begins it again as often as its context does not arrive.
    async fn attend(
        &self,
        mut running: Running,
        plan: Plan,
        session: &mut Session,
    ) -> Result<BuiltReference, Failure> {
        let Plan { lookup, mut lease } = plan;
        let began = Instant::now();
        let digest = loop {
            let is_of = |recipe: &Recipe| running.is_of(&recipe.key);
            // Others do not wait for an image that they cannot have.
            lease = lease.filter(|_| lookup.recipe().is_some_and(is_of));
            session.settled();
            match self.finish(&mut running, session).await {
                Ok(Finished::Succeeded(digest)) => break digest,
                Err(failure) => {
                    drop(running);
                    running = self.with_more_memory(failure, &lookup, session).await?;
                }
                Ok(Finished::WithoutContext(why)) => {
                    // Its watch is of a Job that goes.
                    drop(running);
                    self.next_attempt(&why, session).await?;
                    running = self.start(&lookup, session).await?;
                }
            }
        };
        session.timings.took(metrics::Phase::Build, began.elapsed());
        if let Some(recipe) = lookup.recipe() {
            self.share(recipe, &running, &digest).await;
        }
        let image = BuiltReference { reference: self.destination.reference(&digest), digest };
        if let Some(context_digest) = running.context_digest {
            self.env.cache.add(self.spec, context_digest, image.clone());
        }
        drop(lease);
        session.cursor.image = Some(image.clone());
        log_group::close(session).await?;
        Ok(image)
    }

    /// The image that an earlier step of this job, or another stage of its action, was built into.
    async fn built_before(&self, session: &mut Session) -> Result<Option<BuiltReference>, Failure> {
        let may_be_known = !self.spec.no_cache && self.env.cache.knows(self.dockerfile);
        if session.cursor.build.is_some() || !may_be_known {
            return Ok(None);
        }
        let read = self.reader().read().await?;
        read.say(self.dockerfile, self.env.warnings, session).await?;
        let context_digest = self.reader().survey(read.source).await?.digest;
        let Some(image) = self.env.cache.find(self.spec, &context_digest) else {
            return Ok(None);
        };
        session.cursor.image = Some(image.clone());
        let message = format!("{} is built already", self.dockerfile.display());
        session.progress(Phase::BuildRunning, message).await?;
        Ok(Some(image))
    }

    /// Streams the log to its end.
    async fn finish(
        &self,
        running: &mut Running,
        session: &mut Session,
    ) -> Result<Finished, Failure> {
        let Running { job, pod, watch, shown, .. } = running;
        // A pod that is lost has no log to read.
        self.started(job, watch, session).await?;
        let name = pod.name_any();
        let target = ContainerRef { pod: &name, container: names::BUILD_CONTAINER };
        let (reader, said) = self.push_reader();
        let place = reader.place(shown);
        let ended = tokio::select! {
            biased;
            ended = output::stream(self.env.cluster, watch, job, target, place, session) => ended?,
            digest = self.pushed(said) => return Ok(Finished::Succeeded(digest)),
        };
        if ended.exit_code == 0 {
            return self.digest(job, &ended).map(Finished::Succeeded);
        }
        // The builder outlives a RUN that is killed for its memory, and ends with a code of its own.
        if ended.reason == pod::OOM_KILLED {
            return Err(pod::oom_failure(pod, names::BUILD_CONTAINER));
        }
        if let Some(why) = self.ended_without_context(&name, ended.exit_code).await {
            return Ok(Finished::WithoutContext(why));
        }
        let tail = self.tail(&name).await;
        let tail = shown.restore(&tail);
        let push_host = &self.destination.push_host;
        let failure = failure::explain(self.builder(), push_host, ended.exit_code, &tail);
        Err(BuildError::Builder { dockerfile: self.dockerfile.to_owned(), failure }.into())
    }

    /// The end of the log, once more: what of it was streamed may have been so by another daemon.
    async fn tail(&self, pod: &str) -> String {
        let (retry, pods) = (self.env.cluster.retry(), self.env.cluster.pods());
        let container = ContainerRef { pod, container: names::BUILD_CONTAINER };
        let tail = retry.attempt(|| logs::tail(&pods, container, TAIL_LINES)).await;
        tail.unwrap_or_else(|error| format!("(the log cannot be read: {})", report(&error)))
    }

    fn digest(&self, job: &Job, ended: &Termination) -> Result<String, Failure> {
        let builder = self.builder();
        let none = || BuildError::NoDigest {
            builder: builder.name(),
            job: job.name_any(),
            reported: ended.message.trim().to_owned(),
        };
        Ok(builder.digest(&ended.message).ok_or_else(none)?)
    }
}

fn log_position(cursor: &mut Cursor) -> Option<&mut LogPosition> {
    cursor.build.as_mut().map(|build| &mut build.log)
}
