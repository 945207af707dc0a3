//! Single flight: of all who need one image at the same time, in the runners' namespace, one builds it, and
//! the others follow its log.
//!
//! Who creates the Lease that is named by the key has its turn; the Lease goes with the build or with its
//! runner pod. Nothing but time depends on it: what a follower runs is what the registry has under the key.
//! It is followed for as long as a build may take, or is silent: a Lease goes as soon as its build is of another
//! context than its key's.

use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::ListParams;
use tokio::time::{Instant, timeout, timeout_at};

use super::Build;
use super::pushed::PushReader;
use super::reuse::{Lookup, Recipe};
use crate::cluster::pod::Termination;
use crate::cluster::retry::{Backoff, Retry};
use crate::cluster::watch::{PodState, PodWatch};
use crate::cluster::{ContainerRef, objects};
use crate::endpoint::Shown;
use crate::error::{Failure, report};
use crate::names::{self, BUILD_KEY_LABEL, CALL_LABEL, RUNNER_LABEL};
use crate::session::cursor::BuiltReference;
use crate::session::events::Session;
use crate::session::log_group;
use crate::workload::output;

mod lease;

pub(super) use lease::HeldLease;
use lease::Idle;

/// A build that prints nothing for so long is not waited for: its runner may have stopped before it sent the
/// context.
const SILENCE: Duration = Duration::from_secs(300);
/// Nor are more builds than these, one after the other.
const MOST_FOLLOWED: u32 = 3;
/// Between two looks whether a build has its Lease yet.
const LOOK: Duration = Duration::from_secs(3);

/// Whose turn it is.
pub(super) enum Turn {
    /// Another has built the image meanwhile.
    Built(BuiltReference),
    /// This one builds, with the Lease if it has it.
    Ours(Option<Box<HeldLease>>),
}

/// What following another's build has led to.
enum Followed {
    Built(BuiltReference),
    /// It is gone without an image, or is waited for no longer: the next has its turn.
    Gone,
    /// It failed, as every other would.
    Failed,
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
        let deadline = Instant::now() + self.env.config.build.timeout;
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
                Followed::Failed => break,
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

    /// The Job of the call that has the Lease: others may have the key's label, and another context.
    async fn job_of(&self, recipe: &Recipe, lease: &Lease) -> Option<Job> {
        let call = lease.labels().get(CALL_LABEL)?;
        let selector = format!("{BUILD_KEY_LABEL}={},{CALL_LABEL}={call}", recipe.key.label());
        let params = ListParams::default().labels(&selector);
        let jobs = self.env.cluster.jobs();
        let list = Retry::new(lease::TIMEOUT).attempt(|| jobs.list(&params)).await.ok()?;
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
                        lease::delete(&self.env.cluster.leases(), lease).await;
                        Followed::Gone
                    }
                }
            }
            Some(Ok(None)) => {
                // The first who gives it up makes room for the next; the image has its key all the same.
                lease::delete(&self.env.cluster.leases(), lease).await;
                Followed::Gone
            }
            // A builder whose runner is gone is ended, and has not failed.
            Some(_) if self.is_gone(job).await => Followed::Gone,
            Some(_) => Followed::Failed,
        };
        if !matches!(followed, Followed::Built(_)) {
            log_group::turn_over(session).await?;
        }
        Ok(followed)
    }

    /// True if the Job is deleted, or is being so.
    async fn is_gone(&self, job: &Job) -> bool {
        let retry = Retry::new(lease::TIMEOUT);
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
            _ = gone => lease::delete(&leases, lease).await,
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
