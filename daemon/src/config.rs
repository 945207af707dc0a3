//! What the administrator sets. Every setting is a flag and an environment variable; the names
//! that the reference hooks and ADR 0034 know keep their names. `docs/config.md` lists them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hookd_api::transport::AGENTS_DIR;

mod build;
mod cache;
mod policy;
pub mod quantity;
mod registry;
mod tolerant;
mod values;

pub use build::{BuildConfig, BuildReuse, BuilderKind, ProxySource};
pub use cache::{CacheConfig, Compression, LayerConfig, SnapshotMode};
pub use policy::PolicyConfig;
pub use registry::{BuiltImages, RegistryConfig, TlsSecret};
pub use tolerant::tolerant;
pub use values::count;
use values::{address, endpoint, seconds, seconds_or_none, switch};

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

    /// User ids that may call the socket, comma-separated. Default: hookd's own.
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

    /// Lets steps mount a part (subPath) of a claim whose other parts hold what every job may see.
    #[arg(
        long, env = "HOOKD_TRUST_SHARED_CLAIM", default_value = "false",
        action = clap::ArgAction::Set, value_parser = switch
    )]
    pub trust_shared_claim: bool,

    /// Where the containers of a job run: in pods of their own (`own-pod`), in the runner's pod
    /// (`runner-pod`), or `auto`: in the runner's pod where the work directory is on no claim and the
    /// pod has the volumes for it (docs/placement.md).
    #[arg(
        long,
        env = "HOOKD_JOB_PLACEMENT",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub job_placement: JobPlacement,

    /// Directory beneath which the volumes for jobs in the runner's pod are mounted.
    #[arg(long, env = "HOOKD_AGENTS_DIR", default_value = AGENTS_DIR)]
    pub agents_dir: PathBuf,

    /// Secret of type kubernetes.io/dockerconfigjson that the runner pod has in `imagePullSecrets`, for
    /// credentials of the workflow where jobs run in the runner's pod; all runners share it.
    #[arg(long, env = "HOOKD_PULL_SECRET")]
    pub pull_secret: Option<String>,

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

    /// Seconds that a workflow may have the container of a failed step kept, by `HOOKD_HOLD_SECONDS` in the
    /// step's environment; 0: not at all.
    #[arg(
        long, env = "HOOKD_HOLD_MAX_SECONDS", default_value = "3600", value_parser = seconds_or_none
    )]
    pub longest_hold: Duration,

    /// Seconds that a step waits for its hook after hookd itself was restarted.
    #[arg(long, env = "HOOKD_REATTACH_TIMEOUT_SECONDS", default_value = "60", value_parser = seconds)]
    pub reattach_timeout: Duration,

    /// Seconds without an answer of the API server after which a step fails.
    #[arg(long, env = "HOOKD_API_TIMEOUT_SECONDS", default_value = "300", value_parser = seconds)]
    pub api_timeout: Duration,

    /// How stepd and Node.js get into job pods: `image-volumes`, `init-container`, or `auto`, which
    /// takes image volumes where the cluster has them.
    #[arg(
        long,
        env = "HOOKD_AGENT_INJECTION",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub agent_injection: AgentInjection,

    /// Image that has the runner's externals (Node.js). Default: that of the runner container.
    #[arg(long, env = "ACTIONS_RUNNER_IMAGE")]
    pub runner_image: Option<String>,

    /// Who starts the program of a container step: `auto`, which is stepd where the image's own
    /// program is known and image volumes are available, or always the `kubelet`.
    #[arg(
        long,
        env = "HOOKD_CONTAINER_STEP_LAUNCHER",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub container_step_launcher: ContainerStepLauncher,

    /// Writes a table of what a job's containers and container steps took into the job's summary.
    #[arg(
        long, env = "HOOKD_SUMMARY", default_value = "false",
        action = clap::ArgAction::Set, value_parser = switch
    )]
    pub summary: bool,

    /// Address and port at which Prometheus reads the metrics, such as `0.0.0.0:9464`. Default: none, they
    /// are not served.
    #[arg(long, env = "HOOKD_METRICS_ADDRESS", value_parser = address)]
    pub metrics_address: Option<String>,

    /// Collector that gets traces, by OTLP over gRPC without TLS, such as
    /// `http://otel-collector.monitoring:4317`. Default: none, calls are not traced.
    #[arg(long, env = "HOOKD_TRACES_ENDPOINT", value_parser = endpoint)]
    pub traces_endpoint: Option<String>,

    /// What workflows may ask for.
    #[command(flatten)]
    pub policy: PolicyConfig,

    /// Where images are pushed and pulled.
    #[command(flatten)]
    pub registry: RegistryConfig,

    /// How images are built.
    #[command(flatten)]
    pub build: BuildConfig,
}

