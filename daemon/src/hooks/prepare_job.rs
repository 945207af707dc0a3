//! `prepare_job`: the job's pod, up to the moment in which its container and all services are
//! ready.

use std::time::Duration;

use hookd_api::stepd::v1::ConfigureRequest;
use hookd_api::v1::{JobPrepared, Phase};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::cluster::pod::{self, Standing};
use crate::cluster::watch::{PodWatch, Seen};
use crate::cluster::{access, job};
use crate::config::Tools;
use crate::error::{Failure, Reason, report};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::image::credentials::Credentials;
use crate::image::lookup::Healthcheck;
use crate::install;
use crate::spec::create_options::{self, CreateOptions};
use crate::spec::job_pod::{self, JobSpec, Plan, Surroundings};
use crate::spec::names;
use crate::spec::tools::{self, Delivery};
use crate::step::caller::Caller;
use crate::step::ready::ready;
use crate::step::{agent_calls, files};

/// Before a pod is asked for again that a quota refused: nothing tells when there is room.
const QUOTA_PAUSE: Duration = Duration::from_secs(2);

/// Makes the pod, or finds the one that an earlier call made; what the workflow is told of it.
///
/// # Errors
/// Why the job cannot start.
pub async fn prepare(
    context: &Context,
    step: &StepId,
    spec: &JobSpec,
    caller: &mut Caller,
) -> Result<JobPrepared, Failure> {
    if spec.container.is_none() && spec.services.is_empty() {
        // The runner asks for no such job, but its contract allows it.
        return Ok(JobPrepared::default());
    }
    let known = context.known().await?;
    // What is known of an earlier pod of this name says nothing of the new one.
    context.agents.clear();
    let health = health(context, spec).await;
    let delivery = known.delivery(&context.config);
    match attempt(context, step, spec, (delivery, &health), caller).await {
        Err(failure) if failure.reason == Reason::Unsupported && may_copy(context, delivery) => {
            let message = format!(
                "{failure}. The job's pod is made again, with an init container; set \
                 HOOKD_TOOLS=init-container to have it so at once"
            );
            caller.progress(Phase::RunPending, message).await?;
            replace(context).await?;
            let delivery = Delivery::InitContainer;
            attempt(context, step, spec, (delivery, &health), caller).await
        }
        prepared => prepared,
    }
}

/// True if what image volumes cannot do an init container may.
fn may_copy(context: &Context, delivery: Delivery) -> bool {
    delivery == Delivery::ImageVolumes && context.config.tools == Tools::Auto
}

/// HEALTHCHECK of the images of the services, where their options name none.
async fn health(context: &Context, spec: &JobSpec) -> Vec<Option<Healthcheck>> {
    let services = spec.services.iter().map(|service| async move {
        // Bad options are told when the pod is planned.
        create_options::parse(&service.create_options)
            .ok()
            .filter(CreateOptions::asks_the_images_health)?;
        let own = service.registry.as_ref().and_then(Credentials::of_registry);
        let own: Vec<_> = own.into_iter().collect();
        context.image(&service.image, &own).await?.config.healthcheck.clone()
    });
    futures::future::join_all(services).await
}

async fn attempt(
    context: &Context,
    step: &StepId,
    spec: &JobSpec,
    (delivery, health): (Delivery, &[Option<Healthcheck>]),
    caller: &mut Caller,
) -> Result<JobPrepared, Failure> {
    let known = context.known().await?;
    let template = context.template()?;
    let around = Surroundings {
        work_dir: &context.config.work_dir,
        template: template.as_ref(),
        registry_secret: context.config.registry.secret.as_deref(),
        delivery,
        health,
    };
    let plan = job_pod::plan(&known.runner, step, spec, around)?;
    make_ready(context, &plan, delivery).await?;
    for note in &plan.notes {
        caller.progress(Phase::RunPending, note.clone()).await?;
    }
    let began = Instant::now();
    let pod = create_when_there_is_room(context, &plan, caller).await?;
    let mut watch = context.agents.pod(context, &pod.name_any()).watch();
    let parts = (plan.prepared.job_pod.as_str(), plan.containers.as_slice());
    ready(context, parts, &mut watch, caller).await?;
    let mut prepared = plan.prepared;
    if prepared.container.is_some() {
        prepared.is_alpine = configure(context, plan.environment, &mut watch).await?;
    }
    let took = began.elapsed().as_secs_f64();
    let seen = watch.now();
    let node = seen.pod().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
    let (pod, node) = (pod.name_any(), node.unwrap_or_default());
    let message = format!("Pod {pod} is ready on node {node} after {took:.1} s");
    caller.progress(Phase::RunRunning, message).await?;
    Ok(prepared)
}

