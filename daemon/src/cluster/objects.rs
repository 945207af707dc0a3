//! Objects of ours: created once whatever the network does, found again, and deleted with what they
//! own.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::error::ClusterError;
use crate::cluster::retry::Retry;
use crate::cluster::{Cluster, dry_run, events, refusal};
use crate::error::Failure;
use crate::names::{self, RUNNER_LABEL};

/// Creates the object, or finds it if an earlier create (of ours: it carries our labels and our
/// owner) has gone through.
///
/// # Errors
/// What the API says, or [`ClusterError::NameTaken`] when an object of that name is not ours.
pub async fn create<K>(api: &Api<K>, object: &K, retry: &Retry) -> Result<K, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + serde::Serialize
        + std::fmt::Debug,
{
    let name = object.name_any();
    let action = format!("create {} {name}", K::kind(&()));
    let params = PostParams::default();
    match retry.attempt(|| api.create(&params, object)).await {
        Ok(created) => Ok(created),
        // The other 409, a conflict, says nothing of the name, and was repeated.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let action = format!("read {} {name}", K::kind(&()));
            let found = retry.run(&action, || api.get_opt(&name)).await?;
            // One that is gone by now was being deleted.
            let found = found.filter(|found| is_ours(found, object));
            let kind = K::kind(&()).into_owned();
            found.ok_or_else(|| ClusterError::NameTaken { kind, name }.into())
        }
        Err(error) => Err(ClusterError::from_request(action, error).into()),
    }
}

fn is_ours<K: Resource>(found: &K, wanted: &K) -> bool {
    let owner = |object: &K| object.owner_references().first().map(|owner| owner.uid.clone());
    // Admission controllers may have added labels of their own.
    // Which job it was made for is what a call says, and decides nothing.
    let mut decide = wanted.labels().iter().filter(|(name, _)| !names::origin::is_label(name));
    decide.all(|label| found.labels().get_key_value(label.0) == Some(label))
        && owner(found) == owner(wanted)
        && found.meta().deletion_timestamp.is_none()
}

/// The Job, or none if it is gone.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn find(jobs: &Api<Job>, name: &str, retry: &Retry) -> Result<Option<Job>, Failure> {
    retry.run(&format!("read Job {name}"), || jobs.get_opt(name)).await
}

/// Asks why the Job has no pod: a Job that no pod may be made for says nothing itself, but its newest
/// event does; without one, what would become of such a pod.
///
/// # Errors
/// The refusal, with the API's message.
pub async fn try_pod(cluster: &Cluster, job: &Job) -> Result<(), Failure> {
    const ACTION: &str = "create the step's pod";
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let event = events::newest(cluster, uid, "FailedCreate").await;
    if let Some(status) = event.and_then(|message| refusal::of_event(&message)) {
        return Err(ClusterError::refused(ACTION, &status).into());
    }
    let Some(template) = job.spec.as_ref().map(|spec| spec.template.clone()) else { return Ok(()) };
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(format!("{}-try", job.name_any()));
    let pod = Pod { metadata, spec: template.spec, ..Pod::default() };
    // Where a webhook takes no dry run only the event can say why.
    dry_run::create(&cluster.pods(), &pod, ACTION).await
}

/// Deletes the object of this name and what it owns, if it is this runner's; true if it was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn delete<K>(
    api: &Api<K>,
    runner: &str,
    name: &str,
    retry: &Retry,
) -> Result<bool, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let kind = K::kind(&());
    let found = retry.run(&format!("read {kind} {name}"), || api.get_metadata_opt(name)).await?;
    match found {
        Some(found) if names::is_of(&found.metadata, runner) => {
            delete_found(api, &found.metadata, retry).await
        }
        Some(_) => {
            tracing::warn!(%kind, name, "not deleted: it is not this runner's");
            Ok(false)
        }
        None => Ok(false),
    }
}

/// Deletes this very object and what it owns, and no other that has its name by now; true if it was
/// there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn delete_found<K>(
    api: &Api<K>,
    found: &ObjectMeta,
    retry: &Retry,
) -> Result<bool, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = found.name.as_deref().unwrap_or_default();
    // Without a policy the pods of a Job would stay.
    let uid = Preconditions { uid: found.uid.clone(), resource_version: None };
    let params = DeleteParams::background().preconditions(uid);
    let deleted = retry.attempt(|| async {
        match api.delete(name, &params).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 || is_another(&status) => Ok(false),
            Err(error) => Err(error),
        }
    });
    let action = || format!("delete {} {name}", K::kind(&()));
    deleted.await.map_err(|error| ClusterError::from_request(action(), error).into())
}

/// The object of the name has another uid than the one that was asked for.
fn is_another(status: &kube::core::Status) -> bool {
    status.is_conflict() && status.message.contains("UID in precondition")
}

/// Deletes the pod of this runner's job; true if it was there.
///
/// # Errors
/// `STEP_LOST` when the pod of that name is not this runner's: it stays. When the API refuses or
/// stays away.
pub async fn delete_pod_of(runner: &str, pods: &Api<Pod>, retry: &Retry) -> Result<bool, Failure> {
    let name = names::job_pod(runner);
    let found = retry.run(&format!("read Pod {name}"), || pods.get_metadata_opt(&name)).await?;
    match found {
        Some(pod) if !names::is_of(&pod.metadata, runner) => {
            let (other, runner) = (pod.labels().get(RUNNER_LABEL).cloned(), runner.to_owned());
            let error = match other {
                Some(other) => ClusterError::PodOfAnotherRunner { name, other, runner },
                None => ClusterError::PodOfNoRunner { name, label: RUNNER_LABEL },
            };
            Err(error.into())
        }
        Some(pod) => delete_found(pods, &pod.metadata, retry).await,
        None => Ok(false),
    }
}

/// Deletes a Job and the Secret of its name, both at once; true if one was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn delete_with_secret(
    jobs: &Api<Job>,
    secrets: &Api<Secret>,
    runner: &str,
    name: &str,
    retry: &Retry,
) -> Result<bool, Failure> {
    let (job, secret) =
        tokio::join!(delete(jobs, runner, name, retry), delete(secrets, runner, name, retry));
    Ok(job? | secret?)
}

#[cfg(test)]
mod tests;
