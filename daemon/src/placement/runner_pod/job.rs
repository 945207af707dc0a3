//! The start of a job: its container and its services, all at once.

use std::collections::HashMap;

use hookd_api::stepd::v1::ConfigureRequest;
use hookd_api::v1::{JobPrepared, Phase};
use k8s_openapi::api::core::v1::PodSpec;
use tokio::time::Instant;

use super::containers::{self, Preparation};
use super::record::Record;
use super::services::{self, Service};
use super::{end, network, pull_secret};
use crate::context::Context;
use crate::error::{Failure, report};
use crate::names;
use crate::objects::agent::Injection;
use crate::objects::ephemeral::{self, Lowered, Request};
use crate::objects::job_pod::{self, JobSpec, Plan, PodOptions};
use crate::objects::shared_pull_secret::Entry;
use crate::placement::Call;
use crate::placement::error::PlacementError;
use crate::registry::resolver::ImageInfo;
use crate::runner::job_volumes::{self, JobVolumes};
use crate::runner::{Runner, WorkVolume};
use crate::session::events::Session;
use crate::stepd::calls;
use crate::stepd::pods::AgentAddress;

/// The containers of a job, ready to be added to the pod.
struct Lowering {
    record: Record,
    containers: Vec<Lowered>,
    services: Vec<Service>,
    preparation: Preparation,
    /// The workflow's credentials for their images.
    credentials: Vec<Entry>,
}

/// Starts the containers of a job, or finds those that an earlier call of the step has started.
pub(super) async fn start(
    call: Call<'_>,
    spec: &JobSpec,
    session: &mut Session,
) -> Result<JobPrepared, Failure> {
    let Call { context, step } = call;
    let volumes = containers::volumes(context).await?;
    let before = Record::load(&context.config.socket_dir);
    if before.step != step.as_str() {
        // A runner that is not ephemeral may have been killed before it cleaned up.
        end::all(context).await?;
    }
    let images = services::images(context, spec).await?;
    let plan = plan(call, spec, &images).await?;
    let (plan, lowering) =
        lower(call, spec, plan, &images, volumes, before.of_step(step.as_str()))?;
    let began = Instant::now();
    let Lowering { mut record, containers, mut services, preparation, credentials } = lowering;
    let network = network::open(spec, &services, &mut record).await?;
    let mut warnings = notes(spec, &plan, &containers, volumes)?;
    warnings.extend(not_given(context, spec));
    warnings.extend(preparation.make(context).await?);
    for note in context.warnings.only_new(warnings) {
        session.progress(Phase::RunPending, note).await?;
    }
    record.has_given = context.config.pull_secret.is_some() && !credentials.is_empty();
    keep(context, &record);
    pull_secret::give(context, &credentials, session).await?;
    let watch = context.agents.for_job().watch();
    let all: Vec<_> = containers.into_iter().map(|one| one.container).collect();
    containers::add(context, &all).await?;
    session.settled();
    if spec.container.is_some() {
        containers::listening(context, &mut record.address, &watch, session, |_, _| {}).await?;
    }
    services::listening(context, &mut services, &watch, session).await?;
    let of_services = services::containers(&services);
    let before = context.agents.for_job();
    if before.container() != record.address.container || record.address.services != of_services {
        // Others took the places of containers that the kubelet has left unstarted.
        record.address.services = of_services;
        keep(context, &record);
    }
    let taken_back = end::take_back_credentials(context, &mut record);
    let (started, ()) = tokio::join!(services::start(context, &services, session), taken_back);
    started?;
    let mut prepared = in_pod(plan.prepared, &context.config.pod_name);
    network.start(context, &mut prepared).await;
    if prepared.container.is_some() {
        let environment = plan.environment;
        prepared.is_alpine = configure(context, environment, &record.address, session).await?;
    }
    let took = began.elapsed().as_secs_f64();
    let message = format!(
        "The job's containers are ready in pod {} after {took:.1} s",
        context.config.pod_name
    );
    session.progress(Phase::RunRunning, message).await?;
    Ok(prepared)
}

/// What the runner hears of a job whose containers are in this pod.
fn in_pod(mut prepared: JobPrepared, pod: &str) -> JobPrepared {
    pod.clone_into(&mut prepared.job_pod);
    for container in prepared.container.iter_mut().chain(&mut prepared.services) {
        pod.clone_into(&mut container.network);
    }
    prepared
}

/// Keeps where the job is, for this daemon and the next.
fn keep(context: &Context, record: &Record) {
    if let Err(error) = record.save(&context.config.socket_dir) {
        tracing::warn!(error = report(&error), "a restart of hookd will lose this job");
    }
    context.agents.move_job(record.address.clone());
}

/// What means something else in the runner pod, or nothing.
fn notes(
    spec: &JobSpec,
    plan: &Plan,
    containers: &[Lowered],
    volumes: &JobVolumes,
) -> Result<Vec<String>, Failure> {
    let pod = plan.pod.spec.as_ref();
    let unused = pod.map(|pod| ephemeral::unused_of_pod(pod, &plan.containers)).transpose()?;
    let warnings = plan.warnings.iter().cloned().chain(unused.unwrap_or_default());
    let warnings = warnings.chain(containers.iter().flat_map(|one| one.warnings.iter().cloned()));
    Ok(warnings.chain(network::warnings(spec, volumes)).collect())
}

