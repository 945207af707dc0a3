//! What the API server would say of an object, with its admission policies and quotas; nothing is made.

use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cluster::error::ClusterError;
use crate::error::Failure;

/// Asks whether the object would be created; `action` completes "refused to". A webhook that takes no dry
/// run counts as one that refuses nothing.
///
/// # Errors
/// The refusal, with the API's message; an API that does not answer.
pub async fn create<K>(api: &Api<K>, object: &K, action: &str) -> Result<(), Failure>
where
    K: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let params = PostParams { dry_run: true, ..PostParams::default() };
    judged(api.create(&params, object).await, action)
}

/// Asks whether the containers would be added to the pod `name`; otherwise as [`create`].
///
/// # Errors
/// As [`create`].
pub async fn add_containers(
    pods: &Api<Pod>,
    name: &str,
    new: &[EphemeralContainer],
    action: &str,
) -> Result<(), Failure> {
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": new}}));
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    judged(pods.patch_ephemeral_containers(name, &params, &patch).await, action)
}

fn judged<T>(answer: kube::Result<T>, action: &str) -> Result<(), Failure> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.message.contains("does not support dry run") => {
            Ok(())
        }
        Err(error) => Err(ClusterError::from_request(action, error).into()),
    }
}
