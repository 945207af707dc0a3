//! The quotas of the namespace, where hookd may read them.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::error::ClusterError;
use crate::config::quantity::quantity;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;

use super::{is_forbidden, or_return};

/// None of them is used up.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let cluster = or_return!(facts.cluster());
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match quotas.list(&ListParams::default()).await {
        Ok(list) => judge(&list.items),
        Err(error) if is_forbidden(&error) => Outcome::skipped(
            "hookd may not list resourcequotas, and needs not: job-admission and build-admission meet one \
             that is used up",
        ),
        Err(error) => Failure::from(ClusterError::from_request("list quotas", error)).into(),
    }
}

fn judge(quotas: &[ResourceQuota]) -> Outcome {
    let mut full = Vec::new();
    for quota in quotas {
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        let status = quota.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        for (resource, hard) in status.hard.unwrap_or_default() {
            let used = used.get(&resource).map(|used| used.0.as_str()).unwrap_or("0");
            let is_full =
                quantity(used).zip(quantity(&hard.0)).is_some_and(|(used, hard)| used >= hard);
            if is_full {
                full.push(format!("{name}: {resource} {used} of {}", hard.0));
            }
        }
    }
    if full.is_empty() {
        return Outcome::ok(format!("{} quotas, none of them used up", quotas.len()));
    }
    Outcome::failure(
        format!("used up: {}", full.join("; ")),
        "Pods and Jobs of the namespace take all that the ResourceQuota allows",
        "Raise the ResourceQuota of the namespace, or run fewer jobs at a time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;
    use serde_json::json;

    #[test]
    fn a_quota_that_is_used_up_is_named() {
        let quota = |used: &str| {
            let status = json!({"hard": {"pods": "2", "limits.memory": "1Gi"},
                "used": {"pods": used, "limits.memory": "500Mi"}});
            let quota = json!({"metadata": {"name": "small"}, "status": status});
            vec![serde_json::from_value(quota).unwrap()]
        };
        assert_eq!(judge(&quota("1")).status, Status::Ok);
        let full = judge(&quota("2"));
        assert_eq!(full.found, "used up: small: pods 2 of 2");
    }
}
