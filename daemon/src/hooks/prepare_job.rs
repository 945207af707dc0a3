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
use crate::error::{Failure, Reason};
use crate::hooks::Context;
use crate::ids::StepId;
use crate::spec::job_pod::{self, JobSpec, Plan};
use crate::spec::names;
use crate::spec::template::Template;
use crate::step::caller::Caller;
use crate::step::ready::ready;
use crate::step::{agent_calls, files};

/// Minor version of Kubernetes from which image volumes are on by default.
const IMAGE_VOLUMES: u32 = 35;
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
    let known = context.known().await?;
    if spec.container.is_some() && !has_image_volumes(&known.cluster_version) {
        return Err(too_old(&known.cluster_version));
    }
    let template = template(context)?;
    let secret = context.config.registry.secret.as_deref();
    let limits = (template.as_ref(), secret);
    let plan = job_pod::plan(&known.runner, step, spec, &context.config.work_dir, limits)?;
    make_directories(&plan).await?;
    for note in &plan.notes {
        caller.progress(Phase::RunPending, note.clone()).await?;
    }
    // What is known of an earlier pod of this name says nothing of the new one.
    context.agents.clear();
    let pod = create_when_there_is_room(context, &plan, caller).await?;
    let began = Instant::now();
    let mut watch = context.agents.pod(context, &pod.name_any()).watch();
    let parts = (plan.prepared.job_pod.as_str(), plan.containers.as_slice());
    ready(context, parts, &mut watch, caller).await?;
    let mut prepared = plan.prepared;
    if prepared.container.is_some() {
        prepared.is_alpine = configure(context, plan.environment, &mut watch).await?;
    }
    let took = began.elapsed().as_secs_f64();
    caller
        .progress(Phase::RunRunning, format!("Pod {} is ready after {took:.1} s", pod.name_any()))
        .await?;
    Ok(prepared)
}

/// "v1.36.3", "1.35+"
fn has_image_volumes(version: &str) -> bool {
    let minor = version.trim_start_matches('v').split('.').nth(1).unwrap_or_default();
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().is_ok_and(|minor: u32| minor >= IMAGE_VOLUMES)
}

fn too_old(version: &str) -> Failure {
    Failure::new(
        Reason::Unsupported,
        format!("Job containers need image volumes, which Kubernetes {version} does not have"),
        format!("Use a cluster of version 1.{IMAGE_VOLUMES} or later with containerd 2.1 or later"),
    )
}

fn template(context: &Context) -> Result<Option<Template>, Failure> {
    let Some(path) = &context.config.hook_template else { return Ok(None) };
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            Reason::TemplateInvalid,
            format!("The hook template {file} cannot be read: {error}"),
            "Mount the file into the hookd container, or unset ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE",
        )
    })?;
    Template::parse(&file, &text).map(Some)
}

async fn make_directories(plan: &Plan) -> Result<(), Failure> {
    let directories = plan.directories.clone();
    let made = tokio::task::spawn_blocking(move || {
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
                let name = plan.pod.name_any();
                tracing::info!(name, "replacing the pod of an earlier job");
                job::delete(&pods, &name, &retry).await?;
                gone(context, &name).await?;
                context.agents.clear();
                job::create(&pods, &plan.pod, &retry).await
            }
            created => created,
        }
    };
    let (pod, secrets) = tokio::join!(pod, futures::future::join_all(secrets));
    secrets.into_iter().collect::<Result<Vec<_>, _>>()?;
    pod
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_volumes_are_known_by_the_clusters_version() {
        for (version, expected) in [
            ("v1.36.3", true),
            ("v1.35.0+k3s1", true),
            ("v1.34.9", false),
            ("", false),
            ("1.35+", true),
        ] {
            assert_eq!(has_image_volumes(version), expected, "{version}");
        }
    }
}
