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
use crate::forward::{Forward, JobServices, MAX_FORWARDS};
use crate::objects::job_pod::JobSpec;
use crate::placement::error::PlacementError;
use crate::runner::job_volumes::JobVolumes;

/// Where the services listen.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The ports that are forwarded: they are bound, and nothing answers yet.
#[derive(Default)]
pub(super) struct Network {
    services: JobServices,
    ports: Vec<LoopbackPort>,
}

/// Binds the ports of a job that are not the services' own; they go into its record.
///
/// # Errors
/// A port that the runner pod does not have, with the reason.
pub(super) async fn open(
    spec: &JobSpec,
    services: &[Service],
    record: &mut Record,
) -> Result<Network, Failure> {
    let mut network = Network::default();
    // In a job container a step uses the services' own ports, as with docker.
    let published = spec.services.iter().zip(services).filter(|_| spec.container.is_none());
    for (service, made) in published {
        for port in published::parse(&service.spec.port_mappings) {
            let local = port.host.unwrap_or(port.container);
            if port.protocol == "tcp" && local != port.container {
                network
                    .add(Forward { service: made.name.clone(), local, container: port.container })
                    .await?;
            }
        }
    }
    network.services.names = services.iter().map(|service| service.name.clone()).collect();
    record.network = network.services.clone();
    Ok(network)
}

impl Network {
    async fn add(&mut self, forward: Forward) -> Result<(), PlacementError> {
        let Forward { service, local, container } = &forward;
        let forwards = &mut self.services.forwards;
        if forwards.len() == MAX_FORWARDS {
            return Err(PlacementError::TooManyPorts { limit: MAX_FORWARDS });
        }
        if let Some(other) = forwards.iter().find(|other| other.local == *local) {
            return Err(PlacementError::PortTwice {
                port: *local,
                first: other.service.clone(),
                first_port: other.container,
                second: service.clone(),
                second_port: *container,
            });
        }
        let port = LoopbackPort::bind(*local).await;
        self.ports.push(port.map_err(|source| PlacementError::PortUnavailable {
            port: *local,
            service: service.clone(),
            service_port: *container,
            source,
        })?);
        forwards.push(forward);
        Ok(())
    }

    /// Forwards from now on.
    pub(super) async fn start(self, context: &Context, prepared: &mut JobPrepared) {
        for service in &mut prepared.services {
            for forward in self.services.forwards.iter().filter(|one| one.service == service.id) {
                service.ports.insert(forward.container.to_string(), forward.local.to_string());
            }
        }
        context.network.start(self.services, vec![LOCALHOST], self.ports).await;
    }
}

/// Takes up the ports of the job that the record has.
pub(super) async fn restore(context: &Context, record: &Record) {
    context.network.restore(Some(record.network.clone()), vec![LOCALHOST]).await;
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
