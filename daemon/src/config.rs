//! What the administrator sets. Every setting is a flag and an environment variable; the names
//! that the reference hooks and ADR 0034 know keep their names. `docs/config.md` lists them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

mod build;

pub use build::ProxySource;

/// Settings of the daemon.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Directory shared with the runner container: the socket, hook, hook.sh and hook.js.
    #[arg(long, env = "HOOKD_SOCKET_DIR", default_value = "/run/hookd")]
    pub socket_dir: PathBuf,

    /// The runner's work directory, mounted here at the runner's own path.
    #[arg(long, env = "HOOKD_WORK_DIR", default_value = "/home/runner/_work")]
    pub work_dir: PathBuf,

    /// Further directories that build contexts may lie in (an action cache), comma-separated.
    #[arg(long, env = "HOOKD_CONTEXT_DIRS", value_delimiter = ',')]
    pub context_dirs: Vec<PathBuf>,

    /// User ids that may call, comma-separated. Default: hookd's own.
    #[arg(long, env = "HOOKD_ALLOWED_UIDS", value_delimiter = ',')]
    pub allowed_uids: Vec<u32>,

    /// Name of the runner pod, from the downward API.
    #[arg(long, env = "ACTIONS_RUNNER_POD_NAME")]
    pub pod_name: String,

    /// Namespace of the runner pod. Default: that of hookd's service account.
    #[arg(long, env = "ACTIONS_RUNNER_KUBERNETES_NAMESPACE")]
    pub namespace: Option<String>,

    /// PersistentVolumeClaim of the work directory. Default: the one that the runner pod mounts
    /// there.
    #[arg(long, env = "ACTIONS_RUNNER_CLAIM_NAME")]
    pub claim_name: Option<String>,

    /// File with the administrator's template for pods of jobs, in the shape of a PodTemplateSpec.
    #[arg(long, env = "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE")]
    pub hook_template: Option<PathBuf>,

    /// Seconds that a step's pod may take to start: node, volumes, image.
    #[arg(
        long, env = "ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", default_value = "600",
        value_parser = seconds
    )]
    pub start_timeout: Duration,

    /// Seconds that a step may run (5 days, as long as GitHub lets a job run).
    #[arg(long, env = "HOOKD_STEP_TIMEOUT_SECONDS", default_value = "432000", value_parser = seconds)]
    pub step_timeout: Duration,

    /// Seconds that a step waits for its hook after hookd itself was restarted.
    #[arg(long, env = "HOOKD_REATTACH_TIMEOUT_SECONDS", default_value = "60", value_parser = seconds)]
    pub reattach_timeout: Duration,

    /// Seconds without the API server after which a step gives up.
    #[arg(long, env = "HOOKD_API_TIMEOUT_SECONDS", default_value = "300", value_parser = seconds)]
    pub api_timeout: Duration,

    /// How stepd and Node.js get into job pods: `image-volumes`, `init-container`, or `auto`, which
    /// takes image volumes where the cluster has them.
    #[arg(long, env = "HOOKD_TOOLS", value_enum, default_value = "auto", ignore_case = true)]
    pub tools: Tools,

    /// Image that has the runner's externals (Node.js). Default: that of the runner container.
    #[arg(long, env = "ACTIONS_RUNNER_IMAGE")]
    pub runner_image: Option<String>,

    /// Who starts the program of a container step: `auto`, which is stepd where the image's own
    /// program is known and image volumes are to be had, or always the `kubelet`.
    #[arg(
        long,
        env = "HOOKD_CONTAINER_STEPS",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub container_steps: ContainerSteps,

    /// Where images are pushed and pulled.
    #[command(flatten)]
    pub registry: RegistryConfig,

    /// How images are built.
    #[command(flatten)]
    pub build: BuildConfig,
}

/// See [`Config::tools`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tools {
    /// As the cluster's version allows.
    Auto,
    /// Always as image volumes.
    ImageVolumes,
    /// Always by an init container.
    InitContainer,
}

/// See [`Config::container_steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContainerSteps {
    /// stepd where it can, or else the kubelet.
    Auto,
    /// Always the kubelet.
    Kubelet,
}

/// See [`RegistryConfig::built_images`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BuiltImages {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay.
    Keep,
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

    /// What becomes of the images that a job built when it ends: `delete`, where the registry can, or
    /// `keep`.
    #[arg(
        long = "built-images",
        env = "HOOKD_BUILT_IMAGES",
        value_enum,
        default_value = "delete",
        ignore_case = true
    )]
    pub built_images: BuiltImages,

    /// Registries to take in place of others, for FROM: "index.docker.io=mirror:5000;...". With
    /// it no other registry is asked for these.
    #[arg(long = "registry-map", env = "HOOKD_REGISTRY_MAP")]
    pub map: Option<String>,

    /// Mirrors of Docker Hub to try first, for FROM, comma-separated.
    #[arg(long = "registry-mirrors", env = "HOOKD_REGISTRY_MIRRORS", value_delimiter = ',')]
    pub mirrors: Vec<String>,

    /// Registries that speak plain HTTP, comma-separated. One behind a node port is one anyway.
    #[arg(long = "insecure-registries", env = "HOOKD_INSECURE_REGISTRIES", value_delimiter = ',')]
    pub insecure: Vec<String>,
}

