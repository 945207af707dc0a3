//! The network of a job that its pods do not share by themselves.
//!
//! The services of a job run in the job's pod. Steps in the job container share its network. For
//! all others hookd closes the gap: a container step's pod gets the services' names with the
//! address of the job's pod, and for a job without `container:`, whose steps run in the runner
//! container, hookd listens at the services' ports on the loopback of the runner pod, whose network
//! it shares, and forwards each connection.
//!
//! What there is to know stands in an annotation of the job's pod: a daemon that was restarted goes
//! on from there. Connections that were open end with the daemon, as with any proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{HostAlias, Pod};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

pub mod listener;
pub mod published;

use listener::{LoopbackPort, targets};

/// Annotation of a job's pod: a [`JobServices`] in JSON.
pub const ANNOTATION: &str = "hookd.dev/network";
/// Ports that hookd forwards for one job.
pub const MAX_FORWARDS: usize = 256;
/// Connections of a job that are forwarded at the same time. Each takes 16 KiB.
const MAX_CONNECTIONS: usize = 512;
/// Before a port is tried again that something else in the runner pod has taken.
const REBIND_PAUSE: Duration = Duration::from_secs(1);

/// The services of a job, for those who do not share their network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobServices {
    /// Names of the services.
    pub names: Vec<String>,
    /// Ports on the runner's loopback.
    pub forwards: Vec<Forward>,
}

/// A port on the runner's loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The service's container.
    pub service: String,
    /// The port on the loopback.
    pub local: u16,
    /// The service's port.
    pub container: u16,
}

impl JobServices {
    /// What the pod of a job says; none: it has no services.
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let text = pod.metadata.annotations.as_ref()?.get(ANNOTATION)?;
        serde_json::from_str(text).ok()
    }
}

/// Addresses of a pod; empty: it has none yet.
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
    let all: Vec<_> = all.filter_map(|address| address.parse().ok()).collect();
    let one = status.pod_ip.as_ref().and_then(|address| address.parse().ok());
    if all.is_empty() { one.into_iter().collect() } else { all }
}

/// The network of the runner's present job.
#[derive(Debug, Default)]
pub struct JobNetwork(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// This daemon has not looked yet.
    #[default]
    Unknown,
    /// No job has services.
    Nothing,
    /// A job has.
    Services(Services),
}

#[derive(Debug)]
struct Services {
    services: JobServices,
    addresses: Vec<IpAddr>,
    forwarding: JoinSet<()>,
}

impl JobNetwork {
    /// The job is over, or a new one begins: every port is closed when this returns.
    pub async fn clear(&self) {
        let mut state = self.0.lock().await;
        let old = std::mem::replace(&mut *state, State::Nothing);
        if let State::Services(mut old) = old {
            old.forwarding.shutdown().await;
        }
    }

    /// Serves the ports that were bound for a job whose pod has these addresses.
    pub async fn start(
        &self,
        services: JobServices,
        addresses: Vec<IpAddr>,
        ports: Vec<LoopbackPort>,
    ) {
        self.clear().await;
        let (slots, mut forwarding) = (slots(), JoinSet::new());
        for (forward, port) in services.forwards.iter().zip(ports) {
            forwarding.spawn(port.forward(targets(&addresses, forward.container), slots.clone()));
        }
        *self.0.lock().await = State::Services(Services { services, addresses, forwarding });
    }

    /// Takes up the services of the job of a daemon before this one, unless a new job has begun meanwhile;
    /// none: there is no such job.
    pub async fn restore(&self, services: Option<JobServices>, addresses: Vec<IpAddr>) {
        let mut state = self.0.lock().await;
        if !matches!(*state, State::Unknown) {
            return;
        }
        let Some(services) = services else {
            *state = State::Nothing;
            return;
        };
        if addresses.is_empty() {
            // It is still being prepared: its hook comes back for it.
            return;
        }
        let (slots, mut forwarding) = (slots(), JoinSet::new());
        for forward in services.forwards.clone() {
            forwarding.spawn(rebind(forward, addresses.clone(), slots.clone()));
        }
        *state = State::Services(Services { services, addresses, forwarding });
    }

    /// True until this daemon knows whether a job has services.
    pub async fn is_unknown(&self) -> bool {
        matches!(*self.0.lock().await, State::Unknown)
    }

    /// What a container step's pod resolves: the services' names.
    pub async fn host_aliases(&self) -> Vec<HostAlias> {
        let state = self.0.lock().await;
        let State::Services(Services { services, addresses, .. }) = &*state else {
            return Vec::new();
        };
        if services.names.is_empty() {
            return Vec::new();
        }
        let alias = |address: &IpAddr| HostAlias {
            ip: address.to_string(),
            hostnames: Some(services.names.clone()),
        };
        addresses.iter().map(alias).collect()
    }
}

fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONNECTIONS))
}

/// Takes a port again, for as long as it takes: the steps of the job know no other.
async fn rebind(forward: Forward, addresses: Vec<IpAddr>, slots: Arc<Semaphore>) {
    let mut reported = false;
    loop {
        match LoopbackPort::bind(forward.local).await {
            Ok(port) => return port.forward(targets(&addresses, forward.container), slots).await,
            Err(error) if !std::mem::replace(&mut reported, true) => {
                let Forward { service, local, .. } = &forward;
                tracing::warn!(service, port = local, %error, "the port cannot be taken again yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(REBIND_PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
