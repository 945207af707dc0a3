//! The node of the runner, where hookd may read it.

use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::cluster::error::ClusterError;
use crate::config::quantity::quantity;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;

use super::{is_forbidden, or_return};

/// It takes pods, and has as much memory as a build may use.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    match nodes.get(&runner.node).await {
        Ok(node) => judge(&runner.node, &node, &facts.config.build.memory),
        Err(error) if is_forbidden(&error) => Outcome::skipped(
            "hookd may not read nodes, which takes a ClusterRole, and needs not: a step that waits for room \
             says so",
        ),
        Err(error) => Failure::from(ClusterError::from_request("read the node", error)).into(),
    }
}

fn judge(name: &str, node: &Node, memory: &str) -> Outcome {
    let remedy =
        "Give the node room, or move the runners to other nodes (`nodeSelector` of the runner pod)";
    let is_closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.clone());
    let pressed: Vec<_> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.type_.ends_with("Pressure") && condition.status == "True")
        .map(|condition| condition.type_)
        .collect();
    if is_closed || !pressed.is_empty() {
        let why = if is_closed { "it is cordoned".to_owned() } else { pressed.join(", ") };
        return Outcome::warning(format!("node {name} takes no new pods"), why, remedy);
    }
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let has = allocatable.and_then(|all| all.get("memory")).map(|has| has.0.as_str());
    let too_small =
        has.and_then(quantity).zip(quantity(memory)).is_some_and(|(has, may)| has < may);
    match has {
        Some(has) if too_small => Outcome::warning(
            format!("node {name} has {has} of memory, and a build may use {memory}"),
            "A build that needs it will be killed",
            "Lower HOOKD_BUILD_MEMORY, or use larger nodes",
        ),
        _ => Outcome::ok(format!("node {name} takes pods")),
    }
}
