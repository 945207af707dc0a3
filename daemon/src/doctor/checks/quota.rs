//! The quotas of the namespace, where hookd may read them.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::access::{self, Rule};
use crate::cluster::error::ClusterError;
use crate::config::quantity::quantity;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;

use super::{is_forbidden, or_return};

/// What a container may ask for of its node.
const AMOUNTS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// None of them is used up.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let cluster = or_return!(facts.cluster());
    let has_registry = facts.config.registry.host.is_some();
    if facts.is_in_runner_pod() && !has_registry {
        return Outcome::skipped("jobs and builds in the runner pod take nothing of a quota");
    }
    let rules = access::required(facts.is_in_runner_pod(), has_registry);
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match quotas.list(&ListParams::default()).await {
        Ok(list) => judge(&list.items, &rules),
        Err(error) if is_forbidden(&error) => Outcome::skipped(
            "hookd may not list resourcequotas, and needs not: job-admission and build-admission meet one \
             that is used up",
        ),
        Err(error) => Failure::from(ClusterError::from_request("list quotas", error)).into(),
    }
}

/// True if what hookd must be allowed to make is counted by this name of a quota.
fn is_of_hookd(resource: &str, rules: &[Rule]) -> bool {
    let makes = |name: &str, group: &str| {
        let mut made = rules.iter().filter(|(_, _, verbs)| verbs.contains(&"create"));
        made.any(|rule| (rule.0, rule.1) == (group, name))
    };
    if let Some(counted) = resource.strip_prefix("count/") {
        let (name, group) = counted.split_once('.').unwrap_or((counted, ""));
        return makes(name, group);
    }
    let amount = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits."));
    let is_amount = AMOUNTS.contains(&amount.unwrap_or(resource));
    makes(resource, "") || (is_amount && makes("pods", ""))
}

fn judge(quotas: &[ResourceQuota], rules: &[Rule]) -> Outcome {
    let (mut full, mut scoped) = (Vec::new(), Vec::new());
    for quota in quotas {
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        let spec = quota.spec.clone().unwrap_or_default();
        let is_scoped = spec.scope_selector.is_some() || spec.scopes.is_some();
        let status = quota.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        let hard = status.hard.unwrap_or_default().into_iter();
        for (resource, hard) in hard.filter(|(resource, _)| is_of_hookd(resource, rules)) {
            let used = used.get(&resource).map(|used| used.0.as_str()).unwrap_or("0");
            let is_full =
                quantity(used).zip(quantity(&hard.0)).is_some_and(|(used, hard)| used >= hard);
            if is_full {
                let list = if is_scoped { &mut scoped } else { &mut full };
                list.push(format!("{name}: {resource} {used} of {}", hard.0));
            }
        }
    }
    let remedy = "Raise the ResourceQuota of the namespace, or run fewer jobs at a time";
    match (&full[..], &scoped[..]) {
        ([], []) => Outcome::ok(format!(
            "{} quotas, and what hookd makes finds room in each of them",
            quotas.len()
        )),
        ([], scoped) => Outcome::warning(
            format!("used up: {}", scoped.join("; ")),
            "The ResourceQuota counts only some pods, and those of hookd may be among them",
            remedy,
        ),
        (full, _) => Outcome::failure(
            format!("used up: {}", full.join("; ")),
            "Pods and Jobs of the namespace take all that the ResourceQuota allows",
            remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;
    use serde_json::{Value, json};

    fn judged(hard: &Value, used: &Value, more: &Value) -> Outcome {
        let mut spec = json!({"hard": hard});
        for (name, value) in more.as_object().unwrap() {
            spec[name] = value.clone();
        }
        let status = json!({"hard": hard, "used": used});
        let quota = json!({"metadata": {"name": "small"}, "spec": spec, "status": status});
        let quota = serde_json::from_value(quota).unwrap();
        judge(&[quota], &access::required(false, false))
    }

    #[test]
    fn a_quota_that_is_used_up_is_named() {
        let hard = json!({"pods": "2", "limits.memory": "1Gi"});
        let of = |pods: &str| json!({"pods": pods, "limits.memory": "500Mi"});
        assert_eq!(judged(&hard, &of("1"), &json!({})).status, Status::Ok);
        let full = judged(&hard, &of("2"), &json!({}));
        assert_eq!(full.status, Status::Failure);
        assert_eq!(full.found, "used up: small: pods 2 of 2");
    }

    #[test]
    fn only_what_hookd_makes_can_be_used_up() {
        for (resource, expected) in [
            ("pods", Status::Failure),
            ("count/pods", Status::Failure),
            ("count/jobs.batch", Status::Failure),
            ("secrets", Status::Failure),
            ("count/secrets", Status::Failure),
            ("cpu", Status::Failure),
            ("requests.memory", Status::Failure),
            ("limits.ephemeral-storage", Status::Failure),
            ("services.nodeports", Status::Ok),
            ("services.loadbalancers", Status::Ok),
            ("count/jobs.example.com", Status::Ok),
            ("count/deployments.apps", Status::Ok),
            ("persistentvolumeclaims", Status::Ok),
            ("requests.storage", Status::Ok),
            ("requests.nvidia.com/gpu", Status::Ok),
        ] {
            let outcome = judged(&json!({resource: "0"}), &json!({resource: "0"}), &json!({}));
            assert_eq!(outcome.status, expected, "{resource}: {outcome:?}");
        }
    }

    #[test]
    fn the_quota_of_deploy_has_room_on_an_empty_cluster() {
        let file = include_str!("../../../../deploy/policy/limits.yaml");
        let first = file.split("\n---\n").next().unwrap();
        let quota: Value = crate::yaml::parse_strict(first.as_bytes()).unwrap();
        let outcome = judged(&quota["spec"]["hard"], &json!({}), &json!({}));
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }

    #[test]
    fn a_quota_of_some_pods_that_is_used_up_is_a_warning() {
        let (hard, selector) = (json!({"pods": "0"}), json!({"scopes": ["BestEffort"]}));
        assert_eq!(judged(&hard, &json!({}), &selector).status, Status::Warning);
    }
}
