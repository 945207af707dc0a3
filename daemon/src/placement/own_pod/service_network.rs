//! How the steps of a job reach its services where they do not share a network: see
//! [`crate::forward`].

use std::collections::BTreeMap;

use hookd_api::v1::JobPrepared;
use k8s_openapi::api::core::v1::{HostAlias, Pod};

use crate::context::Context;
use crate::error::{CommonError, Failure, report};
use crate::forward::listener::LoopbackPort;
use crate::forward::published::{self, Published};
use crate::forward::{self, ANNOTATION, Forward, JobServices, MAX_FORWARDS};
use crate::names;
use crate::objects::job_pod::{JobSpec, Plan};
use crate::placement::error::PlacementError;

/// What services are called in the job's pod.
const LOOPBACK: &str = "127.0.0.1";

/// The network of a job that is being prepared: its ports are bound, and nothing answers yet.
#[derive(Debug)]
pub struct Opened {
    services: JobServices,
    ports: Vec<LoopbackPort>,
}

/// Binds the ports of a job without a job container, and writes into the plan what later steps and
/// later daemons need, and what the workflow and the user read.
///
/// # Errors
/// A port that the runner pod does not have, with the reason.
pub async fn open(spec: &JobSpec, plan: &mut Plan) -> Result<Option<Opened>, Failure> {
    if spec.services.is_empty() {
        return Ok(None);
    }
    let mut opened = Opened {
        services: JobServices { names: service_names(&plan.pod), forwards: Vec::new() },
        ports: Vec::new(),
    };
    if spec.container.is_none() {
        let ids: Vec<_> = plan.prepared.services.iter().map(|service| service.id.clone()).collect();
        for (service, id) in spec.services.iter().zip(ids) {
            let published = published::parse(&service.spec.port_mappings);
            plan.warnings.extend(warnings(&id, &published, &opened.services.names));
            for port in published.iter().filter(|port| port.protocol == "tcp") {
                opened.add(&id, port).await?;
            }
        }
        write_ports(&opened.services.forwards, &mut plan.prepared);
        plan.warnings.extend(summary(&opened.services));
    }
    let record = serde_json::to_string(&opened.services)
        .map_err(|error| CommonError::defect("The services have no JSON form", error))?;
    let annotations = plan.pod.metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION.to_owned(), record);
    Ok(Some(opened))
}

impl Opened {
    async fn add(&mut self, service: &str, published: &Published) -> Result<(), PlacementError> {
        let forwards = &mut self.services.forwards;
        if forwards.len() == MAX_FORWARDS {
            return Err(PlacementError::TooManyPorts { limit: MAX_FORWARDS });
        }
        let same = forwards.iter().find(|one| Some(one.local) == published.host);
        if let Some(other) = same {
            return Err(PlacementError::PortTwice {
                port: other.local,
                first: other.service.clone(),
                first_port: other.container,
                second: service.to_owned(),
                second_port: published.container,
            });
        }
        let bound = match published.host {
            Some(port) => LoopbackPort::bind(port).await,
            None => LoopbackPort::bind_any(published.container).await,
        };
        let port = bound.map_err(|source| PlacementError::PortUnavailable {
            port: published.host.unwrap_or(published.container),
            service: service.to_owned(),
            service_port: published.container,
            source,
        })?;
        let (local, container) = (port.number(), published.container);
        forwards.push(Forward { service: service.to_owned(), local, container });
        self.ports.push(port);
        Ok(())
    }