/// The pod that the job would have of its own.
async fn plan(
    call: Call<'_>,
    spec: &JobSpec,
    images: &[std::sync::Arc<ImageInfo>],
) -> Result<Plan, Failure> {
    let Call { context, step } = call;
    let template = context.template()?;
    let images: Vec<_> = images.iter().map(|info| Some(info.config.clone())).collect();
    let options = PodOptions {
        work_dir: &context.config.work_dir,
        template: template.as_ref(),
        registry_secret: None,
        injection: Injection::RunnerPod,
        images: &images,
    };
    let runner = with_work(&context.cluster_info().await?.runner);
    job_pod::plan(&runner, step, spec, options)
}

/// The runner, its work directory on a volume: which one that is shows when it is mounted. The groups of
/// its pod are those of all containers there, without being asked for.
pub(super) fn with_work(runner: &Runner) -> Runner {
    let work = WorkVolume { same_node: false, ..WorkVolume::default() };
    Runner { work: Some(work), work_refused: None, supplemental_groups: None, ..runner.clone() }
}

/// Makes containers of the runner pod of those that the job's own pod would have.
fn lower(
    call: Call<'_>,
    spec: &JobSpec,
    plan: Plan,
    images: &[std::sync::Arc<ImageInfo>],
    volumes: &JobVolumes,
    mut record: Record,
) -> Result<(Plan, Lowering), Failure> {
    let Call { context, step } = call;
    let pod = plan.pod.spec.clone().unwrap_or_default();
    let secret = names::services_secret(&context.config.pod_name, step);
    let mut preparation =
        Preparation { directories: plan.directories.clone(), ..Preparation::default() };
    let (mut lowered, mut services, mut credentials) = (Vec::new(), Vec::new(), Vec::new());
    let runner = &context.config.pod_name;
    record.address = AgentAddress::in_pod(runner, "");
    for (at, name) in plan.containers.iter().enumerate() {
        let is_job = name == names::JOB_CONTAINER && plan.prepared.container.is_some() && at == 0;
        let container = pod.containers.iter().find(|one| one.name == *name);
        let container =
            container.ok_or_else(|| PlacementError::NotPlanned { container: name.clone() })?;
        let (own, kind, agent) = if is_job {
            (names::job_container(step), job_volumes::JOB, &volumes.agents.job)
        } else {
            let own = names::service_container(name, step);
            (own, job_volumes::SERVICES, &volumes.agents.services)
        };
        let request =
            Request { container, volumes: volumes_of(&pod), name: &own, agent, secret: &secret };
        let mut one = ephemeral::lower(request, volumes, &mut record.spare)?;
        let address = containers::address(context, kind, &own);
        preparation.agents.extend(address.socket.clone());
        preparation.links.append(&mut one.links);
        let registry = if is_job {
            record.address = address;
            spec.container.as_ref().and_then(|container| container.spec.registry.as_ref())
        } else {
            let image = &images[services.len()];
            // What its registry has described is what runs.
            one.container.image = Some(image.reference.clone());
            let environment = spec.services[services.len()].environment();
            let registry = spec.services[services.len()].spec.registry.as_ref();
            services.push(Service::new(name, address, container, image)?.with(environment));
            registry
        };
        let image = one.container.image.as_deref().unwrap_or_default();
        credentials.extend(registry.and_then(|registry| Entry::of(image, registry)));
        lowered.push(one);
    }
    record.address.services = services::containers(&services);
    Ok((plan, Lowering { record, containers: lowered, services, preparation, credentials }))
}

/// A line for each container whose image the workflow gives credentials for, if there is no Secret for them:
/// the pull Secrets of a pod that exists are fixed.
fn not_given(context: &Context, spec: &JobSpec) -> impl Iterator<Item = String> {
    let are_given = context.config.pull_secret.is_some();
    let own = spec.all().filter(move |one| one.spec.registry.is_some() && !are_given);
    own.map(|container| {
        format!(
            "Warning: the node does not get the credentials for the image of container {}: the job runs \
             in the runner pod. Add them to `imagePullSecrets` of the runner pod, or set HOOKD_PULL_SECRET, or \
             HOOKD_JOB_PLACEMENT=own-pod",
            container.name
        )
    })
}

fn volumes_of(pod: &PodSpec) -> &[k8s_openapi::api::core::v1::Volume] {
    pod.volumes.as_deref().unwrap_or_default()
}

/// Gives the job container's environment to stepd; true if the container is Alpine Linux.
async fn configure(
    context: &Context,
    environment: std::collections::BTreeMap<String, String>,
    address: &AgentAddress,
    session: &mut Session,
) -> Result<bool, Failure> {
    let environment: HashMap<_, _> = environment.into_iter().collect();
    let configured = calls::with_agent(&context.agents, |mut agent| {
        let request = ConfigureRequest { environment: environment.clone() };
        async move { Ok(agent.configure(request).await?.into_inner().is_alpine) }
    });
    let Some(is_alpine) = configured.await else {
        let seen = context.agents.for_job().watch().now();
        return Err(containers::no_agent(context, address, &seen, session).await?);
    };
    Ok(is_alpine)
}
