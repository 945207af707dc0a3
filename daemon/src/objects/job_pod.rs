//! The pod of a job: its container, run by stepd, and its services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hookd_api::v1::JobPrepared;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{LocalObjectReference, Pod, PodSecurityContext, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::names::origin::Origin;
use crate::objects::agent::Injection;
use crate::objects::metadata::{self, Component};
use crate::objects::pull_secret;
use crate::objects::services::Hosts;
use crate::objects::step_job;
use crate::objects::template::{Target, Template};
use crate::registry::image_config::ImageConfig;
use crate::runner::Runner;

mod built;
mod spec;

use built::Built;
pub use spec::{JobContainer, JobSpec};

/// What is known beside the job itself.
#[derive(Clone, Copy, Debug)]
pub struct PodOptions<'a> {
    /// The runner's work directory.
    pub work_dir: &'a Path,
    /// The administrator's template.
    pub template: Option<&'a Template>,
    /// Pull Secret of the registry of built images.
    pub registry_secret: Option<&'a str>,
    /// How stepd gets in.
    pub injection: Injection,
    /// The services' images, in their order, as far as they are known.
    pub images: &'a [Option<ImageConfig>],
}

/// All objects of a job, and the warnings for its workflow.
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
    pub warnings: Vec<String>,
    /// Names of the containers, the job container first.
    pub containers: Vec<String>,
    /// The answer once all are ready; whether it is Alpine is not known yet.
    pub prepared: JobPrepared,
}

impl Plan {
    /// Says in each object for which job it is made.
    pub fn mark(&mut self, origin: &Origin) {
        origin.mark(&mut self.pod.metadata);
        self.secrets.iter_mut().for_each(|secret| origin.mark(&mut secret.metadata));
    }
}

/// Plans the pod of a job.
///
/// # Errors
/// What the job asks for and cannot get, and what it can.
pub fn plan(
    runner: &Runner,
    step: &StepId,
    spec: &JobSpec,
    options: PodOptions<'_>,
) -> Result<Plan, Failure> {
    spec.check_ports(options.images)?;
    let name = names::job_pod(&runner.name);
    let built = Built::new(runner, step, spec, options)?;
    let registries = spec.all().filter_map(|part| part.spec.registry.as_ref());
    let pull = pull_secret::secrets(runner, step, registries);
    let hosts = match options.injection {
        // That pod has its hosts already.
        Injection::RunnerPod => Hosts::default(),
        _ => spec.hosts(&runner.host_ip),
    };
    let pod = Pod {
        metadata: pod_metadata(runner, step, &name, spec),
        spec: Some(PodSpec {
            image_pull_secrets: pull_secrets(runner, options.registry_secret, &pull),
            host_aliases: Some(hosts.aliases).filter(|aliases| !aliases.is_empty()),
            ..pod_spec(runner, spec, built.pod)
        }),
        ..Pod::default()
    };
    let variables = spec.container.as_ref().map(JobContainer::environment).unwrap_or_default();
    let templated = under_template(options.template, pod, variables)?;
    let warnings = spec.all().flat_map(|part| part.warnings(spec.container.is_some()));
    Ok(Plan {
        pod: templated.pod,
        secrets: services_secret(runner, step, built.values).into_iter().chain(pull).collect(),
        directories: built.directories,
        environment: templated.environment,
        warnings: warnings.chain(hosts.warnings).chain(templated.warnings).collect(),
        containers: spec.all().map(|part| part.name.clone()).collect(),
        prepared: JobPrepared {
            container: spec.container.as_ref().map(|job| job.prepared(&name)),
            services: spec.services.iter().map(|service| service.prepared(&name)).collect(),
            job_pod: name,
            is_alpine: false,
        },
    })
}

fn pod_metadata(runner: &Runner, step: &StepId, name: &str, spec: &JobSpec) -> ObjectMeta {
    let services: Vec<_> = spec.services.iter().map(|part| part.name.as_str()).collect();
    let mut annotations = step_job::undisrupted();
    annotations.insert(names::SERVICES_ANNOTATION.to_owned(), services.join(","));
    let own = metadata::of_step(runner, step, name, Component::Job);
    ObjectMeta { annotations: Some(annotations), ..own }
}

/// The Secrets by which all images of the pod are pulled: the runner's, that of the registry of built
/// images, and the job's own.
fn pull_secrets(
    runner: &Runner,
    registry: Option<&str>,
    own: &[Secret],
) -> Option<Vec<LocalObjectReference>> {
    let own = own.iter().filter_map(|secret| secret.metadata.name.as_deref());
    let named = registry.into_iter().chain(own).map(step_job::pull_secret_named);
    let all: Vec<_> = runner.pull_secrets.iter().cloned().chain(named).collect();
    (!all.is_empty()).then_some(all)
}

/// `built`, with what the runner and the containers' options say of the pod as a whole.
fn pod_spec(runner: &Runner, spec: &JobSpec, built: PodSpec) -> PodSpec {
    let same_node = runner.work.as_ref().is_some_and(|work| work.same_node);
    let groups = spec.all().flat_map(|part| part.options.groups());
    let groups: Vec<_> =
        runner.supplemental_groups.iter().flatten().chain(groups).copied().collect();
    PodSpec {
        affinity: same_node.then(|| step_job::on_node(&runner.node)),
        hostname: spec.container.as_ref().and_then(|job| job.options.hostname()),
        security_context: Some(PodSecurityContext {
            supplemental_groups: (!groups.is_empty()).then_some(groups),
            seccomp_profile: Some(step_job::runtime_default()),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        ..built
    }
}

/// What the administrator's template leaves of the workflow's, and adds.
struct Templated {
    pod: Pod,
    /// Of the job container.
    environment: BTreeMap<String, String>,
    warnings: Vec<String>,
}

fn under_template(
    template: Option<&Template>,
    pod: Pod,
    mut environment: BTreeMap<String, String>,
) -> Result<Templated, Failure> {
    let Some(template) = template else {
        return Ok(Templated { pod, environment, warnings: Vec::new() });
    };
    let merged = template.merge(pod, Target::JobPod)?;
    let warnings = template.warnings().iter().cloned().chain(merged.warnings);
    let ruled = let_template_rule(template, &mut environment);
    let warnings = warnings.chain(ruled).collect();
    Ok(Templated { pod: merged.pod, environment, warnings })
}

/// Leaves the job container's variables that the template sets to the template: they stand in the
/// pod, where the workflow's do not. A line for each.
fn let_template_rule(template: &Template, variables: &mut BTreeMap<String, String>) -> Vec<String> {
    let ruled: Vec<_> = template.job_variables().into_iter().collect();
    let ruled = ruled.into_iter().filter(|name| variables.remove(*name).is_some());
    let line = |name: &str| {
        format!(
            "Container {}: the hook template sets the variable {name}; the workflow's value is not \
             used",
            names::JOB_CONTAINER
        )
    };
    ruled.map(line).collect()
}

/// Time for stepd to end all steps after TERM.
const GRACE_SECONDS: i64 = 5;

/// The environment of the services; `values` are in the order of its keys.
fn services_secret(runner: &Runner, step: &StepId, values: Vec<String>) -> Option<Secret> {
    let data = values.into_iter().enumerate();
    let data: BTreeMap<_, _> =
        data.map(|(at, value)| (step_job::key(at), ByteString(value.into_bytes()))).collect();
    (!data.is_empty()).then(|| Secret {
        metadata: metadata::of_step(
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
