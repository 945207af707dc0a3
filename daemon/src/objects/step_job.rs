//! The Job and the Secret of a container step.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, EnvVarSource, HostAlias, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSecurityContext, PodSpec,
    PodTemplateSpec, SeccompProfile, Secret, SecretKeySelector,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::agent;
use crate::objects::container::ContainerStep;
use crate::objects::docker::args;
use crate::objects::docker::options::ContainerKind;
use crate::objects::metadata::{self, Component};
use crate::objects::mounts::Mounts;
use crate::objects::services::{self, Hosts, Named};
use crate::objects::template::{Target, Template};
use crate::runner::Runner;

/// Seconds between TERM and KILL: a program that ignores TERM must be gone within the 10 s that
/// the runner gives a cancelled step.
pub const GRACE_SECONDS: i64 = 3;

/// Keys of the Secret: names of variables may hold what a key may not.
pub(super) fn key(index: usize) -> String {
    format!("v{index}")
}

/// The step's environment, which must not stand in the pod's specification.
pub fn secret(runner: &Runner, step: &StepId, environment: &BTreeMap<String, String>) -> Secret {
    let values = environment.values().enumerate();
    Secret {
        metadata: metadata::of_step(
            runner,
            step,
            &names::step(&runner.name, step),
            Component::Step,
        ),
        immutable: Some(true),
        data: Some(
            values.map(|(at, value)| (key(at), ByteString(value.clone().into_bytes()))).collect(),
        ),
        ..Secret::default()
    }
}

/// Who starts the program of a container step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessLauncher {
    /// The kubelet: the pod's specification has program and arguments, a Secret the environment.
    Kubelet,
    /// stepd, which gets all of these later.
    Agent,
}

/// What a container step runs, and how.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The image.
    pub image: &'a str,
    /// Who starts its program.
    pub launcher: ProcessLauncher,
}

/// What the administrator set for all Jobs of container steps.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings<'a> {
    /// Pull Secret of the registry of built images.
    pub pull_secret: Option<&'a str>,
    /// The longest that a step may run.
    pub timeout: Duration,
    /// The template for pods.
    pub template: Option<&'a Template>,
    /// Names and addresses of the job's services.
    pub services: &'a [HostAlias],
}

/// The Job of a container step, and what its user is to know of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The Job.
    pub job: Job,
    /// Lines for the user: what of the template is not known, or overrides the step.
    pub warnings: Vec<String>,
}

/// Held while a Job is planned: as JSON values, which meet the template, it takes ten times its size.
static PLANNING: Mutex<()> = Mutex::new(());

