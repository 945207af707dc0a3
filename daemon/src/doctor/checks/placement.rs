//! The runner pod, where its jobs run, and how stepd gets there.

use crate::config::AgentInjection;
use crate::context::{ClusterInfo, has_image_volumes, minor_version};
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;
use crate::objects::agent::Injection;
use crate::objects::error::SpecError;

use super::or_return;

/// Minor version of Kubernetes from which a feature gate alone decides on image volumes.
const BEHIND_A_GATE: u32 = 33;

/// Its object can be read.
pub(super) async fn runner_pod(facts: &Facts) -> Outcome {
    let cluster = or_return!(facts.cluster());
    match &facts.runner {
        Ok(runner) => {
            let (name, node, namespace) = (&runner.name, &runner.node, &cluster.namespace);
            Outcome::ok(format!("pod {namespace}/{name} is on node {node}"))
        }
        Err(failure) => failure.into(),
    }
}

/// The pod has what the containers of jobs need where they run.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    match &runner.job_volumes {
        Some(Ok(volumes)) => Outcome::ok(format!(
            "jobs run in the runner pod, which has all volumes for them and {} spare ones",
            volumes.spare.len()
        )),
        Some(Err(error)) => Failure::from(error.clone()).into(),
        None if runner.work.is_none() => {
            let work_dir = facts.config.work_dir.clone();
            Failure::from(SpecError::NoClaim { work_dir }).into()
        }
        None => Outcome::ok("jobs run in pods of their own"),
    }
}

/// The way of stepd into pods of jobs is one that the cluster has.
pub(super) async fn image_volumes(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    if facts.is_in_runner_pod() {
        return Outcome::skipped("jobs in the runner pod need no image volumes");
    }
    let version = facts.server.as_ref().map(|server| server.version.clone()).unwrap_or_default();
    let (has, minor) = (has_image_volumes(&version), minor_version(&version));
    let known = ClusterInfo { runner: runner.clone(), cluster_version: version.clone() };
    let remedy = "Upgrade to Kubernetes 1.35 with containerd 2.1 or CRI-O 1.33 or later, or set \
                  HOOKD_AGENT_INJECTION=init-container";
    match (known.injection(&facts.config), has) {
        (Injection::ImageVolumes, false) if minor.is_none_or(|minor| minor >= BEHIND_A_GATE) => {
            Outcome::warning(
                format!("HOOKD_AGENT_INJECTION=image-volumes, and the API server is {version}"),
                "Image volumes are on by default from Kubernetes 1.35 on; before it the feature gate ImageVolume \
                 must be set on the API server and the nodes, without which job-admission fails",
                remedy,
            )
        }
        (Injection::ImageVolumes, false) => Outcome::failure(
            format!("HOOKD_AGENT_INJECTION=image-volumes, and the API server is {version}"),
            "Image volumes are on by default from Kubernetes 1.35 on, and in beta from 1.33 on",
            remedy,
        ),
        (Injection::InitContainer, _) if facts.config.agent_injection == AgentInjection::Auto => {
            Outcome::warning(
                format!(
                    "the API server is {version}: an init container copies stepd into each job pod"
                ),
                "Image volumes are on by default from Kubernetes 1.35 on, and start jobs faster",
                remedy,
            )
        }
        (Injection::InitContainer | Injection::RunnerPod, _) => {
            Outcome::ok("an init container copies stepd into job pods, as the setting says")
        }
        (Injection::ImageVolumes, true) => {
            Outcome::ok(format!("the API server is {version}, which has image volumes"))
        }
    }
}
