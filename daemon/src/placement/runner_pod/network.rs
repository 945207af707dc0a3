//! The services of a job share the network of the runner: a step reaches them at their own ports of
//! localhost. Where a workflow publishes another port, hookd forwards it.

use std::net::{IpAddr, Ipv4Addr};

use hookd_api::v1::JobPrepared;

use super::record::Record;
use super::services::Service;
use crate::context::Context;
use crate::error::Failure;
use crate::forward::listener::LoopbackPort;
use crate::forward::published;
use crate::forward::{Forward, JobServices};
use crate::objects::job_pod::JobSpec;
use crate::runner::job_volumes::JobVolumes;

/// The ports that are forwarded, not bound yet.
pub(super) struct Network(JobServices);

/// Plans the ports of a job; they go into its record.
pub(super) fn open(
    spec: &JobSpec,
    services: &[Service],
    record: &mut Record,
) -> Result<Network, Failure> {
    let mut forwards = Vec::new();
    // In a job container a step uses the services' own ports, as with docker.
    let published = spec.services.iter().zip(services).filter(|_| spec.container.is_none());
    for (service, made) in published {
        for port in published::parse(&service.spec.port_mappings) {
            let local = port.host.unwrap_or(port.container);
            if port.protocol == "tcp" && local != port.container {
                let service = made.name.clone();
                forwards.push(Forward { service, local, container: port.container });
            }
        }
    }
    let names = services.iter().map(|service| service.name.clone()).collect();
    record.network = JobServices { names, forwards };
    Ok(Network(record.network.clone()))
}

impl Network {
    /// Forwards from now on.
    pub(super) async fn start(
        self,
        context: &Context,
        record: &Record,
        prepared: &mut JobPrepared,
    ) {
        for service in &mut prepared.services {
            for forward in self.0.forwards.iter().filter(|one| one.service == service.id) {
                service.ports.insert(forward.container.to_string(), forward.local.to_string());
            }
        }
        restore(context, record).await;
    }
}

/// Takes up the ports of the job that the record has.
pub(super) async fn restore(context: &Context, record: &Record) {
    let mut ports = Vec::new();
    let mut services = record.network.clone();
    let mut bound = Vec::new();
    for forward in services.forwards {
        match LoopbackPort::bind(forward.local).await {
            Ok(port) => {
                ports.push(port);
                bound.push(forward);
            }
            Err(error) => {
                tracing::warn!(port = forward.local, %error, "the port cannot be forwarded")
            }
        }
    }
    services.forwards = bound;
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    context.network.start(services, vec![address], ports).await;
}

/// Names that the workflow expects, and that the runner pod does not have.
pub(super) fn warnings(spec: &JobSpec, volumes: &JobVolumes) -> Vec<String> {
    let hosts = spec.hosts("");
    let wanted = hosts.aliases.iter().flat_map(|alias| {
        alias.hostnames.iter().flatten().map(move |name| (alias.ip.as_str(), name.as_str()))
    });
    let missing: Vec<_> = wanted
        .filter(|(ip, name)| {
            *ip != "127.0.0.1" || !volumes.local_names.iter().any(|known| known == name)
        })
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "Warning: nothing is found under {}: the job runs in the runner pod, whose hosts are fixed. \
         Services are at localhost; for a name, the administrator adds it to `hostAliases` of the runner \
         pod",
        missing.join(", ")
    )]
}
