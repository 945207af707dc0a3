//! The containers of a job's pod, and what they need of it.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use super::PodOptions;
use super::spec::{JobContainer, JobSpec};
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::agent;
use crate::objects::docker::args;
use crate::objects::step_job;
use crate::runner::Runner;

/// What the containers add to the pod, and to what is made beside it.
pub(super) struct Built {
    /// The pod, with containers and volumes only.
    pub(super) pod: PodSpec,
    /// Directories of the work volume that must exist before it starts.
    pub(super) directories: Vec<PathBuf>,
    /// Of the services' environment, in the order of the Secret's keys.
    pub(super) values: Vec<String>,
}

impl Built {
    /// Of all containers of a job.
    pub(super) fn new(
        runner: &Runner,
        step: &StepId,
        spec: &JobSpec,
        options: PodOptions<'_>,
    ) -> Result<Self, Failure> {
        let pod = step_job::base_pod();
        let mut built = Self { pod, directories: Vec::new(), values: Vec::new() };
        if let Some(job) = &spec.container {
            built.add_job(runner, job, options)?;
        }
        let secret = names::services_secret(&runner.name, step);
        for (service, image) in spec.services_with(options.images) {
            let contract = service.mounts(options.work_dir, runner.work.as_ref())?;
            let container = service.container(contract.mounts, image);
            built.add_service(service, container, &secret);
            built.add_volumes(contract.volumes);
            built.directories.extend(contract.directories);
        }
        Ok(built)
    }

    fn add_job(
        &mut self,
        runner: &Runner,
        job: &JobContainer,
        options: PodOptions<'_>,
    ) -> Result<(), Failure> {
        let agent = agent::for_job(runner, options.injection);
        let contract = job.mounts(options.work_dir, runner.work.as_ref())?;
        let all = agent.mounts.into_iter().chain(contract.mounts).collect();
        let mut container = job.container(all, None);
        container.command = Some(agent.command);
        // docker mode ignores the image's entrypoint too.
        container.args = None;
        self.pod.containers.push(container);
        self.pod.init_containers = agent.init_container.map(|container| vec![container]);
        self.add_volumes(agent.volumes);
        self.add_volumes(contract.volumes);
        self.directories.extend(contract.directories);
        Ok(())
    }

    fn add_service(&mut self, service: &JobContainer, mut container: Container, secret: &str) {
        let program = Some(service.spec.entry_point.as_str()).filter(|program| !program.is_empty());
        let program = program.or_else(|| service.options.entrypoint());
        container.command = program.map(|program| vec![args::quote_dollars(program)]);
        let arguments = args::split(&service.spec.entry_point_args);
        let arguments: Vec<_> = arguments.iter().map(|text| args::quote_dollars(text)).collect();
        container.args = (!arguments.is_empty()).then_some(arguments);
        let variables = service.environment().into_iter().map(|(name, value)| {
            self.values.push(value);
            step_job::from_secret(&name, secret, step_job::key(self.values.len() - 1))
        });
        container.env = Some(variables.collect());
        self.pod.containers.push(container);
    }

    /// Containers share the work volume and named ones.
    fn add_volumes(&mut self, volumes: impl IntoIterator<Item = Volume>) {
        for volume in volumes {
            let all = self.pod.volumes.get_or_insert_default();
            if !all.iter().any(|there| there.name == volume.name) {
                all.push(volume);
            }
        }
    }
}
