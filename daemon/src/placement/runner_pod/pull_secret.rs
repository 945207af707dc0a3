//! Credentials of the workflow for images of a job: in the Secret that all runner pods list, for as long as
//! the node pulls.

use std::time::Duration;

use hookd_api::v1::Phase;
use kube::api::PostParams;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::retry::{self, Backoff, Retry};
use crate::context::Context;
use crate::error::{Failure, report};
use crate::objects::shared_pull_secret::{Entry, SharedPullSecret};
use crate::session::events::Session;

pub mod error;

use error::PullSecretError;

/// Attempts at a change: others may be faster.
const ATTEMPTS: u32 = 20;
/// How long a change may take in all: a job, or its end, waits for it.
const CHANGE: Duration = Duration::from_secs(20);
/// Other runners with entries that are looked for in one change: what they leave is removed if they are gone.
const LOOKED_FOR: usize = 4;

/// Gives these credentials to the node, with a warning if that fails: the images may be public.
///
/// # Errors
/// When the client is gone.
pub(super) async fn give(
    context: &Context,
    entries: &[Entry],
    session: &mut Session,
) -> Result<(), Failure> {
    let Some(secret) = Shared::of(context).filter(|_| !entries.is_empty()) else { return Ok(()) };
    let given = secret.change_in_time(|shared, runner| {
        shared.give(runner, entries);
        true
    });
    if let Err(failure) = given.await {
        let message = format!(
            "Warning: the node does not get the credentials of the workflow. {failure}. {}",
            failure.remedy
        );
        session.progress(Phase::RunPending, message).await?;
    }
    Ok(())
}

/// Takes back what was given; false if it may still be there. The next runner to change the Secret once this
/// one is gone does it then.
pub(super) async fn take_back(context: &Context) -> bool {
    let Some(secret) = Shared::of(context) else { return true };
    let taken = secret.change_in_time(|shared, runner| shared.take_back(runner)).await;
    if let Err(failure) = &taken {
        tracing::warn!(error = report(failure), "credentials of a job are not taken back yet");
    }
    taken.is_ok()
}

/// Where the Secret is, and who changes it.
#[derive(Clone, Copy, Debug)]
struct Shared<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    /// Name of the runner pod.
    runner: &'a str,
}

impl<'a> Shared<'a> {
    /// None if the administrator has set none.
    fn of(context: &'a Context) -> Option<Self> {
        let name = context.config.pull_secret.as_deref()?;
        Some(Self { cluster: &context.cluster, name, runner: &context.config.pod_name })
    }

    /// As [`Shared::change`], within its time.
    async fn change_in_time(
        self,
        change: impl Fn(&mut SharedPullSecret, &str) -> bool,
    ) -> Result<(), Failure> {
        let secret = self.name.to_owned();
        let changed = tokio::time::timeout(CHANGE, self.change(change)).await;
        changed.unwrap_or_else(|_| Err(PullSecretError::Late { secret, limit: CHANGE }.into()))
    }

    /// Reads the Secret, changes it and writes it, again if another runner was faster.
    async fn change(
        self,
        change: impl Fn(&mut SharedPullSecret, &str) -> bool,
    ) -> Result<(), Failure> {
        let Self { cluster, name, runner } = self;
        let (secret, secrets) = (|| name.to_owned(), cluster.secrets());
        let (read, once) = (Retry::new(CHANGE), Retry::new(Duration::ZERO));
        let mut backoff = Backoff::default();
        for attempts in 1.. {
            let found = read.run(&format!("read Secret {name}"), || secrets.get_opt(name)).await?;
            let found = found.ok_or_else(|| PullSecretError::Missing { secret: secret() })?;
            let mut shared = SharedPullSecret::read(found)
                .map_err(|source| PullSecretError::Unusable { secret: secret(), source })?;
            let changed = change(&mut shared, runner);
            // Once: they are requests between the reading and the writing.
            let forgotten = attempts == 1 && self.forget_the_gone(&mut shared).await;
            if !(forgotten || changed) {
                break;
            }
            let (params, new) = (PostParams::default(), shared.into_secret());
            // A change whose answer is lost is a conflict when it is made again.
            match once.attempt(|| secrets.replace(name, &params, &new)).await {
                Ok(_) => break,
                Err(error) if !retry::is_transient(&error) => {
                    let action = format!("update Secret {name}");
                    return Err(ClusterError::from_request(action, error).into());
                }
                Err(error) if attempts >= ATTEMPTS => {
                    let source = Box::new(error);
                    return Err(PullSecretError::Busy { secret: secret(), attempts, source }.into());
                }
                Err(_) => backoff.wait().await,
            }
        }
        Ok(())
    }

