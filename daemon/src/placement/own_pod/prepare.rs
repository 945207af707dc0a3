//! The job's pod, up to the moment in which its container and all services are ready.

use std::sync::atomic::Ordering;

use hookd_api::stepd::v1::ConfigureRequest;
use hookd_api::v1::{JobPrepared, Phase};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::blocking;
use crate::cluster::ContainerRef;
use crate::cluster::error::ClusterError;
use crate::cluster::objects;
use crate::cluster::watch::{PodState, PodWatch};
use crate::config::AgentInjection;
use crate::context::Context;
use crate::error::{Failure, report};
use crate::ids::StepId;
use crate::install;
use crate::names;
use crate::objects::agent::{self, Injection};
use crate::objects::job_pod::{self, JobSpec, Plan, PodOptions};
use crate::placement::error::PlacementError;
use crate::placement::lost_agent;
use crate::placement::own_pod::{deletion, service_network};
use crate::registry::credentials::Credentials;
use crate::registry::image_config::ImageConfig;
use crate::session::events::Session;
use crate::stepd::calls;
use crate::work_volume::error::VolumeError;
use crate::work_volume::files;
use crate::workload::quota::with_room;
use crate::workload::ready::{PodContainers, ready, steady};

/// Makes the pod, or finds the one that an earlier call made.
pub(super) async fn prepare(
    context: &Context,
    step: &StepId,
    spec: &JobSpec,
    session: &mut Session,
) -> Result<JobPrepared, Failure> {
    let known = context.cluster_info().await?;
    // What is known of an earlier pod of this name says nothing of the new one.
    context.agents.clear();
    let images = images(context, spec).await;
    let injection = known.injection(&context.config);
    let attempt = Attempt { context, step, spec, images: &images };
    match attempt.make(injection, session).await {
        Err(failure) if lacks_image_volumes(&failure) && may_copy(context, injection) => {
            let message = format!(
                "{failure}. The job's pod is made again, with an init container; set \
                 HOOKD_AGENT_INJECTION=init-container to have it so at once"
            );
            session.progress(Phase::RunPending, message).await?;
            replace(context).await?;
            // Container steps of this job need not find it out again.
            context.lacks_image_volumes.store(true, Ordering::Relaxed);
            let injection = Injection::InitContainer;
            attempt.make(injection, session).await
        }
        Err(failure) if failure.cause().is_some_and(ClusterError::is_interrupted_start) => {
            let message = format!("{failure}. The job's pod is made again");
            session.progress(Phase::RunPending, message).await?;
            replace(context).await?;
            attempt.make(injection, session).await
        }
        prepared => prepared,
    }
}

/// True if the pod's node cannot mount images as volumes.
fn lacks_image_volumes(failure: &Failure) -> bool {
    matches!(failure.cause(), Some(ClusterError::NoImageVolumes { .. }))
}

/// True if what image volumes cannot do an init container may.
fn may_copy(context: &Context, injection: Injection) -> bool {
    injection == Injection::ImageVolumes && context.config.agent_injection == AgentInjection::Auto
}

/// The images of the services: their HEALTHCHECK, where their options name none, and their EXPOSE, if
/// there are several services.
async fn images(context: &Context, spec: &JobSpec) -> Vec<Option<ImageConfig>> {
    let several = spec.services.len() > 1;
    let services = spec.services.iter().map(|service| async move {
        if !several && !service.options.asks_the_images_health() {
            return None;
        }
        let own = service.spec.registry.as_ref().and_then(Credentials::from_registry);
        let own: Vec<_> = own.into_iter().collect();
        Some(context.image(&service.spec.image, &own).await?.config.clone())
    });
    futures::future::join_all(services).await
}

/// A job whose pod is made, with image volumes or with an init container.
struct Attempt<'a> {
    context: &'a Context,
    step: &'a StepId,
    spec: &'a JobSpec,
    images: &'a [Option<ImageConfig>],
}

impl Attempt<'_> {
    async fn make(
        &self,
        injection: Injection,
        session: &mut Session,
    ) -> Result<JobPrepared, Failure> {
        let Self { context, step, spec, images } = *self;
        let known = context.cluster_info().await?;
        let template = context.template()?;
        let around = PodOptions {
            work_dir: &context.config.work_dir,
            template: template.as_ref(),
            registry_secret: context.config.registry.secret.as_deref(),
            injection,
            images,
        };
        let mut plan = job_pod::plan(&known.runner, step, spec, around)?;
        plan.mark(&context.origin());
        let network = service_network::open(spec, &mut plan).await?;
        let warnings = make_ready(context, &plan, injection).await?;
        let warnings = plan.warnings.iter().cloned().chain(warnings).collect();
        for note in context.warnings.only_new(warnings) {
            session.progress(Phase::RunPending, note).await?;
        }
        let began = Instant::now();
        let phase = Phase::RunPending;
        let pod =
            with_room(&context.cluster, phase, session, || create(context, step, &plan)).await?;
        session.settled();
        let mut watch = context.agents.for_job().watch();
        let name = plan.prepared.job_pod.clone();
        let parts = PodContainers { name: &name, containers: &plan.containers };
        let running = ready(&context.cluster, parts, &mut watch, session).await?;
        let mut prepared = plan.prepared;
        if let Some(network) = network {
            let network = network.adopt(&pod, &mut prepared).await?;
            network.start(context, watch.now().pod().unwrap_or(&pod)).await;
        }
        if prepared.container.is_some() {
            prepared.is_alpine = configure(context, plan.environment, &watch, session).await?;
        }
        steady(&context.cluster, parts, running, &watch, session).await?;
        let took = began.elapsed().as_secs_f64();
        let seen = watch.now();
        let node = seen.pod().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        let (pod, node) = (pod.name_any(), node.unwrap_or_default());
        let message = format!("Pod {pod} is ready on node {node} after {took:.1} s");
        session.progress(Phase::RunRunning, message).await?;
        Ok(prepared)
    }
}

