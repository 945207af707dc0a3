//! The claim of the work directory.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;

use crate::cluster::error::ClusterError;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;

use super::{is_forbidden, or_return};

/// Pods of steps can mount it, and write to it.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    let Some(work) = &runner.work else {
        return Outcome::skipped("the work directory is on no claim");
    };
    if let Err(refused) = runner.check_work() {
        return refused.into();
    }
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match claims.get_opt(&work.claim).await {
        Ok(Some(claim)) => judge(&work.claim, &claim),
        Ok(None) => {
            let message = format!("persistentvolumeclaim {:?} not found", work.claim);
            Failure::from(ClusterError::ClaimNotFound { message }).into()
        }
        Err(error) if is_forbidden(&error) => {
            Outcome::skipped(format!("hookd may not read claim {}: see permissions", work.claim))
        }
        Err(error) => {
            let action = format!("read claim {}", work.claim);
            Failure::from(ClusterError::from_request(action, error)).into()
        }
    }
}

fn judge(name: &str, claim: &PersistentVolumeClaim) -> Outcome {
    let spec = claim.spec.clone().unwrap_or_default();
    let modes = spec.access_modes.unwrap_or_default();
    let phase =
        claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let all = modes.join(", ");
    let writable = modes.iter().any(|mode| mode.starts_with("ReadWrite"));
    let shared = modes.iter().any(|mode| mode == "ReadWriteMany");
    if !writable {
        return Outcome::failure(
            format!("claim {name} is read-only: its access modes are {all:?}"),
            "Steps write to the work directory",
            "Use a claim with access mode ReadWriteOnce or ReadWriteMany",
        );
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Outcome::failure(
            format!("claim {name} is a block device"),
            "Its volumeMode is Block, and a work directory is a file system",
            "Use a claim with volumeMode Filesystem",
        );
    }
    if phase != "Bound" {
        return Outcome::failure(
            format!("claim {name} is {phase:?}, not bound to a volume"),
            "No volume fits it, or its volume is gone",
            "See the claim's events (kubectl describe), and its StorageClass",
        );
    }
    let place = if shared { "on any node" } else { "on the runner's node" };
    Outcome::ok(format!("claim {name} is bound ({all}): steps run {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;
    use serde_json::json;

    #[test]
    fn what_no_step_could_write_to_is_a_failure() {
        for (spec, phase, expected) in [
            (json!({"accessModes": ["ReadWriteOnce"]}), "Bound", Status::Ok),
            (json!({"accessModes": ["ReadOnlyMany", "ReadWriteMany"]}), "Bound", Status::Ok),
            (json!({"accessModes": ["ReadOnlyMany"]}), "Bound", Status::Failure),
            (
                json!({"accessModes": ["ReadWriteOnce"], "volumeMode": "Block"}),
                "Bound",
                Status::Failure,
            ),
            (json!({"accessModes": ["ReadWriteOnce"]}), "Pending", Status::Failure),
            (json!({"accessModes": ["ReadWriteOnce"]}), "Lost", Status::Failure),
        ] {
            let claim = json!({"spec": spec, "status": {"phase": phase}});
            let outcome = judge("work", &serde_json::from_value(claim).unwrap());
            assert_eq!(outcome.status, expected, "{outcome:?}");
            assert!(outcome.found.contains("work"), "{outcome:?}");
        }
    }
}
