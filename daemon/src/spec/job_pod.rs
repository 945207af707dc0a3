//! The pod of a job: its container, run by stepd, and its services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hookd_api::v1::{ContainerSpec, JobPrepared};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, Secret, Volume};

use crate::config::PolicyConfig;
use crate::error::Failure;
use crate::ids::StepId;
use crate::image::lookup::ImageConfig;
use crate::runner::Runner;
use crate::spec::create_options::ContainerKind;
use crate::spec::names::Component;
use crate::spec::ports;
use crate::spec::services::{self, JOB, Named};
use crate::spec::template::{Target, Template};
use crate::spec::tools::{self, Delivery};
use crate::spec::{args, names, pull_secret, step_job};

mod part;

use part::Part;

/// What a job asks for.
#[derive(Clone, Debug, Default)]
pub struct JobSpec {
    /// The job container, if the job has one.
    pub container: Option<ContainerSpec>,
    /// The services, in the order of the workflow.
    pub services: Vec<ContainerSpec>,
}

/// What is known beside the job itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The runner's work directory.
    pub work_dir: &'a Path,
    /// The administrator's template.
    pub template: Option<&'a Template>,
    /// Pull Secret of the registry of built images.
    pub registry_secret: Option<&'a str>,
    /// How stepd gets in.
    pub delivery: Delivery,
    /// The services' images, in their order, as far as they are known.
    pub images: &'a [Option<ImageConfig>],
    /// What the workflow may ask for.
    pub policy: &'a PolicyConfig,
}

/// All that is to be made for a job, and what its workflow is told.
#[derive(Debug)]
pub struct Plan {
    /// The pod.
    pub pod: Pod,
    /// Secrets that it names.
    pub secrets: Vec<Secret>,
    /// Directories of the work volume that must exist before it starts.
    pub directories: Vec<PathBuf>,
    /// Environment of the job container, which goes to stepd.
    pub environment: BTreeMap<String, String>,
    /// Lines for the user: what of the job means something else here, or nothing.
    pub notes: Vec<String>,
    /// Names of the containers, the job container first.
    pub containers: Vec<String>,
    /// The answer once all are ready; whether it is Alpine is not known yet.
    pub prepared: JobPrepared,
}

