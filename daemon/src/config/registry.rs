//! The registry of built images.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::values::{port, repository, seconds, tls_secret};

/// See [`RegistryConfig::built_images`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BuiltImages {
    /// They are deleted.
    Delete,
    /// They stay.
    #[default]
    Keep,
}

/// A registry, and the Secret with its certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSecret {
    /// Host, with its port if it has one; `*`: every host without an entry of its own.
    pub host: String,
    /// Name of the Secret, in the shape of kubernetes.io/tls.
    pub secret: String,
}

/// The registry of built images, as ADR 0034 names it.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Registry that Kaniko pushes to: a Service's name or address, or a remote registry, with an
    /// optional path ("ghcr.io/my-org").
    #[arg(long = "registry-host", env = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST")]
    pub host: Option<String>,

    /// Port of that registry. Default: that of HTTPS.
    #[arg(
        long = "registry-port", env = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT",
        value_parser = port
    )]
    pub port: Option<String>,

    /// Node port behind which the kubelet finds the registry. Default: it pulls from the host.
    #[arg(
        long = "registry-node-port", env = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_NODE_PORT",
        value_parser = port
    )]
    pub node_port: Option<String>,

    /// Host, with its port, that the kubelet pulls from, where `localhost:<node port>` cannot
    /// work (kube-proxy in nftables or ipvs mode, Cilium).
    #[arg(long = "registry-pull-host", env = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST")]
    pub pull_host: Option<String>,

    /// Secret of type kubernetes.io/dockerconfigjson in the runner's namespace, to push and pull.
    #[arg(long = "registry-secret", env = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET")]
    pub secret: Option<String>,

    /// ConfigMap in the runner's namespace whose key ca.crt signs the registry's certificate.
    #[arg(long = "registry-ca", env = "HOOKD_REGISTRY_CA_CONFIGMAP")]
    pub ca_config_map: Option<String>,

    /// File in the hookd container with the same certificates, for hookd's own requests to the registry.
    #[arg(long = "registry-ca-file", env = "HOOKD_REGISTRY_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Secrets in the runner's namespace with certificates of registries:
    /// "r.example:5000=secret,*=proxy-ca". Each has the shape of kubernetes.io/tls: `ca.crt` signs the
    /// registry's certificate, beside the public authorities; `tls.crt` and `tls.key`, if both are there,
    /// are the client's. `*` stands for every host without an entry; only its authority counts.
    #[arg(
        long = "registry-tls", env = "HOOKD_REGISTRY_TLS", value_delimiter = ',',
        value_parser = tls_secret
    )]
    pub tls: Vec<TlsSecret>,

    /// Repository of built images within the registry; `{path}` stands for the path of the registry's
    /// host. Default: `{path}/hookd/build`, and `{path}/hookd-build` on Docker Hub, whose repositories
    /// have two parts.
    #[arg(long = "build-repository", env = "HOOKD_BUILD_REPOSITORY", value_parser = repository)]
    pub repository: Option<String>,

    /// What happens to the images of a job when it ends: `keep`, and `hookd gc` deletes those that no
    /// build uses any more, or `delete`.
    #[arg(
        long = "built-images",
        env = "HOOKD_BUILT_IMAGES",
        value_enum,
        default_value = "keep",
        ignore_case = true
    )]
    pub built_images: BuiltImages,

    /// Seconds after which a kept image is not used for further builds; `hookd gc` deletes it
    /// 5 days later.
    #[arg(
        long = "built-images-max-age",
        env = "HOOKD_BUILT_IMAGES_MAX_AGE_SECONDS",
        default_value = "604800",
        value_parser = seconds
    )]
    pub max_age: Duration,

    /// Registries to take in place of others, for FROM: "index.docker.io=mirror:5000;...". With
    /// it no other registry is asked for these.
    #[arg(long = "registry-map", env = "HOOKD_REGISTRY_MAP")]
    pub map: Option<String>,

    /// Mirrors of Docker Hub to try first, for FROM, comma-separated.
    #[arg(long = "registry-mirrors", env = "HOOKD_REGISTRY_MIRRORS", value_delimiter = ',')]
    pub mirrors: Vec<String>,

    /// Registries that use plain HTTP, comma-separated. A registry behind a node port always does.
    #[arg(long = "insecure-registries", env = "HOOKD_INSECURE_REGISTRIES", value_delimiter = ',')]
    pub insecure: Vec<String>,
}

impl RegistryConfig {
    /// An empty setting is one that was not made, as a template leaves it.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        let texts = [
            &mut self.host,
            &mut self.port,
            &mut self.node_port,
            &mut self.pull_host,
            &mut self.secret,
            &mut self.ca_config_map,
            &mut self.map,
            &mut self.repository,
        ];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        for list in [&mut self.mirrors, &mut self.insecure] {
            list.retain(|item| !item.trim().is_empty());
        }
        self.tls.retain(|entry| !entry.host.is_empty());
        self.ca_file.take_if(|path| path.as_os_str().is_empty());
        self
    }
}