    /// Takes the ports that an earlier call has promised in the pod that it made, if they are
    /// others.
    ///
    /// # Errors
    /// A port that something else has taken meanwhile.
    pub async fn adopt(
        mut self,
        pod: &Pod,
        prepared: &mut JobPrepared,
    ) -> Result<Self, PlacementError> {
        let Some(recorded) = JobServices::from_pod(pod) else { return Ok(self) };
        if recorded == self.services {
            return Ok(self);
        }
        self.ports.clear();
        for forward in &recorded.forwards {
            let port = LoopbackPort::bind(forward.local).await;
            self.ports.push(port.map_err(|source| PlacementError::PortUnavailable {
                port: forward.local,
                service: forward.service.clone(),
                service_port: forward.container,
                source,
            })?);
        }
        write_ports(&recorded.forwards, prepared);
        self.services = recorded;
        Ok(self)
    }

    /// Forwards to the pod from now on.
    pub async fn start(self, context: &Context, pod: &Pod) {
        let addresses = forward::addresses(pod);
        context.network.start(self.services, addresses, self.ports).await;
    }
}

/// The names and addresses of the job's services, for the pod of a container step.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn host_aliases(context: &Context) -> Result<Vec<HostAlias>, Failure> {
    if context.network.is_unknown().await {
        restore(context).await?;
    }
    Ok(context.network.host_aliases().await)
}

/// Takes up the network of the job that a daemon before this one has prepared, if there is one.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn restore(context: &Context) -> Result<(), Failure> {
    let runner = &context.config.pod_name;
    let (pods, name) = (context.cluster.pods(), names::job_pod(runner));
    let found =
        context.cluster.retry().run(&format!("read pod {name}"), || pods.get_opt(&name)).await?;
    let pod = found.filter(|pod| {
        names::is_of(&pod.metadata, runner) && pod.metadata.deletion_timestamp.is_none()
    });
    let services = pod.as_ref().and_then(JobServices::from_pod);
    let addresses = pod.as_ref().map(forward::addresses).unwrap_or_default();
    context.network.restore(services, addresses).await;
    Ok(())
}

/// As [`restore`], when the daemon starts: steps of the runner container may need the ports at any
/// moment, whether a hook is called or not.
pub async fn restore_at_start(context: &Context) {
    if let Err(failure) = restore(context).await {
        tracing::warn!(error = report(&failure), "cannot look for services of a running job");
    }
}

/// The names that the containers of the job's pod have for services.
fn service_names(pod: &Pod) -> Vec<String> {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let local = aliases.filter(|alias| alias.ip == LOOPBACK);
    local.flat_map(|alias| alias.hostnames.clone().unwrap_or_default()).collect()
}

/// Reports to the workflow which port of the runner leads to which port of a service.
fn write_ports(forwards: &[Forward], prepared: &mut JobPrepared) {
    for service in &mut prepared.services {
        let own = forwards.iter().filter(|forward| forward.service == service.id);
        let ports: BTreeMap<_, _> =
            own.map(|one| (one.container.to_string(), one.local.to_string())).collect();
        service.ports = ports.into_iter().collect();
    }
}

/// What of a service steps in the runner container cannot reach.
fn warnings(service: &str, published: &[Published], names: &[String]) -> Vec<String> {
    if published.is_empty() {
        return vec![format!(
            "Warning: service {service} publishes no port, so that steps of a job without \
             `container:` cannot reach it: add `ports:`"
        )];
    }
    let other = published.iter().filter(|port| port.protocol != "tcp");
    let names = names.join(", ");
    let note = |port: &Published| {
        format!(
            "Warning: port {}/{} of service {service} is not forwarded to the runner, only TCP is; \
             container steps reach it under the services' names ({names})",
            port.container, port.protocol
        )
    };
    other.map(note).collect()
}

fn summary(services: &JobServices) -> Option<String> {
    let ports = services.forwards.iter().map(|forward| {
        let Forward { service, local, container } = forward;
        format!("localhost:{local} is port {container} of {service}")
    });
    let ports: Vec<_> = ports.collect();
    let names = services.names.join(", ");
    (!ports.is_empty()).then(|| {
        format!(
            "Steps reach the services through ports of the runner: {}; container steps reach them \
             as {names}",
            ports.join(", ")
        )
    })
}

#[cfg(test)]
mod tests;
