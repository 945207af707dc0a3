//! What the cluster's admission says of what hookd would make: dry runs, which make nothing.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::{Cluster, dry_run};
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;
use crate::runner::Runner;
use crate::workload::pod_security;

use super::{or_return, planned};

/// The namespace enforces a level of Pod Security.
pub(super) async fn pod_security(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    match pod_security::ask(&cluster.client, runner).await {
        Ok(_) => Outcome::warning(
            format!("namespace {} lets privileged pods in", cluster.namespace),
            "It enforces no Pod Security level: every account that may create pods there can take its node",
            "Label it with pod-security.kubernetes.io/enforce=baseline (docs/operations.md)",
        ),
        Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity") => {
            let words = status.message.split("PodSecurity ").nth(1).unwrap_or_default();
            let level = words.split('"').nth(1).unwrap_or_default();
            let level = level.split(':').next().unwrap_or_default();
            Outcome::ok(format!("the namespace enforces Pod Security {level:?}"))
        }
        Err(kube::Error::Api(status))
            if status.message.contains("cannot create resource")
                || status.message.contains("cannot patch resource") =>
        {
            Outcome::skipped("hookd may not ask: see permissions")
        }
        Err(kube::Error::Api(_)) => Outcome::ok("admission refuses a privileged pod"),
        Err(_) => Outcome::skipped("the API server did not answer"),
    }
}

/// The containers of a job would be admitted.
pub(super) async fn job(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    let volumes = match &runner.job_volumes {
        Some(Ok(volumes)) => volumes,
        Some(Err(_)) => return Outcome::skipped("jobs cannot run here: see placement"),
        None => {
            let asked = async {
                let pod = planned::job(facts, runner)?;
                dry_run::create(&cluster.pods(), &pod, "create the job's pod").await
            };
            return judged(asked.await, "the pod of a job would be admitted");
        }
    };
    let asked = async {
        let container = planned::container(facts, runner, volumes)?;
        let action = "add a job's container to the runner pod";
        dry_run::add_containers(&cluster.pods(), &runner.name, &[container], action).await
    };
    judged(asked.await, "the container of a job would be admitted to the runner pod")
}

/// What builds an image would be admitted.
pub(super) async fn build(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    match planned::build(facts, runner) {
        Err(failure) => failure.into(),
        Ok(Some(job)) => {
            let asked = job_with_pod(cluster, &job).await;
            judged(asked, "the Job of a build and its pod would be admitted")
        }
        Ok(None) if facts.is_in_runner_pod() => {
            let asked = in_runner_pod(facts, cluster, runner).await;
            judged(asked, "Kaniko would be admitted to the runner pod")
        }
        Ok(None) => Outcome::skipped("no registry is configured: no image is built"),
    }
}

async fn in_runner_pod(facts: &Facts, cluster: &Cluster, runner: &Runner) -> Result<(), Failure> {
    let container = planned::kaniko(facts)?;
    let action = "add Kaniko to the runner pod";
    dry_run::add_containers(&cluster.pods(), &runner.name, &[container], action).await
}

/// A Job is admitted whatever its pod is: both are asked for.
async fn job_with_pod(cluster: &Cluster, job: &Job) -> Result<(), Failure> {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(format!("{}-doctor", job.name_any()));
    let pod = Pod { metadata, spec: template.spec, ..Pod::default() };
    let (jobs, pods) = (cluster.jobs(), cluster.pods());
    tokio::try_join!(
        dry_run::create(&jobs, job, "create the Job of a build"),
        dry_run::create(&pods, &pod, "create the pod of a build"),
    )?;
    Ok(())
}

fn judged(answer: Result<(), Failure>, well: &str) -> Outcome {
    match answer {
        Ok(()) => Outcome::ok(well),
        Err(failure) => failure.into(),
    }
}
