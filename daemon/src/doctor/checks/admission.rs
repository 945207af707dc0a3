//! What the cluster's admission says of what hookd would make: dry runs, which make nothing.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::Status;

use crate::cluster::refusal::Refusal;
use crate::cluster::{Cluster, dry_run};
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::{Failure, report};
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
        Err(kube::Error::Api(status)) => refused(&status),
        Err(error) => Outcome::skipped(format!("it is not known: {}", report(&error))),
    }
}

/// What a refusal of a privileged pod says of the namespace.
fn refused(status: &Status) -> Outcome {
    let refusal = Refusal::of(status);
    match refusal {
        Refusal::MissingPermission => Outcome::skipped("hookd may not ask: see permissions"),
        _ if !refusal.is_for_security() => {
            Outcome::skipped(format!("it is not known: {}", status.message))
        }
        _ => match status.message.split_once("violates PodSecurity \"") {
            Some((_, words)) => {
                let level = words.split([':', '"']).next().unwrap_or_default();
                Outcome::ok(format!("the namespace enforces Pod Security {level:?}"))
            }
            None => Outcome::ok("admission refuses a privileged pod"),
        },
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
            let pod = or_return!(planned::job(facts, runner));
            let asked = dry_run::create(&cluster.pods(), &pod, "create the job's pod").await;
            return judged(asked, "the pod of a job would be admitted");
        }
    };
    let container = or_return!(planned::container(facts, runner, volumes));
    let action = "add a job's container to the runner pod";
    let pods = cluster.pods();
    let asked = dry_run::add_containers(&pods, &runner.name, &[container], action).await;
    judged(asked, "the container of a job would be admitted to the runner pod")
}

/// What builds an image would be admitted.
pub(super) async fn build(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let cluster = or_return!(facts.cluster());
    match or_return!(planned::build(facts, runner)) {
        Some(job) => {
            let asked = job_with_pod(cluster, &job).await;
            judged(asked, "the Job of a build and its pod would be admitted")
        }
        None if facts.is_in_runner_pod() => {
            let asked = in_runner_pod(facts, cluster, runner).await;
            judged(asked, "Kaniko would be admitted to the runner pod")
        }
        None => Outcome::skipped("no registry is configured: no image is built"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status as Found;

    #[test]
    fn only_what_looks_at_privileges_shows_a_level() {
        let level = "pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.36\": privileged";
        let policy = "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'hookd-pods' with binding 'b' \
                      denied request: a container of hookd is not privileged";
        let webhook = "admission webhook \"w.example\" denied the request: no";
        let user =
            "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\"";
        for (code, message, expected, words) in [
            (403, level, Found::Ok, "\"baseline\""),
            (403, policy, Found::Ok, "privileged pod"),
            (422, policy, Found::Ok, "privileged pod"),
            (400, webhook, Found::Ok, "privileged pod"),
            (403, user, Found::Skipped, "permissions"),
            (
                403,
                "pods \"p\" is forbidden: exceeded quota: small",
                Found::Skipped,
                "exceeded quota",
            ),
            (403, "pods \"p\" is forbidden: maximum cpu usage per Pod is 1", Found::Skipped, "cpu"),
            (429, "too many requests", Found::Skipped, "too many"),
            (500, "etcdserver: request timed out", Found::Skipped, "etcdserver"),
            (500, "failed calling webhook \"w.example\": no endpoints", Found::Skipped, "webhook"),
        ] {
            let status = Status { code, message: message.to_owned(), ..Status::default() };
            let outcome = refused(&status);
            assert_eq!(outcome.status, expected, "{code} {message}: {outcome:?}");
            assert!(outcome.found.contains(words), "{outcome:?}");
        }
    }
}
