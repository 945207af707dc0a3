//! Single flight: of all who need one image at the same time, in the runners' namespace, one builds it, and
//! the others follow its log.
//!
//! Who creates the Lease that is named by the key has its turn; the Lease goes with the build or with its
//! runner pod. Nothing but time depends on it: what a follower runs is what the registry has under the key.
//! A build may be hostile, so that it is followed for a while only.

use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::Build;
use super::pushed::PushReader;
use super::reuse::{Lookup, Recipe};
use crate::cluster::error::ClusterError;
use crate::cluster::pod::Termination;
use crate::cluster::retry::{Backoff, Retry};
use crate::cluster::watch::{PodState, PodWatch};
use crate::cluster::{ContainerRef, objects};
use crate::endpoint::Shown;
use crate::error::{Failure, report};
use crate::names::{self, BUILD_KEY_LABEL, CALL_LABEL, RUNNER_LABEL, STEP_LABEL};
use crate::objects::metadata::{self, Component};
use crate::session::cursor::BuiltReference;
use crate::session::events::Session;
use crate::session::log_group;
use crate::workload::output;

/// Who has the Lease and no Job for so long has ended.
const NO_JOB: Duration = Duration::from_secs(5);
/// A build that prints nothing for so long is not waited for: its runner may have stopped.
const SILENCE: Duration = Duration::from_secs(60);
/// Nor is any build for longer, whatever it prints.
const LIMIT: Duration = Duration::from_secs(600);
/// Nor are more builds than these, one after the other.
const MOST_FOLLOWED: u32 = 3;
/// Between two looks whether a build has its Lease yet.
const LOOK: Duration = Duration::from_secs(3);
/// A Lease that does not come is done without.
const LEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whose turn it is.
pub(super) enum Turn {
    /// Another has built the image meanwhile.
    Built(BuiltReference),
    /// This one builds, with the Lease if it has it.
    Ours(Option<Box<HeldLease>>),
}

/// A Lease of this daemon. Dropped, it lets the next have its turn.
pub(super) struct HeldLease {
    lease: Lease,
    leases: Api<Lease>,
}

/// A Lease without a Job.
struct Idle {
    since: Instant,
    lease: Lease,
}

/// What following another's build has led to.
enum Followed {
    Built(BuiltReference),
    /// It is gone without an image.
    Gone,
    /// It failed, or is waited for no longer.
    Useless,
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let (lease, leases) = (std::mem::take(&mut self.lease), self.leases.clone());
        // One that cannot be deleted goes with the runner pod.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { delete(&leases, &lease).await });
        }
    }
}

/// Deletes this very Lease: by now the next may have its own.
async fn delete(leases: &Api<Lease>, lease: &Lease) {
    let retry = Retry::new(LEASE_TIMEOUT);
    if let Err(failure) = objects::delete_found(leases, &lease.metadata, &retry).await {
        tracing::info!(error = report(&failure), "a build's Lease stays");
    }
}

