//! What hookd would make for a job and for a build, for dry runs.

use hookd_api::v1::ContainerSpec;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};

use crate::build::builder;
use crate::context::ClusterInfo;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::endpoint::EndpointConfig;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::agent::Injection;
use crate::objects::build_job::{self, Attempt, Sharing, kaniko};
use crate::objects::ephemeral::{self, Request, SpareVolumes};
use crate::objects::job_pod::{self, JobSpec, PodOptions};
use crate::objects::template::build::place;
use crate::registry::destination;
use crate::runner::job_volumes::JobVolumes;
use crate::runner::{Runner, WorkVolume};

fn step() -> Result<StepId, Failure> {
    "doctor".parse().map_err(|_| Failure::internal("\"doctor\" is no step"))
}

/// A job with a container and nothing else.
fn pod(facts: &Facts, runner: &Runner, injection: Injection) -> Result<Pod, Outcome> {
    // An image that the namespace's policies allow for certain.
    let container = ContainerSpec { image: runner.hookd_image.clone(), ..ContainerSpec::default() };
    let spec = JobSpec::read(Some(container), Vec::new())?;
    let template = facts.template()?;
    let in_runner_pod = injection == Injection::RunnerPod;
    let registry_secret = facts.config.registry.secret.as_deref().filter(|_| !in_runner_pod);
    let options = PodOptions {
        work_dir: &facts.config.work_dir,
        template: template.as_ref(),
        registry_secret,
        injection,
        images: &[],
    };
    Ok(job_pod::plan(runner, &step()?, &spec, options)?.pod)
}

/// The pod of a job, under a name of its own: that of the runner's job may be taken.
pub(super) fn job(facts: &Facts, runner: &Runner) -> Result<Pod, Outcome> {
    let version = facts.server.as_ref().map(|server| server.version.clone()).unwrap_or_default();
    let known = ClusterInfo { runner: runner.clone(), cluster_version: version };
    let mut pod = pod(facts, runner, known.injection(&facts.config))?;
    pod.metadata.name = Some(format!("{}-doctor", names::job_pod(&runner.name)));
    Ok(pod)
}

/// The job's container as one of the runner pod.
pub(super) fn container(
    facts: &Facts,
    runner: &Runner,
    volumes: &JobVolumes,
) -> Result<EphemeralContainer, Outcome> {
    let work = Some(WorkVolume { same_node: false, ..WorkVolume::default() });
    let here = Runner { work, work_refused: None, supplemental_groups: None, ..runner.clone() };
    let spec = pod(facts, &here, Injection::RunnerPod)?.spec.unwrap_or_default();
    let container = spec.containers.first().cloned().unwrap_or_default();
    let name = names::job_container(&step()?);
    let request = Request {
        container: &container,
        volumes: spec.volumes.as_deref().unwrap_or_default(),
        name: &name,
        agent: &volumes.agents.job,
        secret: "",
    };
    let lowered = ephemeral::lower(request, volumes, &mut SpareVolumes::default());
    Ok(lowered.map_err(Failure::from)?.container)
}

/// Kaniko as a container of the runner pod, as far as admission looks at it.
pub(super) fn kaniko(facts: &Facts) -> Result<EphemeralContainer, Failure> {
    let build = &facts.config.build;
    Ok(EphemeralContainer {
        name: names::step_container(&step()?, 0),
        image: Some(build.kaniko_image.clone()),
        security_context: Some(kaniko::security_context(build)),
        ..EphemeralContainer::default()
    })
}

/// The Job of a build; none: no registry is configured.
pub(super) fn build(facts: &Facts, runner: &Runner) -> Result<Option<Job>, Outcome> {
    let config = &facts.config;
    let Ok(destination) = destination::of_tag(&config.registry, "doctor") else { return Ok(None) };
    let endpoint = EndpointConfig::new(&config.registry, &destination, &[]);
    let sharing = Sharing { is_trusted: true, no_cache: false };
    let part = builder::of(&config.build).part(&endpoint, &config.build, sharing);
    let step = step()?;
    let attempt = Attempt { step: &step, number: 0 };
    let job = build_job::job(runner, attempt, part, &endpoint, &config.registry, &config.build)?;
    Ok(Some(place(facts.template()?.as_ref(), None, job)?.job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::scripted::ApiServer;
    use crate::config::Config;
    use crate::doctor::tests::asked_first;

    #[tokio::test]
    async fn a_job_is_planned_with_an_image_of_hookd() {
        let api = ApiServer::expecting(asked_first("v1.36.1", &[]));
        let asked = Facts::of(Config::of(&[]).without_empty(), Vec::new(), Ok(api.cluster()));
        let facts = api.during(asked).await;
        let runner = facts.runner().unwrap();
        let spec = job(&facts, runner).unwrap().spec.unwrap();
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let images: Vec<_> = all.map(|one| one.image.as_deref().unwrap_or_default()).collect();
        assert!(!images.is_empty());
        assert!(images.iter().all(|image| *image == "hookd@sha256:0"), "{images:?}");
        let volumes = JobVolumes::default();
        let container = container(&facts, runner, &volumes).unwrap();
        assert_eq!(container.image.as_deref(), Some("hookd@sha256:0"));
    }
}