/// Prepares the runner's side of the pod's mounts.
async fn make_ready(context: &Context, plan: &Plan, delivery: Delivery) -> Result<(), Failure> {
    let directories = plan.directories.clone();
    let copy = (delivery == Delivery::InitContainer && plan.prepared.container.is_some())
        .then(|| context.config.work_dir.join(tools::COPY_DIR));
    let made = tokio::task::spawn_blocking(move || {
        if let Some(directory) = copy {
            install::copy_stepd(&directory).map_err(|error| {
                let remedy = "The runner's user must own its work directory";
                Failure::new(Reason::ClaimUnusable, report(&error), remedy)
            })?;
        }
        files::make_directories(&directories)?;
        files::open_home(&directories)
    });
    made.await.map_err(|error| Failure::internal("Making directories failed").because(error))?
}

/// Creates Secrets and pod; a quota that is used up is waited for.
async fn create_when_there_is_room(
    context: &Context,
    plan: &Plan,
    caller: &mut Caller,
) -> Result<Pod, Failure> {
    let deadline = Instant::now() + context.config.start_timeout;
    let mut told = String::new();
    loop {
        let failure = match create(context, plan).await {
            Err(failure) if failure.reason == Reason::QuotaExceeded => failure,
            created => return created,
        };
        if Instant::now() + QUOTA_PAUSE > deadline {
            return Err(failure);
        }
        if told != failure.message {
            told.clone_from(&failure.message);
            caller.progress(Phase::RunPending, format!("Waiting: {told}")).await?;
        }
        tokio::time::sleep(QUOTA_PAUSE).await;
    }
}

/// Creates Secrets and pod, in place of a pod that an earlier job left.
async fn create(context: &Context, plan: &Plan) -> Result<Pod, Failure> {
    let (retry, pods, secrets) = (context.retry(), context.pods(), context.secrets());
    let secrets = plan.secrets.iter().map(|secret| job::create(&secrets, secret, &retry));
    let pod = async {
        match job::create(&pods, &plan.pod, &retry).await {
            Err(failure) if failure.reason == Reason::StepLost => {
                tracing::info!(name = plan.pod.name_any(), "replacing the pod of an earlier job");
                replace(context).await?;
                job::create(&pods, &plan.pod, &retry).await
            }
            created => created,
        }
    };
    let (pod, secrets) = tokio::join!(pod, futures::future::join_all(secrets));
    secrets.into_iter().collect::<Result<Vec<_>, _>>()?;
    pod
}

/// Deletes this runner's pod and waits until its name is free; fails if another has the name.
async fn replace(context: &Context) -> Result<(), Failure> {
    let runner = &context.config.pod_name;
    job::delete_pod_of(runner, &context.pods(), &context.retry()).await?;
    gone(context, &names::job_pod(runner)).await?;
    context.agents.clear();
    Ok(())
}

async fn gone(context: &Context, name: &str) -> Result<(), Failure> {
    let mut watch = PodWatch::of_pod(context.pods(), name);
    let gone = watch.until(|seen| matches!(seen, Seen::Gone));
    let patience = context.config.start_timeout;
    tokio::time::timeout(patience, gone).await.map(drop).map_err(|_| {
        Failure::new(
            Reason::DeadlineExceeded,
            format!("Pod {name} of an earlier job did not go within {} s", patience.as_secs()),
            "Look at the kubelet of its node",
        )
    })
}

/// Gives the job container's environment to stepd; true if the container is Alpine Linux.
async fn configure(
    context: &Context,
    environment: std::collections::BTreeMap<String, String>,
    watch: &mut PodWatch,
) -> Result<bool, Failure> {
    let environment: std::collections::HashMap<_, _> = environment.into_iter().collect();
    let configured = agent_calls::with_agent(context, |mut agent| {
        let request = ConfigureRequest { environment: environment.clone() };
        async move { Ok(agent.configure(request).await?.into_inner().is_alpine) }
    });
    match configured.await {
        Some(is_alpine) => Ok(is_alpine),
        None => Err(match watch.now() {
            Seen::Pod(pod) => match pod::standing(&pod, crate::spec::services::JOB) {
                Standing::Doomed(failure) => failure,
                Standing::Ended(ended) => Failure::new(
                    Reason::StartFailed,
                    format!("stepd ended with exit code {} in the job container", ended.exit_code),
                    "Look at the log of the container `job`; its image must be made for this platform",
                ),
                _ => unanswered(context),
            },
            Seen::Gone | Seen::NotYet => pod::deleted(&names::job_pod(&context.config.pod_name)),
        }),
    }
}

fn unanswered(context: &Context) -> Failure {
    Failure::new(
        Reason::ApiUnreachable,
        format!(
            "The agent in pod {} did not answer within {} s",
            names::job_pod(&context.config.pod_name),
            context.config.api_timeout.as_secs()
        ),
        format!(
            "hookd's account needs {} in namespace {}; look at the kubelet of the pod's node",
            access::describe(&("", "pods/exec", "create")),
            context.namespace
        ),
    )
}
