//! The Kubernetes API: a warm client and what hookd asks of it.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client};

use crate::cluster::retry::Retry;

pub mod access;
pub mod client;
pub mod dry_run;
pub mod error;
pub mod events;
pub mod exec;
mod interruption;
pub mod logs;
pub mod objects;
pub mod pod;
pub mod refusal;
pub mod retry;
#[cfg(test)]
pub(crate) mod scripted;
pub mod watch;

/// The runner's namespace, and how long hookd waits for what it asks there.
#[derive(Clone)]
pub struct Cluster {
    /// The warm client.
    pub client: Client,
    /// The runner's namespace.
    pub namespace: String,
    /// How long the API may stay away before an operation gives up.
    pub api_timeout: Duration,
    /// How long a pod may take to start.
    pub start_timeout: Duration,
}

/// A container of a pod in the runner's namespace.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRef<'a> {
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
}

impl Cluster {
    /// Namespace "ns", behind an API server of a test.
    #[cfg(test)]
    pub(crate) fn of(client: Client) -> Self {
        let second = Duration::from_secs(1);
        let namespace = "ns".to_owned();
        Self { client, namespace, api_timeout: second, start_timeout: second }
    }

    /// How requests are repeated within a step.
    pub fn retry(&self) -> Retry {
        Retry::new(self.api_timeout)
    }

    /// Pods of the runner's namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Jobs of the runner's namespace.
    pub fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Leases of the runner's namespace.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Secrets of the runner's namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}