/// Prepares the runner's side of the pod's mounts; warnings for the user.
async fn make_ready(
    context: &Context,
    plan: &Plan,
    injection: Injection,
) -> Result<Vec<String>, Failure> {
    let directories = plan.directories.clone();
    let copy = (injection == Injection::InitContainer && plan.prepared.container.is_some())
        .then_some(agent::COPY_DIR);
    if !directories.is_empty() {
        context.cluster_info().await?.runner.check_work()?;
    }
    let work_dir = context.config.work_dir.clone();
    blocking::run(blocking::DEADLINE, "Making the job's directories", move || {
        if let Some(directory) = copy {
            install::copy_stepd(&work_dir, directory)
                .map_err(|error| VolumeError::new(error.to_string(), error.into_cause()))?;
        }
        let warnings = files::make_directories(&work_dir, &directories)?;
        files::open_home(&work_dir, &directories);
        Ok(warnings)
    })
    .await?
}

/// Creates Secrets and pod, in place of those that an earlier job left.
async fn create(context: &Context, step: &StepId, plan: &Plan) -> Result<Pod, Failure> {
    match create_objects(context, step, plan).await {
        Err(failure) if matches!(failure.cause(), Some(ClusterError::NameTaken { .. })) => {
            tracing::info!(name = plan.pod.name_any(), "replacing the pod of an earlier job");
            replace(context).await?;
            create_objects(context, step, plan).await
        }
        created => created,
    }
}

async fn create_objects(context: &Context, step: &StepId, plan: &Plan) -> Result<Pod, Failure> {
    let (retry, pods, secrets) =
        (context.cluster.retry(), context.cluster.pods(), context.cluster.secrets());
    if !plan.secrets.is_empty()
        && let Err(error) = context.job_secrets.add(step).await
    {
        tracing::warn!(error = report(&error), "the job's Secrets may stay as long as its runner");
    }
    let secrets = async {
        // In turn: they are deleted up to the first that is not there.
        for secret in &plan.secrets {
            objects::create(&secrets, secret, &retry).await?;
        }
        Ok::<_, Failure>(())
    };
    let pod = objects::create(&pods, &plan.pod, &retry);
    let (pod, secrets) = tokio::join!(pod, secrets);
    secrets?;
    pod
}

/// Deletes this runner's pod with its Secrets and waits until its name is free; fails if another has
/// the name.
async fn replace(context: &Context) -> Result<(), Failure> {
    let (runner, retry) = (&context.config.pod_name, context.cluster.retry());
    objects::delete_pod_of(runner, &context.cluster.pods(), &retry).await?;
    deletion::delete_job_secrets(context).await?;
    gone(context, &names::job_pod(runner)).await?;
    context.agents.clear();
    Ok(())
}

async fn gone(context: &Context, name: &str) -> Result<(), Failure> {
    let mut watch = PodWatch::for_pod(context.cluster.pods(), name);
    let gone = watch.until(|seen| matches!(seen, PodState::Deleted));
    let timeout = context.cluster.start_timeout;
    tokio::time::timeout(timeout, gone)
        .await
        .map(drop)
        .map_err(|_| PlacementError::PodStays { pod: name.to_owned(), timeout }.into())
}

/// Gives the job container's environment to stepd; true if the container is Alpine Linux.
async fn configure(
    context: &Context,
    environment: std::collections::BTreeMap<String, String>,
    watch: &PodWatch,
    session: &mut Session,
) -> Result<bool, Failure> {
    let environment: std::collections::HashMap<_, _> = environment.into_iter().collect();
    let configured = calls::with_agent(&context.agents, |mut agent| {
        let request = ConfigureRequest { environment: environment.clone() };
        async move { Ok(agent.configure(request).await?.into_inner().is_alpine) }
    });
    if let Some(is_alpine) = configured.await {
        return Ok(is_alpine);
    }
    let pod = names::job_pod(&context.config.pod_name);
    let silent = PlacementError::AgentSilent {
        pod: pod.clone(),
        namespace: context.cluster.namespace.clone(),
        timeout: context.config.api_timeout,
    };
    let container = ContainerRef { pod: &pod, container: names::JOB_CONTAINER };
    Err(lost_agent::failure(&context.cluster, container, &watch.now(), silent, session).await?)
}
