//! The Jobs of a build: made until one has the whole context, or found again.

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{Build, HeldLease, Lookup, ReadContext, Running, plan};
use crate::build::context::ContextError;
use crate::build::error::BuildError;
use crate::cluster::error::ClusterError;
use crate::cluster::objects;
use crate::cluster::watch::PodWatch;
use crate::endpoint::{EndpointConfig, Shown};
use crate::error::{Failure, report};
use crate::names::{self, BUILD_KEY_LABEL, CALL_LABEL};
use crate::policy::error::PolicyError;
use crate::session::cursor::{BUILD_ATTEMPTS, BuildPosition};
use crate::session::events::Session;
use crate::session::log_group;
use crate::workload::error::WorkloadError;
use crate::workload::quota::with_room;
use crate::workload::start::{Awaited, started};
use crate::workload::timing;

/// A Job of this call.
struct Created {
    job: Job,
    /// It is the one that the key was computed from.
    is_of_key: bool,
}

impl Build<'_> {
    /// The Job of an earlier call that has its whole context and so only has to be waited for.
    pub(super) async fn running_job(&self, session: &mut Session) -> Result<Option<Job>, Failure> {
        let Some(position) = session.cursor.build.clone() else { return Ok(None) };
        if position.following {
            log_group::turn_over(session).await?;
            return Ok(None);
        }
        let retry = self.env.cluster.retry();
        let name = names::build(&self.env.config.pod_name, self.step, position.attempt);
        let found = objects::find(&self.env.cluster.jobs(), &name, &retry).await?;
        if position.context_sent && found.is_some() {
            return Ok(found);
        }
        if !position.context_sent && found.is_none() {
            // Nothing has begun yet.
            return Ok(None);
        }
        self.next_attempt("hookd was interrupted while it sent it", session).await?;
        Ok(None)
    }

    /// Gives this attempt up, because its context did not arrive whole, and counts on.
    pub(super) async fn next_attempt(
        &self,
        why: &str,
        session: &mut Session,
    ) -> Result<(), Failure> {
        let attempt = session.cursor.build.get_or_insert_default().attempt + 1;
        if attempt >= BUILD_ATTEMPTS {
            let (dockerfile, attempts) = (self.dockerfile.to_owned(), BUILD_ATTEMPTS);
            let why = why.to_owned();
            return Err(BuildError::ContextNotSent { dockerfile, attempts, why }.into());
        }
        log_group::end_line(session).await?;
        self.replace_job(session).await?;
        let message = "The build is started again: its context did not arrive whole";
        session.progress(Phase::BuildPending, message).await
    }

    /// Deletes the Job of this attempt, and counts on.
    pub(super) async fn replace_job(&self, session: &mut Session) -> Result<(), Failure> {
        let position = session.cursor.build.get_or_insert_default();
        let (token, more_memory) = (position.token.take(), position.more_memory);
        let name = names::build(&self.env.config.pod_name, self.step, position.attempt);
        let attempt = position.attempt + 1;
        *position = BuildPosition { attempt, token, more_memory, ..BuildPosition::default() };
        let (jobs, runner) = (self.env.cluster.jobs(), &self.env.config.pod_name);
        objects::delete(&jobs, runner, &name, &self.env.cluster.retry()).await.map(drop)
    }

    /// Waits for the pod of a Job that an earlier call has sent its context to.
    pub(super) async fn resume(&self, job: Job, session: &mut Session) -> Result<Running, Failure> {
        session.settled();
        // It is not known any more whether it is of its key: others do not wait for it.
        if let Some(key) = job.labels().get(BUILD_KEY_LABEL) {
            self.give_up_lease(key).await;
        }
        let mut watch = PodWatch::for_job(self.env.cluster.pods(), &job);
        let pod = self.started(&job, &mut watch, session).await?;
        // The Dockerfile is read again, since the Job may be an earlier daemon's.
        let read = match plan::of(self).await {
            // A policy that forbids it by now ends it.
            Err(failure) if failure.cause::<PolicyError>().is_some() => return Err(failure),
            read => read.ok(),
        };
        let (endpoint, hidden) = read.map(|(read, endpoint)| (endpoint, read.hidden)).unzip();
        let registry = &self.env.config.registry;
        let without = || EndpointConfig::new(registry, &self.destination, &[]);
        let shown = Shown::new(&endpoint.unwrap_or_else(without));
        let shown = shown.hiding(hidden.unwrap_or_default());
        Ok(Running { job, pod, watch, shown, context_digest: None, is_of_key: false })
    }

    pub(super) async fn started(
        &self,
        job: &Job,
        watch: &mut PodWatch,
        session: &mut Session,
    ) -> Result<Pod, Failure> {
        let awaited = Awaited {
            job: Some(job),
            container: names::BUILD_CONTAINER,
            phase: Phase::BuildPending,
        };
        started(self.env.cluster, watch, awaited, session).await
    }

    /// Makes Jobs until one has the whole context.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn start(
        &self,
        lookup: &Lookup,
        session: &mut Session,
    ) -> Result<Running, Failure> {
        loop {
            // Without a Lease no turn is lost.
            if let Some(running) = self.start_in_turn(lookup, None, session).await? {
                return Ok(running);
            }
        }
    }

    /// As [`Build::start`]; none: the Lease was lost while it waited for room, and the next has its turn.
    ///
    /// # Errors
    /// As [`Build::start`].
    pub(super) async fn start_in_turn(
        &self,
        lookup: &Lookup,
        lease: Option<&HeldLease>,
        session: &mut Session,
    ) -> Result<Option<Running>, Failure> {
        loop {
            // Read first: a context that cannot be read needs no Job.
            let (read, endpoint) = plan::of(self).await?;
            read.say(self.dockerfile, self.env.warnings, session).await?;
            let warnings = read.warning_lines();
            let ReadContext { source, uncacheable, hidden, .. } = read;
            let endpoint = self.endpoint(lookup, endpoint).await?;
            let created = self.create(&endpoint, lookup, lease, session).await;
            let Created { job, is_of_key } = match created {
                Err(failure) if is_of_another_call(&failure) => {
                    self.next_attempt("an earlier call's Job has its name", session).await?;
                    continue;
                }
                created => match created? {
                    Some(created) => created,
                    None => return Ok(None),
                },
            };
            let lines = lookup.line().into_iter().chain(warnings);
            let lines: Vec<_> = lines.chain(self.about(&job, uncacheable)).collect();
            log_group::open(self.dockerfile, &lines, session).await?;
            let mut watch = PodWatch::for_job(self.env.cluster.pods(), &job);
            let pod = match self.started(&job, &mut watch, session).await {
                Err(failure) if failure.cause().is_some_and(ClusterError::is_interrupted_start) => {
                    let why = "the kubelet ended while it started it";
                    self.next_attempt(why, session).await?;
                    continue;
                }
                started => started.map_err(|failure| self.unplaced(failure))?,
            };
            timing::observe(&pod, names::BUILD_CONTAINER, &mut session.timings);
            let sent = self.send_context(source, &pod).await;
            let context_digest = match sent {
                Ok(context_digest) => Some(context_digest),
                Err(failure) if is_unreadable(&failure) => return Err(failure),
                Err(failure) => {
                    let error = report(&failure);
                    tracing::info!(error, "it is not known whether the context arrived");
                    if let Some(why) = self.lacks_context(&mut watch, &pod, &error).await {
                        self.next_attempt(&why, session).await?;
                        continue;
                    }
                    None
                }
            };
            session.cursor.build.get_or_insert_default().context_sent = true;
            session.checkpoint(Phase::BuildRunning).await?;
            let shown = Shown::new(&endpoint).hiding(hidden);
            return Ok(Some(Running { job, pod, watch, shown, context_digest, is_of_key }));
        }
    }

    /// What the log says of its builder and its layers.
    fn about(&self, job: &Job, uncacheable: Option<&str>) -> impl Iterator<Item = String> {
        let namespace = &self.env.cluster.namespace;
        let builder = self.builder().image(&self.env.config.build);
        let place = format!("Builder {builder}, Job {namespace}/{}", job.name_any());
        let is_cached = self.env.config.build.cache.of(self.env.is_trusted).is_some();
        let uncached = uncacheable.filter(|_| is_cached);
        let uncached = uncached.map(|why| format!("Layers are not cached: {why}"));
        uncached.into_iter().chain([place])
    }

    /// What this build may push and pull.
    async fn endpoint(
        &self,
        lookup: &Lookup,
        planned: EndpointConfig,
    ) -> Result<EndpointConfig, Failure> {
        match lookup.recipe() {
            // What the key was computed from, should the Dockerfile name other images by now.
            Some(recipe) => Ok(recipe.endpoint.clone()),
            None if planned.cache.is_none() => Ok(planned),
            None => {
                let read = self.reader().read().await?;
                let summary = self.reader().survey(read.source).await?;
                plan::scoped(self, planned, &summary.names)
            }
        }
    }

    /// Names the platform, if no node takes the builder.
    fn unplaced(&self, failure: Failure) -> Failure {
        let Some(platform) = &self.spec.options.platform else { return failure };
        match failure.cause() {
            Some(WorkloadError::NoNode { .. }) => {
                BuildError::NoNode { platform: platform.clone(), why: failure.message }.into()
            }
            _ => failure,
        }
    }

    /// Makes the Job; none: the Lease is lost.
    async fn create(
        &self,
        endpoint: &EndpointConfig,
        lookup: &Lookup,
        lease: Option<&HeldLease>,
        session: &mut Session,
    ) -> Result<Option<Created>, Failure> {
        let position = session.cursor.build.get_or_insert_default();
        let (attempt, more_memory) = (position.attempt, position.more_memory);
        let more_memory = self.env.config.build.more_memory().filter(|_| more_memory);
        if let Err(error) = self.env.built_tags.add(self.step).await {
            tracing::warn!(
                error = report(&error),
                "the image of this build will stay in the registry"
            );
        }
        let placed = plan::job(self, attempt, more_memory.as_deref(), endpoint)?;
        for warning in self.env.warnings.only_new(placed.warnings) {
            session.progress(Phase::BuildPending, format!("Warning: {warning}")).await?;
        }
        let mut job = placed.job;
        // A Job that another call has made was sent another context, perhaps: it is not taken for ours.
        job.labels_mut().insert(CALL_LABEL.to_owned(), self.call.clone());
        let mut is_of_key = false;
        if let Some(recipe) = lookup.recipe() {
            is_of_key = self.is_of_key(recipe, &job)?;
            let key = recipe.key.label().to_owned();
            job.labels_mut().insert(BUILD_KEY_LABEL.to_owned(), key);
        }
        // After the key was compared: runners of other jobs are to find the image.
        self.env.origin.mark_job(&mut job);
        let (jobs, retry) = (self.env.cluster.jobs(), self.env.cluster.retry());
        let create = async || match lease {
            Some(lease) if lease.is_lost().await => Ok(None),
            _ => objects::create(&jobs, &job, &retry).await.map(Some),
        };
        let job = with_room(self.env.cluster, Phase::BuildPending, session, create).await?;
        Ok(job.map(|job| Created { job, is_of_key }))
    }
}

fn is_of_another_call(failure: &Failure) -> bool {
    matches!(failure.cause(), Some(ClusterError::NameTaken { .. }))
}

/// True for a context that no other Job would receive either.
fn is_unreadable(failure: &Failure) -> bool {
    failure.cause::<ContextError>().is_some()
        || matches!(failure.cause(), Some(BuildError::ContextStalled { .. }))
}
