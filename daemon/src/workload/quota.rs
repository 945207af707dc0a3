//! Creating what a quota of the namespace refuses for now: other pods end and make room.

use std::time::Duration;

use hookd_api::v1::Phase;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::error::Failure;
use crate::session::events::Session;

/// Before the object is created again: nothing reports that there is room.
const PAUSE: Duration = Duration::from_secs(2);

/// Creates until no quota refuses, for as long as a pod may take to start; the client reads why it
/// waits.
///
/// # Errors
/// The first failure that is no quota's; the quota's once the time is up.
pub async fn with_room<T, F>(
    cluster: &Cluster,
    phase: Phase,
    session: &mut Session,
    mut create: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let deadline = Instant::now() + cluster.start_timeout;
    let mut reported = String::new();
    loop {
        let failure = match create().await {
            Err(failure) if is_of_quota(&failure) => failure,
            created => return created,
        };
        if Instant::now() + PAUSE > deadline {
            return Err(failure);
        }
        if reported != failure.message {
            reported.clone_from(&failure.message);
            session.progress(phase, format!("Waiting: {reported}")).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_of_quota(failure: &Failure) -> bool {
    failure.cause().is_some_and(ClusterError::is_quota_exceeded)
}

#[cfg(test)]
mod tests;
