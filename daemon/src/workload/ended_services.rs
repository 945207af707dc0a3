//! Services that end while their job goes on: the next step reports it, once.

use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;

use crate::cluster::ContainerRef;
use crate::cluster::pod::{self, OOM_KILLED};
use crate::error::Failure;
use crate::names::SERVICES_ANNOTATION;
use crate::session::events::Session;
use crate::stepd::pods::{Agents, ServiceContainer};
use crate::workload::last_lines;

/// A step does not wait for longer for the log of a service.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// A service that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct EndedService {
    /// As the workflow's user knows it.
    pub name: String,
    /// Name of its container.
    pub container: String,
    /// A line on how it ended.
    pub message: String,
    /// How often it was started again before.
    restarts: i32,
}

/// Reports services of the job that have ended since the last step, with their last lines. Costs no
/// request unless there is one: the job's pod is watched anyway.
///
/// # Errors
/// `CANCELLED` when the client is gone.
pub async fn report(agents: &Agents, session: &mut Session) -> Result<(), Failure> {
    let Some(job_pod) = agents.for_known_job() else { return Ok(()) };
    let seen = job_pod.watch().now();
    let Some(pod) = seen.pod() else { return Ok(()) };
    for service in ended(pod, job_pod.services()) {
        if !job_pod.is_first_report(&service.name, service.restarts) {
            continue;
        }
        tracing::info!(service = service.name, "a service of the job ended");
        let message = format!("Warning: {}; its last lines follow", service.message);
        session.progress(Phase::RunPending, message).await?;
        let container = ContainerRef { pod: job_pod.name(), container: &service.container };
        last_lines::print(job_pod.cluster(), container, LOG_LIMIT, session).await?;
    }
    Ok(())
}

/// The services of a job's pod that have ended by themselves.
pub fn from_pod(pod: &Pod) -> Vec<EndedService> {
    ended(pod, &[])
}

/// As [`from_pod`]; a runner pod does not list the services that it has.
fn ended(pod: &Pod, services: &[ServiceContainer]) -> Vec<EndedService> {
    // Those that its deletion ends are no news.
    if pod.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let listed = pod.annotations().get(SERVICES_ANNOTATION).map(String::as_str);
    let listed = listed.unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let listed =
        listed.map(|name| ServiceContainer { name: name.to_owned(), container: name.to_owned() });
    let ended = listed.chain(services.iter().cloned()).filter_map(|service| {
        let ServiceContainer { name, container } = service;
        let status = pod::container_status(pod, &container)?;
        // One that a template has restarted runs again, and ended all the same.
        let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let end = now.or(last)?;
        let message = describe(pod, &name, end, now.is_none());
        Some(EndedService { name, container, message, restarts: status.restart_count })
    });
    ended.collect()
}

fn describe(pod: &Pod, name: &str, end: &ContainerStateTerminated, is_back: bool) -> String {
    let why = match end.reason.as_deref() {
        Some(OOM_KILLED) => match pod::memory_limit(pod, name) {
            Some(limit) => {
                format!(" ({OOM_KILLED}: it used more memory than its limit of {limit})")
            }
            None => format!(" ({OOM_KILLED}: it used more memory than its node has)"),
        },
        Some("StartError" | "ContainerCannotRun") => {
            " (its program could not be started)".to_owned()
        }
        _ => String::new(),
    };
    let again = if is_back { ", and was started again" } else { "" };
    format!("service {name} ended with exit code {}{why}{again}", end.exit_code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(statuses: &Value, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "annotations": {SERVICES_ANNOTATION: "redis,db"}},
            "spec": {"containers": [{"name": "db", "resources": {"limits": {"memory": "64Mi"}}}]},
            "status": {"containerStatuses": statuses},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            pod["metadata"][name] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn status(name: &str, state: &Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state})
    }

    #[test]
    fn each_ended_service_is_reported_with_its_code_and_reason() {
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let killed = json!({"terminated": {"exitCode": 137, "reason": OOM_KILLED}});
        let statuses = json!([
            // Neither the job container nor a sidecar of the template is a service.
            status("job", &ended),
            status("sidecar", &ended),
            status("redis", &ended),
            status("db", &killed),
        ]);
        let services = from_pod(&pod(&statuses, &json!({})));
        let messages: Vec<_> = services.iter().map(|service| service.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "service redis ended with exit code 0",
                "service db ended with exit code 137 (OOMKilled: it used more memory than its limit \
                 of 64Mi)",
            ]
        );
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(from_pod(&pod(&statuses, &going)), []);
    }

    #[test]
    fn a_service_that_runs_is_no_news_unless_it_was_started_again() {
        let running = json!({"running": {}});
        let mut again = status("db", &running);
        again["restartCount"] = 1.into();
        again["lastState"] = json!({"terminated": {"exitCode": 3}});
        let services = from_pod(&pod(&json!([status("redis", &running), again]), &json!({})));
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].message, "service db ended with exit code 3, and was started again");
    }
}