/// The Job of a container step.
///
/// # Errors
/// `TEMPLATE_INVALID` when the template makes no pod of it.
pub fn job(
    runner: &Runner,
    step: &StepId,
    spec: &ContainerStep,
    mounts: Mounts,
    launch: Launch<'_>,
    settings: JobSettings<'_>,
) -> Result<Plan, Failure> {
    let _planning = PLANNING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = names::step(&runner.name, step);
    let mut volumes = mounts.volumes;
    let mut container = Container {
        name: names::STEP_CONTAINER.to_owned(),
        image: Some(launch.image.to_owned()),
        volume_mounts: Some(mounts.mounts),
        ..Container::default()
    };
    spec.options.apply(&mut container, ContainerKind::Step, None);
    match launch.launcher {
        ProcessLauncher::Kubelet => launched_by_kubelet(&mut container, spec, &name),
        ProcessLauncher::Agent => {
            let agent = agent::for_step(runner);
            container.command = Some(agent.command);
            container.volume_mounts.get_or_insert_default().extend(agent.mounts);
            volumes.extend(agent.volumes);
        }
    }
    let same_node = runner.work.as_ref().is_some_and(|work| work.same_node);
    let hosts = hosts(runner, spec);
    let groups = runner.supplemental_groups.iter().flatten().chain(spec.options.groups());
    let groups: Vec<_> = groups.copied().collect();
    let pod = PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        image_pull_secrets: pull_secrets(runner, settings.pull_secret),
        affinity: same_node.then(|| on_node(&runner.node)),
        host_aliases: Some(with_services(hosts.aliases, settings.services))
            .filter(|aliases| !aliases.is_empty()),
        hostname: spec.options.hostname(),
        security_context: Some(PodSecurityContext {
            supplemental_groups: (!groups.is_empty()).then_some(groups),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..base_pod()
    };
    let metadata = metadata::of_step(runner, step, &name, Component::Step);
    let mut job = one_pod_job(metadata, pod, settings.timeout);
    let mut warnings = Vec::new();
    if let (Some(template), Some(job)) = (settings.template, &mut job.spec) {
        let PodTemplateSpec { metadata, spec } = std::mem::take(&mut job.template);
        let pod = Pod { metadata: metadata.unwrap_or_default(), spec, ..Pod::default() };
        let merged = template.merge(pod, Target::StepPod)?;
        let Pod { metadata, spec, .. } = merged.pod;
        job.template = PodTemplateSpec { metadata: Some(metadata), spec };
        warnings = template.warnings().iter().cloned().chain(merged.warnings).collect();
    }
    Ok(Plan { job, warnings })
}

/// The names that the step's options give, and what the user must know of them.
fn hosts(runner: &Runner, spec: &ContainerStep) -> Hosts {
    let named = Named { container: names::STEP_CONTAINER, image: None, options: &spec.options };
    services::hosts(&[named], &runner.host_ip, true)
}

/// The step's own hosts and the names of the job's services; one entry for each address.
fn with_services(mut own: Vec<HostAlias>, services: &[HostAlias]) -> Vec<HostAlias> {
    for service in services {
        match own.iter_mut().find(|alias| alias.ip == service.ip) {
            Some(alias) => {
                let names = service.hostnames.iter().flatten().cloned();
                alias.hostnames.get_or_insert_default().extend(names);
            }
            None => own.push(service.clone()),
        }
    }
    own
}

/// What of a step's options means something else in a pod, or nothing.
pub fn warnings(runner: &Runner, spec: &ContainerStep) -> Vec<String> {
    let warnings = spec.options.warnings(ContainerKind::Step).into_iter();
    let warnings = warnings.chain(spec.volumes.warnings.iter().cloned());
    let warnings =
        warnings.map(|warning| format!("Container {}: {warning}", names::STEP_CONTAINER));
    warnings.chain(hosts(runner, spec).warnings).collect()
}

/// Who starts the program of this Job.
pub fn launcher(job: &Job, runner: &Runner) -> ProcessLauncher {
    let pod = job.spec.as_ref().and_then(|job| job.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    let command = containers
        .filter(|one| one.name == names::STEP_CONTAINER)
        .find_map(|one| one.command.as_ref());
    match command {
        Some(command) if *command == agent::for_step(runner).command => ProcessLauncher::Agent,
        _ => ProcessLauncher::Kubelet,
    }
}

/// Program, arguments, directory and environment as the kubelet is to start them.
fn launched_by_kubelet(container: &mut Container, spec: &ContainerStep, secret: &str) {
    let escaped = |text: &String| args::quote_dollars(text);
    container.command = spec.entry_point.as_ref().map(|program| vec![escaped(program)]);
    container.args = (!spec.args.is_empty()).then(|| spec.args.iter().map(escaped).collect());
    container.working_dir = spec.working_directory.clone();
    let variables = spec.environment.keys().enumerate();
    let variables = variables.map(|(at, variable)| from_secret(variable, secret, key(at)));
    container.env = Some(variables.collect());
}

pub(super) fn from_secret(variable: &str, secret: &str, key: String) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key,
                optional: Some(false),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// The runner pod's pull Secrets and that of the registry of built images.
pub fn pull_secrets(runner: &Runner, own: Option<&str>) -> Option<Vec<LocalObjectReference>> {
    let own = own.map(pull_secret_named);
    let all: Vec<_> = runner.pull_secrets.iter().cloned().chain(own).collect();
    (!all.is_empty()).then_some(all)
}

/// A Secret by its name.
pub(super) fn pull_secret_named(name: &str) -> LocalObjectReference {
    LocalObjectReference { name: name.to_owned() }
}

/// What every pod of ours has: no token, no service variables, no restart.
pub fn base_pod() -> PodSpec {
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        ..PodSpec::default()
    }
}

/// The container runtime's own seccomp profile.
pub fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// A Job that makes one pod, once: a program that may have run is never started a second time.
pub fn one_pod_job(metadata: ObjectMeta, pod: PodSpec, timeout: Duration) -> Job {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: metadata.labels.clone(),
            annotations: Some(undisrupted()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    };
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            completions: Some(1),
            parallelism: Some(1),
            pod_replacement_policy: Some("Failed".to_owned()),
            active_deadline_seconds: i64::try_from(timeout.as_secs()).ok(),
            // In case no hookd is left to delete it.
            ttl_seconds_after_finished: Some(3600),
            template,
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

/// Asks autoscalers to leave the pod alone.
pub(super) fn undisrupted() -> BTreeMap<String, String> {
    let pairs = [
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        ("karpenter.sh/do-not-disrupt", "true"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The scheduler does not know that a ReadWriteOnce volume is on one node only.
pub(super) fn on_node(node: &str) -> Affinity {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        ..NodeSelectorTerm::default()
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![term],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

#[cfg(test)]
mod tests;
