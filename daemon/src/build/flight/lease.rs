//! The Lease of a build's key: who has it builds.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::build::Build;
use crate::build::reuse::Recipe;
use crate::cluster::error::ClusterError;
use crate::cluster::objects;
use crate::cluster::retry::Retry;
use crate::error::{Failure, report};
use crate::names::{self, CALL_LABEL, RUNNER_LABEL, STEP_LABEL};
use crate::objects::metadata::{self, Component};

/// Who has the Lease and no Job for so long has ended.
const NO_JOB: Duration = Duration::from_secs(5);
/// A Lease that does not come is done without.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// A Lease of this daemon. Dropped, it lets the next have its turn.
pub(in crate::build) struct HeldLease {
    lease: Lease,
    leases: Api<Lease>,
    since: Instant,
}

/// A Lease without a Job.
pub(super) struct Idle {
    pub(super) since: Instant,
    pub(super) lease: Lease,
}

impl HeldLease {
    /// True if the next has its turn by now: a build that has the Lease and waits for room in a quota looks like one
    /// that has ended.
    pub(in crate::build) async fn is_lost(&self) -> bool {
        // Others look that long before they take it.
        if self.since.elapsed() < NO_JOB {
            return false;
        }
        let found = self.leases.get_opt(&self.lease.name_any()).await;
        found.is_ok_and(|found| found.as_ref().and_then(ResourceExt::uid) != self.lease.uid())
    }
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
pub(super) async fn delete(leases: &Api<Lease>, lease: &Lease) {
    let retry = Retry::new(TIMEOUT);
    if let Err(failure) = objects::delete_found(leases, &lease.metadata, &retry).await {
        tracing::info!(error = report(&failure), "a build's Lease stays");
    }
}

impl Build<'_> {
    /// The Lease; none: another has it.
    pub(in crate::build) async fn take(
        &self,
        recipe: &Recipe,
    ) -> Result<Option<Box<HeldLease>>, Failure> {
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
        let (leases, retry) = (self.env.cluster.leases(), Retry::new(TIMEOUT));
        let since = Instant::now();
        match objects::create(&leases, &lease, &retry).await {
            Ok(lease) => Ok(Some(Box::new(HeldLease { lease, leases, since }))),
            Err(failure) => match failure.cause() {
                Some(ClusterError::NameTaken { .. }) => Ok(None),
                _ => Err(failure),
            },
        }
    }

    /// Watches a holder that has no Job, and deletes its Lease after a while: it has ended. At once if it
    /// is an earlier call of this step.
    pub(super) async fn watched(
        &self,
        idle: Option<Idle>,
        recipe: &Recipe,
        lease: Lease,
    ) -> Option<Idle> {
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

    pub(super) async fn lease_of(&self, recipe: &Recipe) -> Option<Lease> {
        let name = names::build_lease(recipe.key.label());
        self.env.cluster.leases().get_opt(&name).await.ok().flatten()
    }

    /// Deletes the Lease of an earlier daemon's build, if it is this runner's.
    pub(in crate::build) async fn give_up_lease(&self, key: &str) {
        let (name, leases) = (names::build_lease(key), self.env.cluster.leases());
        let (runner, retry) = (&self.env.runner.name, Retry::new(TIMEOUT));
        let _ = objects::delete(&leases, runner, &name, &retry).await;
    }
}