    /// Removes the entries of runner pods that are gone; false if there are none.
    async fn forget_the_gone(self, shared: &mut SharedPullSecret) -> bool {
        let pods = self.cluster.pods();
        let mut others = shared.others(self.runner);
        // Each runner looks for those behind it, so that none is passed over for ever.
        let next = others.partition_point(|other| other.as_str() < self.runner);
        others.rotate_left(next);
        others.truncate(LOOKED_FOR);
        let looked = others.iter().map(|other| pods.get_metadata_opt(other));
        let looked = futures::future::join_all(looked).await;
        let mut forgotten = false;
        for (other, found) in others.iter().zip(looked) {
            // One that cannot be looked for stays.
            if matches!(found, Ok(None)) {
                forgotten |= shared.take_back(other);
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::scripted::{ApiServer, Expected, get, put};

    const SECRET: &str = "/api/v1/namespaces/ns/secrets/pull";

    /// The Secret at this version, with one entry of each of these runners.
    fn secret(version: u32, runners: &[&str]) -> Value {
        let server = |runner: &str| format!("ghcr.io/{runner}/image");
        let auths: Value = runners.iter().map(|runner| (server(runner), json!({}))).collect();
        let owners: Value =
            runners.iter().map(|runner| (server(runner), json!([runner]))).collect();
        let config = ByteString(json!({"auths": auths}).to_string().into_bytes());
        let annotations = match runners {
            [] => json!({}),
            _ => json!({"hookd.dev/runners": owners.to_string()}),
        };
        json!({"apiVersion": "v1", "kind": "Secret", "data": {".dockerconfigjson": config},
            "metadata": {"name": "pull", "resourceVersion": version.to_string(),
                "annotations": annotations}})
    }

    fn is_at(version: u32, runners: &[&str]) -> Expected {
        get(SECRET).answers(200, secret(version, runners))
    }

    fn becomes(version: u32, runners: &[&str]) -> Expected {
        put(SECRET).with_body(secret(version, runners))
    }

    async fn taken_back(script: impl IntoIterator<Item = Expected>) -> Result<(), Failure> {
        let api = ApiServer::expecting(script);
        let cluster = api.cluster();
        let shared = Shared { cluster: &cluster, name: "pull", runner: "r" };
        api.during(shared.change(|shared, runner| shared.take_back(runner))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_another_runner_overtakes_is_made_anew() {
        let other = || get("/api/v1/namespaces/ns/pods/r2");
        let pod = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "r2"}});
        let taken = taken_back([
            is_at(1, &["r", "r2"]),
            other().answers(200, pod),
            becomes(1, &["r2"]).refuses(409, "Conflict", "the object has been modified"),
            is_at(2, &["r", "r2", "r3"]),
            becomes(2, &["r2", "r3"]).answers(200, secret(3, &["r2", "r3"])),
        ]);
        taken.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_runner_left_that_is_gone_is_removed() {
        let taken = taken_back([
            is_at(1, &["gone"]),
            get("/api/v1/namespaces/ns/pods/gone").refuses(404, "NotFound", "not found"),
            becomes(1, &[]).answers(200, secret(2, &[])),
        ]);
        taken.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_has_nothing_of_the_runner_is_not_written() {
        taken_back([is_at(1, &[])]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_cannot_be_changed_is_named() {
        let missing = taken_back([get(SECRET).refuses(404, "NotFound", "not found")]);
        assert!(missing.await.unwrap_err().message.contains("Secret pull does not exist"));
        let denied = |put: Expected| put.refuses(403, "Forbidden", "cannot update resource");
        let failure = taken_back([is_at(1, &["r"]), denied(becomes(1, &[]))]).await.unwrap_err();
        assert!(failure.message.contains("update Secret pull"), "{failure}");
    }
}
