//! The end of a job: nothing of ours stays.

use futures::future::try_join_all;
use hookd_api::v1::ServiceLog;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::objects;
use crate::cluster::retry::Retry;
use crate::context::Context;
use crate::error::Failure;
use crate::names::{self, JOB_LABEL, RUNNER_LABEL};
use crate::placement::own_pod::deletion;
use crate::placement::{CleanedUp, service_logs};
use crate::stepd::pods::ServiceContainer;
use crate::workload::ended_services;

/// Deletes all objects of this runner: Jobs with their pods, pods, Secrets.
pub(super) async fn clean_up(context: &Context) -> Result<CleanedUp, Failure> {
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
    Ok(CleanedUp { deleted: jobs.deleted + pods.deleted + of_steps + of_job, service_logs })
}

/// The job's pod, if it is there.
async fn job_pod(context: &Context, retry: &Retry) -> Result<Option<Pod>, Failure> {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.cluster.pods(), names::job_pod(runner));
    let found = retry.run(&format!("read pod {name}"), || pods.get_opt(&name)).await?;
    Ok(found.filter(|pod| names::is_of(&pod.metadata, runner)))
}

/// The logs of the job's services.
async fn service_logs(context: &Context, pod: &Pod) -> Vec<ServiceLog> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
    let names = containers.into_iter().map(|container| container.name);
    let services = names
        .filter(|name| name != names::JOB_CONTAINER)
        .map(|name| ServiceContainer { container: name.clone(), name })
        .collect();
    service_logs::read(context, &pod.name_any(), services, &ended_services::from_pod(pod)).await
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