impl Build<'_> {
    /// Waits for another's build of the same key, or begins this one's turn.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn turn(
        &self,
        lookup: &Lookup,
        session: &mut Session,
    ) -> Result<Turn, Failure> {
        let Some(recipe) = lookup.recipe() else { return Ok(Turn::Ours(None)) };
        let (mut backoff, mut idle, mut followed) = (Backoff::default(), None::<Idle>, 0);
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline && followed < MOST_FOLLOWED {
            match self.take(recipe).await {
                Ok(Some(lease)) => return self.begin(recipe, lease, session).await,
                Ok(None) => {}
                Err(failure) => {
                    tracing::info!(error = report(&failure), "building without a Lease");
                    break;
                }
            }
            let Some(lease) = self.lease_of(recipe).await else {
                backoff.wait().await;
                continue;
            };
            let Some(job) = self.job_of(recipe, &lease).await else {
                if idle.is_none() {
                    let message = "Another step is to build the image: waiting for its Job";
                    session.progress(Phase::BuildPending, message).await?;
                }
                idle = self.watched(idle, recipe, lease).await;
                backoff.wait().await;
                continue;
            };
            (idle, backoff, followed) = (None, Backoff::default(), followed + 1);
            match self.follow(&job, &lease, recipe, deadline, session).await? {
                Followed::Built(image) => return Ok(Turn::Built(image)),
                Followed::Useless => break,
                Followed::Gone => {}
            }
        }
        match self.shared(recipe).await {
            Some(digest) => self.found(&recipe.key, digest, session).await.map(Turn::Built),
            None => Ok(Turn::Ours(None)),
        }
    }

    /// Another may have built it since it was looked for.
    async fn begin(
        &self,
        recipe: &Recipe,
        lease: Box<HeldLease>,
        session: &mut Session,
    ) -> Result<Turn, Failure> {
        match self.shared(recipe).await {
            Some(digest) => self.found(&recipe.key, digest, session).await.map(Turn::Built),
            None => Ok(Turn::Ours(Some(lease))),
        }
    }

    /// The Lease; none: another has it.
    pub(super) async fn take(&self, recipe: &Recipe) -> Result<Option<Box<HeldLease>>, Failure> {
        let runner = self.env.runner;
        let name = names::build_lease(recipe.key.label());
        let mut lease = Lease {
            metadata: metadata::of_step(runner, self.step, &name, Component::Build),
            spec: Some(LeaseSpec {
                holder_identity: Some(runner.name.clone()),
                ..LeaseSpec::default()
            }),
        };
        lease.labels_mut().insert(CALL_LABEL.to_owned(), self.call.clone());
        self.env.origin.mark(&mut lease.metadata);
        let (leases, retry) = (self.env.cluster.leases(), Retry::new(LEASE_TIMEOUT));
        match objects::create(&leases, &lease, &retry).await {
            Ok(lease) => Ok(Some(Box::new(HeldLease { lease, leases }))),
            Err(failure) => match failure.cause() {
                Some(ClusterError::NameTaken { .. }) => Ok(None),
                _ => Err(failure),
            },
        }
    }

    /// Watches a holder that has no Job, and deletes its Lease after a while: it has ended. At once if it
    /// is an earlier call of this step.
    async fn watched(&self, idle: Option<Idle>, recipe: &Recipe, lease: Lease) -> Option<Idle> {
        let is_of_this =
            |label: &str, own: &str| lease.labels().get(label).is_some_and(|of| of == own);
        let is_own = is_of_this(RUNNER_LABEL, &self.env.runner.name)
            && is_of_this(STEP_LABEL, self.step.as_str());
        let same = idle.filter(|idle| idle.lease.uid() == lease.uid());
        let idle = same.unwrap_or(Idle { since: Instant::now(), lease });
        if !is_own && idle.since.elapsed() < NO_JOB {
            return Some(idle);
        }
        tracing::info!(key = %recipe.key, "a build's Lease has no Job: its holder has ended");
        delete(&self.env.cluster.leases(), &idle.lease).await;
        None
    }

    async fn lease_of(&self, recipe: &Recipe) -> Option<Lease> {
        let name = names::build_lease(recipe.key.label());
        self.env.cluster.leases().get_opt(&name).await.ok().flatten()
    }

    /// Deletes the Lease of an earlier daemon's build, if it is this runner's.
    pub(super) async fn give_up_lease(&self, key: &str) {
        let (name, leases) = (names::build_lease(key), self.env.cluster.leases());
        let (runner, retry) = (&self.env.runner.name, Retry::new(LEASE_TIMEOUT));
        let _ = objects::delete(&leases, runner, &name, &retry).await;
    }

    /// The Job of the call that has the Lease: others may have the key's label, and another context.
    async fn job_of(&self, recipe: &Recipe, lease: &Lease) -> Option<Job> {
        let call = lease.labels().get(CALL_LABEL)?;
        let selector = format!("{BUILD_KEY_LABEL}={},{CALL_LABEL}={call}", recipe.key.label());
        let params = ListParams::default().labels(&selector);
        let jobs = self.env.cluster.jobs();
        let list = Retry::new(LEASE_TIMEOUT).attempt(|| jobs.list(&params)).await.ok()?;
        list.items.into_iter().find(|job| job.metadata.deletion_timestamp.is_none())
    }

    async fn follow(
        &self,
        job: &Job,
        lease: &Lease,
        recipe: &Recipe,
        deadline: Instant,
        session: &mut Session,
    ) -> Result<Followed, Failure> {
        session.settled();
        let holder = job.labels().get(RUNNER_LABEL).map(String::as_str).unwrap_or_default();
        let line = format!("{}; runner {holder} builds it, this is its log", recipe.line());
        log_group::open(self.dockerfile, &[line], session).await?;
        session.cursor.build.get_or_insert_default().following = true;
        session.checkpoint(Phase::BuildRunning).await?;
        let (reader, said) = self.push_reader();
        let ended = tokio::select! {
            biased;
            ended = self.log_of(job, recipe, deadline, &reader, session) => Some(ended),
            digest = self.pushed_by_another(said, recipe) => {
                return Ok(Followed::Built(self.found(&recipe.key, digest, session).await?));
            }
            () = self.lost(lease) => None,
        };
        let followed = match ended {
            // It may be given up because it is done.
            None => match self.shared(recipe).await {
                Some(digest) => Followed::Built(self.found(&recipe.key, digest, session).await?),
                None => Followed::Gone,
            },
            Some(Err(failure)) if failure.is_cancelled() => return Err(failure),
            Some(Ok(Some(ended))) if ended.exit_code == 0 => {
                match self.wait_until_shared(recipe).await {
                    Some(digest) => {
                        Followed::Built(self.found(&recipe.key, digest, session).await?)
                    }
                    None => {
                        // Who was to share it has ended.
                        delete(&self.env.cluster.leases(), lease).await;
                        Followed::Gone
                    }
                }
            }
            Some(Ok(None)) => Followed::Useless,
            // A builder whose runner is gone is ended, and has not failed.
            Some(_) if self.is_gone(job).await => Followed::Gone,
            Some(_) => Followed::Useless,
        };
        if !matches!(followed, Followed::Built(_)) {
            log_group::turn_over(session).await?;
        }
        Ok(followed)
    }

    /// True if the Job is deleted, or is being so.
    async fn is_gone(&self, job: &Job) -> bool {
        let retry = Retry::new(LEASE_TIMEOUT);
        let found = objects::find(&self.env.cluster.jobs(), &job.name_any(), &retry).await;
        let is_there =
            |found: Job| found.uid() == job.uid() && found.metadata.deletion_timestamp.is_none();
        found.is_ok_and(|found| !found.is_some_and(is_there))
    }

    /// Ends when no runner builds under the Lease any more: it is given up, or its runner goes, whose objects
    /// the garbage collector finds later.
    async fn lost(&self, lease: &Lease) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let owner = lease.owner_references().first().map(|owner| owner.uid.clone());
        let mut runner = PodWatch::for_pod(self.env.cluster.pods(), holder.unwrap_or_default());
        let gone = runner.until(|seen| match seen {
            PodState::NotCreated => false,
            PodState::Deleted => true,
            PodState::Present(pod) => {
                pod.metadata.deletion_timestamp.is_some() || pod.metadata.uid != owner
            }
        });
        let (name, leases) = (lease.name_any(), self.env.cluster.leases());
        let given_up = async {
            loop {
                tokio::time::sleep(LOOK).await;
                match leases.get_opt(&name).await {
                    Ok(found) if found.as_ref().and_then(ResourceExt::uid) != lease.uid() => return,
                    _ => {}
                }
            }
        };
        tokio::select! {
            _ = gone => delete(&leases, lease).await,
            () = given_up => {}
        }
    }

    /// Streams the log; none: it is waited for no longer.
    async fn log_of(
        &self,
        job: &Job,
        recipe: &Recipe,
        deadline: Instant,
        reader: &PushReader,
        session: &mut Session,
    ) -> Result<Option<Termination>, Failure> {
        let mut watch = PodWatch::for_job(self.env.cluster.pods(), job);
        let shown = Shown::new(&recipe.endpoint).hiding(recipe.hidden.clone());
        let started = timeout_at(deadline, self.started(job, &mut watch, session)).await;
        let Ok(pod) = started else { return Ok(None) };
        let name = pod?.name_any();
        while Instant::now() < deadline {
            let sent = session.sent();
            let target = ContainerRef { pod: &name, container: names::BUILD_CONTAINER };
            let place = reader.place(&shown);
            let streamed =
                output::stream(self.env.cluster, &mut watch, job, target, place, session);
            if let Ok(ended) = timeout(SILENCE, streamed).await {
                return ended.map(Some);
            }
            if session.sent() == sent {
                break;
            }
        }
        Ok(None)
    }
}