/// The builder.
#[derive(Args, Clone, Debug)]
pub struct BuildConfig {
    /// Image of the Kaniko executor.
    #[arg(
        long = "kaniko-image",
        env = "HOOKD_KANIKO_IMAGE",
        default_value = "ghcr.io/osscontainertools/kaniko:v1.28.3"
    )]
    pub kaniko_image: String,

    /// CPU limit of a build, a Kubernetes quantity.
    #[arg(long = "build-cpu", env = "HOOKD_BUILD_CPU", default_value = "2")]
    pub cpu: String,

    /// Memory limit of a build, a Kubernetes quantity.
    #[arg(long = "build-memory", env = "HOOKD_BUILD_MEMORY", default_value = "4Gi")]
    pub memory: String,

    /// Ephemeral storage limit of a build, a Kubernetes quantity.
    #[arg(
        long = "build-ephemeral-storage",
        env = "HOOKD_BUILD_EPHEMERAL_STORAGE",
        default_value = "20Gi"
    )]
    pub ephemeral_storage: String,

    /// Seconds that a build may take, from the creation of its Job.
    #[arg(
        long = "build-timeout", env = "HOOKD_BUILD_TIMEOUT_SECONDS", default_value = "3600",
        value_parser = seconds
    )]
    pub timeout: Duration,

    /// Runs builds in a user namespace (Kubernetes 1.33, containerd 2.0, runc 1.2 and later).
    #[arg(long = "build-user-namespace", env = "HOOKD_BUILD_USER_NAMESPACE")]
    pub user_namespace: bool,

    /// Capabilities of a build, comma-separated, in place of docker's default ones within Pod Security
    /// baseline.
    #[arg(
        long = "build-capabilities", env = "HOOKD_BUILD_CAPABILITIES", value_delimiter = ',',
        value_parser = build::capability
    )]
    pub capabilities: Vec<String>,

    /// Whose proxy variables a build has: the `sidecar`'s own, or `none`.
    #[arg(
        long = "build-proxy",
        env = "HOOKD_BUILD_PROXY",
        value_enum,
        default_value = "sidecar",
        ignore_case = true
    )]
    pub proxy: ProxySource,

    /// Bytes that a build context may have.
    #[arg(
        long = "build-context-limit",
        env = "HOOKD_BUILD_CONTEXT_LIMIT_BYTES",
        default_value = "2147483648"
    )]
    pub context_limit: u64,
}

impl Config {
    /// Directories beneath which actions lie.
    pub fn context_roots(&self) -> Vec<PathBuf> {
        std::iter::once(&self.work_dir).chain(&self.context_dirs).cloned().collect()
    }

    /// Takes what is set to nothing as not set: templates of manifests write empty strings.
    pub fn without_empty(mut self) -> Self {
        let registry = &mut self.registry;
        let texts = [
            &mut self.namespace,
            &mut self.claim_name,
            &mut self.runner_image,
            &mut registry.host,
            &mut registry.port,
            &mut registry.node_port,
            &mut registry.pull_host,
            &mut registry.secret,
            &mut registry.ca_config_map,
            &mut registry.map,
        ];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        let capabilities = &mut self.build.capabilities;
        for list in [&mut registry.mirrors, &mut registry.insecure, capabilities] {
            list.retain(|item| !item.trim().is_empty());
        }
        registry.ca_file.take_if(|path| path.as_os_str().is_empty());
        self.hook_template.take_if(|path| path.as_os_str().is_empty());
        self.context_dirs.retain(|directory| !directory.as_os_str().is_empty());
        self
    }
}

/// A port, or nothing.
fn port(text: &str) -> Result<String, String> {
    match text.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ if text.trim().is_empty() => Ok(String::new()),
        _ => Err("not a port number".to_owned()),
    }
}

/// A whole number of seconds above zero.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a whole number of seconds above 0".to_owned()),
        Ok(number) => Ok(Duration::from_secs(number)),
    }
}

#[cfg(test)]
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

#[cfg(test)]
impl Config {
    /// The settings of a runner pod named "r", and those of `args`.
    pub(crate) fn of(args: &[&str]) -> Self {
        <Cli as clap::Parser>::parse_from([&["hookd", "--pod-name", "r"], args].concat()).config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_and_above_zero() {
        assert_eq!(seconds("600"), Ok(Duration::from_secs(600)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("5s").is_err());
    }

    #[test]
    fn what_is_set_to_nothing_is_not_set() {
        let empty = ["--registry-port", "", "--registry-secret", "", "--insecure-registries", ""];
        let registry = Config::of(&empty).without_empty().registry;
        assert_eq!((registry.port, registry.secret), (None, None));
        assert!(registry.insecure.is_empty());
        assert!(port("0").is_err() && port("70000").is_err());
    }

    #[test]
    fn every_setting_is_documented() {
        use clap::CommandFactory;
        let docs = include_str!("../../docs/config.md");
        for arg in Cli::command().get_arguments() {
            let Some(env) = arg.get_env().and_then(|env| env.to_str()) else { continue };
            assert!(docs.contains(&format!("`{env}`")), "docs/config.md does not name {env}");
        }
    }

    #[test]
    fn a_pod_name_is_all_that_must_be_set() {
        assert_eq!(Config::of(&[]).start_timeout, Duration::from_secs(600));
    }
}