/// See [`Config::job_placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JobPlacement {
    /// As the runner pod allows.
    Auto,
    /// Always in pods of their own.
    OwnPod,
    /// Always in the runner's pod.
    RunnerPod,
}

/// See [`Config::agent_injection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentInjection {
    /// As the cluster's version allows.
    Auto,
    /// Always as image volumes.
    ImageVolumes,
    /// Always by an init container.
    InitContainer,
}

/// See [`Config::container_step_launcher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContainerStepLauncher {
    /// stepd where it can, otherwise the kubelet.
    Auto,
    /// Always the kubelet.
    Kubelet,
}

impl Config {
    /// Directories beneath which actions lie.
    pub fn context_roots(&self) -> Vec<PathBuf> {
        std::iter::once(&self.work_dir).chain(&self.context_dirs).cloned().collect()
    }

    /// Treats empty values as absent: templates of manifests write empty strings.
    pub fn without_empty(mut self) -> Self {
        self.registry = self.registry.without_empty();
        let texts = [
            &mut self.namespace,
            &mut self.claim_name,
            &mut self.runner_image,
            &mut self.pull_secret,
            &mut self.metrics_address,
            &mut self.traces_endpoint,
            &mut self.build.buildkit_address,
            &mut self.build.buildkit_tls_secret,
        ];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        self.build.capabilities.retain(|item| !item.trim().is_empty());
        self.build.destinations.retain(|item| !item.trim().is_empty());
        self.hook_template.take_if(|path| path.as_os_str().is_empty());
        self.policy.policy_file.take_if(|path| path.as_os_str().is_empty());
        self.context_dirs.retain(|directory| !directory.as_os_str().is_empty());
        self
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
    use super::values::{bytes, port, quantity};
    use super::*;

    #[test]
    fn seconds_are_whole_and_above_zero() {
        assert_eq!(seconds("600"), Ok(Duration::from_secs(600)));
        assert_eq!(seconds(" 5 "), Ok(Duration::from_secs(5)));
        for text in ["", " ", "0", "-1", "5s", "abc", "1.5", "18446744073709551615"] {
            assert!(seconds(text).is_err(), "{text}");
        }
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
    fn amounts_are_checked_before_a_build_needs_them() {
        assert_eq!(quantity("4Gi").as_deref(), Ok("4Gi"));
        for text in ["", "0", "-1", "lots", "4GB"] {
            assert!(quantity(text).is_err(), "{text}");
        }
        assert!(bytes("1").is_ok() && bytes("0").is_err() && bytes("").is_err());
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
    fn the_settings_in_building_md_are_valid() {
        use clap::CommandFactory;
        let (docs, command) = (include_str!("../../docs/building.md"), Cli::command());
        let blocks = docs.split("```env\n").skip(1).filter_map(|rest| rest.split("```").next());
        let flag = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            let arg =
                command.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == name));
            let long = arg.and_then(clap::Arg::get_long).unwrap_or_else(|| panic!("{name}"));
            format!("--{long}={value}")
        };
        let mut registries = 0;
        for block in blocks {
            let flags: Vec<_> = block.lines().map(flag).collect();
            let config = Config::of(&flags.iter().map(String::as_str).collect::<Vec<_>>());
            registries += usize::from(config.registry.secret.is_some());
        }
        assert_eq!(registries, 5);
    }

    #[test]
    fn a_pod_name_is_all_that_must_be_set() {
        assert_eq!(Config::of(&[]).start_timeout, Duration::from_secs(600));
    }
}