/// Plans the pod of a job.
///
/// # Errors
/// What of the job cannot be had, with what can.
pub fn plan(
    runner: &Runner,
    step: &StepId,
    spec: &JobSpec,
    around: Surroundings<'_>,
) -> Result<Plan, Failure> {
    let images: Vec<_> = spec.services.iter().map(|service| service.image.as_str()).collect();
    let names = services::container_names(&images);
    let job = spec.container.as_ref();
    let job =
        job.map(|spec| Part::new(JOB.to_owned(), ContainerKind::Job, spec, None, around.policy));
    let job = job.transpose()?;
    let images = around.images.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let services = spec.services.iter().zip(names).zip(images).map(|((spec, name), image)| {
        Part::new(name, ContainerKind::Service, spec, image, around.policy)
    });
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let parts = || job.iter().chain(&services);
    let ports: Vec<_> = parts().map(|part| (part.name.as_str(), part.listens())).collect();
    let ports: Vec<_> = ports.iter().map(|(name, ports)| (*name, ports)).collect();
    ports::check_apart(&ports)?;

    let name = names::job_pod(&runner.name);
    let mut built = Built::default();
    if let Some(job) = &job {
        built.add_job(runner, job, around)?;
    }
    let secret = names::services_secret(&runner.name, step);
    for service in &services {
        built.add_service(runner, service, around.work_dir, &secret)?;
    }
    let pull =
        pull_secret::secrets(runner, step, parts().filter_map(|part| part.spec.registry.as_ref()));
    let pull_names = pull.iter().filter_map(|secret| secret.metadata.name.clone());
    let environment = services_secret(runner, step, std::mem::take(&mut built.values));
    let named = parts().map(|part| Named {
        container: &part.name,
        image: (part.kind == ContainerKind::Service).then_some(part.spec.image.as_str()),
        options: &part.options,
    });
    let hosts = services::hosts(&named.collect::<Vec<_>>(), &runner.host_ip, job.is_some());
    let groups = parts().flat_map(|part| part.options.groups().iter().copied());
    let groups: Vec<_> =
        runner.supplemental_groups.iter().flatten().copied().chain(groups).collect();
    let same_node = runner.work.as_ref().is_some_and(|work| work.same_node);
    let secrets = around.registry_secret.map(str::to_owned).into_iter().chain(pull_names);
    let pull_secrets = secrets.map(|name| step_job::pull_secret_named(&name));
    let pull_secrets: Vec<_> = runner.pull_secrets.iter().cloned().chain(pull_secrets).collect();
    let mut metadata = names::metadata(runner, step, &name, Component::Job);
    let mut annotations = step_job::undisrupted();
    let service_names: Vec<_> = services.iter().map(|part| part.name.as_str()).collect();
    annotations.insert(names::SERVICES_ANNOTATION.to_owned(), service_names.join(","));
    metadata.annotations = Some(annotations);
    let pod = Pod {
        metadata,
        spec: Some(PodSpec {
            init_containers: built.init_container.map(|container| vec![container]),
            containers: built.containers,
            volumes: Some(built.volumes).filter(|volumes| !volumes.is_empty()),
            image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
            affinity: same_node.then(|| step_job::on_node(&runner.node)),
            host_aliases: Some(hosts.aliases).filter(|aliases| !aliases.is_empty()),
            hostname: job.as_ref().and_then(|job| job.options.hostname()),
            security_context: Some(PodSecurityContext {
                supplemental_groups: (!groups.is_empty()).then_some(groups),
                seccomp_profile: Some(step_job::runtime_default()),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            ..step_job::base_pod()
        }),
        ..Pod::default()
    };
    let mut variables = job.as_ref().map(Part::environment).unwrap_or_default();
    let mut warnings = Vec::new();
    let pod = match around.template {
        Some(template) => {
            let merged = template.merge(pod, Target::JobPod)?;
            warnings.extend(template.warnings().iter().cloned().chain(merged.warnings));
            warnings.extend(let_template_rule(template, &mut variables));
            merged.pod
        }
        None => pod,
    };
    Ok(Plan {
        secrets: environment.into_iter().chain(pull).collect(),
        directories: built.directories,
        environment: variables,
        notes: parts()
            .flat_map(|part| part.notes(job.is_some()))
            .chain(hosts.notes)
            .chain(warnings)
            .collect(),
        containers: parts().map(|part| part.name.clone()).collect(),
        prepared: JobPrepared {
            container: job.as_ref().map(|job| job.prepared(&name)),
            services: services.iter().map(|service| service.prepared(&name)).collect(),
            job_pod: name,
            is_alpine: false,
        },
        pod,
    })
}

/// Leaves the job container's variables that the template sets to the template: they stand in the
/// pod, where the workflow's do not. A line for each.
fn let_template_rule(template: &Template, variables: &mut BTreeMap<String, String>) -> Vec<String> {
    let ruled: Vec<_> = template.job_variables().into_iter().collect();
    let ruled = ruled.into_iter().filter(|name| variables.remove(*name).is_some());
    let line = |name: &str| {
        format!(
            "Container {JOB}: the hook template sets the variable {name}; the workflow's value is not \
             used"
        )
    };
    ruled.map(line).collect()
}

/// Time for stepd to end all steps after TERM.
const GRACE_SECONDS: i64 = 5;

/// The parts of the pod's specification that its containers add to.
#[derive(Default)]
struct Built {
    init_container: Option<Container>,
    containers: Vec<Container>,
    volumes: Vec<Volume>,
    directories: Vec<PathBuf>,
    /// Of the services' environment, in the order of the Secret's keys.
    values: Vec<String>,
}

impl Built {
    fn add_job(
        &mut self,
        runner: &Runner,
        job: &Part<'_>,
        around: Surroundings<'_>,
    ) -> Result<(), Failure> {
        let tools = tools::of_job(runner, around.delivery);
        let contract = job.mounts(around.work_dir, runner.work.as_ref())?;
        let all = tools.mounts.into_iter().chain(contract.mounts).collect();
        let mut container = job.container(all);
        container.command = Some(tools.command);
        // docker mode ignores the image's entrypoint too.
        container.args = None;
        self.containers.push(container);
        self.init_container = tools.init_container;
        self.add_volumes(tools.volumes);
        self.add_volumes(contract.volumes);
        self.directories.extend(contract.directories);
        Ok(())
    }

    fn add_service(
        &mut self,
        runner: &Runner,
        service: &Part<'_>,
        work_dir: &Path,
        secret: &str,
    ) -> Result<(), Failure> {
        let contract = service.mounts(work_dir, runner.work.as_ref())?;
        let mut container = service.container(contract.mounts);
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
        self.containers.push(container);
        self.add_volumes(contract.volumes);
        self.directories.extend(contract.directories);
        Ok(())
    }

    /// Containers share the work volume and named ones.
    fn add_volumes(&mut self, volumes: impl IntoIterator<Item = Volume>) {
        for volume in volumes {
            if !self.volumes.iter().any(|there| there.name == volume.name) {
                self.volumes.push(volume);
            }
        }
    }
}

fn services_secret(runner: &Runner, step: &StepId, values: Vec<String>) -> Option<Secret> {
    let data = values.into_iter().enumerate();
    let data: BTreeMap<_, _> =
        data.map(|(at, value)| (step_job::key(at), ByteString(value.into_bytes()))).collect();
    (!data.is_empty()).then(|| Secret {
        metadata: names::metadata(
            runner,
            step,
            &names::services_secret(&runner.name, step),
            Component::Job,
        ),
        immutable: Some(true),
        data: Some(data),
        ..Secret::default()
    })
}

#[cfg(test)]
mod contract;
#[cfg(test)]
mod tests;
