//! `cleanup_job`: nothing of ours stays.

use std::time::Duration;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt};
use hookd_api::v1::{CleanupJobResponse, ServiceLog};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::retry::Retry;
use crate::cluster::{ContainerRef, logs, objects};
use crate::error::{Failure, report};
use crate::hooks::context::Context;
use crate::hooks::{built_images, deletion};
use crate::names::{self, JOB_LABEL, RUNNER_LABEL};
use crate::workload::ended_services;

/// The end of a service's log that is shown.
const SERVICE_LINES: i64 = 1000;
/// Bytes of all logs together: one message carries them, which may have 4 MiB.
const LOGS: usize = 2 << 20;
/// Services whose logs are shown, and those that are read at the same time.
const SERVICES: usize = 256;
const LOGS_AT_ONCE: usize = 4;
/// The runner waits for a clean-up, so a log may not delay it for long.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Deletes all objects of this runner: Jobs with their pods, pods, Secrets. Returns their number,
/// and what the job's services wrote.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cleanup(context: &Context) -> Result<CleanupJobResponse, Failure> {
    context.sessions.steps.cancel_all();
    context.network.clear().await;
    let retry = context.cluster.retry();
    let pod = job_pod(context, &retry).await?;
    let service_logs = match &pod {
        Some(pod) => service_logs(context, pod).await,
        None => Vec::new(),
    };
    let selector = format!("{RUNNER_LABEL}={}", context.config.pod_name);
    // Pods of Jobs go with their Jobs.
    let single = format!("{selector},!{JOB_LABEL}");
    let (jobs, pods) = tokio::try_join!(
        delete_all(context.cluster.jobs(), &selector, &retry),
        delete_all(context.cluster.pods(), &single, &retry),
    )?;
    // Secrets are not listed: that would take the right to read all of the namespace at once.
    let of_steps = jobs.names.iter().map(|name| {
        let (secrets, retry) = (context.cluster.secrets(), &retry);
        async move { objects::delete(&secrets, &context.config.pod_name, name, retry).await }
    });
    let of_steps = try_join_all(of_steps).await?.into_iter().filter(|found| *found).count();
    let of_job = deletion::delete_job_secrets(context).await?;
    context.agents.clear();
    context.sessions.crashes.clear();
    built_images::delete(context).await;
    let deleted =
        u32::try_from(jobs.deleted + pods.deleted + of_steps + of_job).unwrap_or(u32::MAX);
    Ok(CleanupJobResponse { deleted, service_logs })
}

/// The job's pod, if it is there.
async fn job_pod(context: &Context, retry: &Retry) -> Result<Option<Pod>, Failure> {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.cluster.pods(), names::job_pod(runner));
    let found = retry.run(&format!("read pod {name}"), || pods.get_opt(&name)).await?;
    Ok(found.filter(|pod| names::is_of(&pod.metadata, runner)))
}

/// The logs of the job's services. A clean-up does not fail because one cannot be read.
async fn service_logs(context: &Context, pod: &Pod) -> Vec<ServiceLog> {
    let (pods, name) = (context.cluster.pods(), pod.name_any());
    let ended = ended_services::from_pod(pod);
    let containers = pod.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
    let services: Vec<_> = containers
        .into_iter()
        .map(|container| container.name)
        .filter(|name| name != names::JOB_CONTAINER)
        .take(SERVICES)
        .collect();
    let share = LOGS / services.len().max(1);
    let logs = services.into_iter().map(|service| {
        let (pods, name) = (&pods, &name);
        let ended = ended.iter().find(|ended| ended.name == service);
        let end = ended.map(|ended| format!("\n({})\n", ended.message)).unwrap_or_default();
        async move {
            let container = ContainerRef { pod: name, container: &service };
            let asked = logs::tail(pods, container, SERVICE_LINES);
            let text = tokio::time::timeout(LOG_TIMEOUT, asked).await;
            let text = match text {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => format!("(the log cannot be read: {})", report(&error)),
                Err(_) => "(the log cannot be read: no answer)".to_owned(),
            };
            ServiceLog { name: service, text: logs::last_lines(text, share) + &end }
        }
    });
    stream::iter(logs).buffered(LOGS_AT_ONCE).collect().await
}

/// What [`delete_all`] found.
struct Found {
    names: Vec<String>,
    /// Those that were still there when they were deleted.
    deleted: usize,
}

async fn delete_all<K>(api: Api<K>, selector: &str, retry: &Retry) -> Result<Found, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let params = ListParams::default().labels(selector);
    let list =
        retry.run(&format!("list {}", K::plural(&())), || api.list_metadata(&params)).await?;
    let found = list.items.iter().map(|found| objects::delete_found(&api, &found.metadata, retry));
    let deleted = try_join_all(found).await?.into_iter().filter(|found| *found).count();
    Ok(Found { names: list.items.iter().map(ResourceExt::name_any).collect(), deleted })
}
