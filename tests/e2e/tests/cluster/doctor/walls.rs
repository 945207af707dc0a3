//! What a cluster's administrators put around a runner: small nodes, quotas, policies.

use serde_json::json;

use test_support::wait::{s, until};
use test_support::{RunnerPod, cluster};

use super::report::Report;
use super::{failure, is_well, warning};

#[test]
fn a_small_node_and_a_full_quota_are_named_where_hookd_may_look() {
    let runner = RunnerPod::start();
    let_look(&runner);
    until("hookd may look", s(10), || {
        let report = Report::of(&runner, &[]);
        let is_ok = |name| report.check(name)["status"] == "ok";
        (is_ok("node") && is_ok("quota")).then_some(())
    });
    let words = &["node devcluster has ", "a build may use 9Ti", "Lower HOOKD_BUILD_MEMORY"];
    warning("node", &["--build-memory", "9Ti"], words).is_found(&runner);
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "wall", "namespace": runner.namespace},
        "spec": {"hard": {"pods": "1"}},
    })]);
    let words = &["used up: wall: pods 1 of 1", "take all that the ResourceQuota allows"];
    failure("quota", &[], words).is_found(&runner);
}

/// Lets hookd read what its Role does not: nodes and quotas.
fn let_look(runner: &RunnerPod) {
    let (name, version) = (&runner.namespace, "rbac.authorization.k8s.io/v1");
    let namespace = cluster::get(&["namespace", name]);
    // Both go with the namespace.
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": name,
        "uid": namespace["metadata"]["uid"]});
    let metadata = json!({"name": name, "ownerReferences": [owner]});
    let rules = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["list"]},
    ]);
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let account = json!({"kind": "ServiceAccount", "name": "hookd", "namespace": name});
    cluster::create(&[
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules}),
        json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": role, "subjects": [account]}),
    ]);
}

#[test]
fn a_policy_that_refuses_the_builders_image_is_named() {
    let runner = RunnerPod::start();
    crate::policy_file::check_images(&runner, "");
    is_well(&runner);
    let flags = &["--kaniko-image", "127.0.0.1:1/kaniko:1"];
    let words =
        &["hookd-images", "127.0.0.1:1/kaniko", "Let the policy or webhook that the message"];
    failure("build-admission", flags, words).is_found(&runner);
}
