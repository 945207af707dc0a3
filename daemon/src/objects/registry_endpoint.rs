//! The container beside the builder that alone has the credentials: see [`crate::endpoint`].

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EnvVar, ExecAction, KeyToPath, Lifecycle,
    LifecycleHandler, ResourceRequirements, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::RegistryConfig;
use crate::endpoint::{
    AUTHORITY_DIR, AUTHORITY_FILE, CREDENTIALS_DIR, CREDENTIALS_FILE, DOCKER_DIR, EndpointConfig,
    TLS_DIR, VARIABLE,
};
use crate::error::{CommonError, Failure};
use crate::names;
use crate::objects::docker::args;
use crate::objects::error::SpecError;
use crate::runner::Runner;

/// hookd in its own image.
const HOOKD: &str = "/usr/local/bin/hookd";
/// Bytes of the configuration: the kernel takes no variable of more than 128 KiB.
const MOST_CONFIG: usize = 100 << 10;

/// The volume of a build's pod with the credentials that its builder reads.
pub const DOCKER_VOLUME: &str = "docker-config";

/// The container of a build's pod that has its credentials.
#[derive(Debug)]
pub struct RegistryEndpoint {
    /// An endpoint is a native sidecar: the builder starts when it listens, and it ends with the builder.
    pub container: Container,
    /// Credentials and certificates, which only it mounts.
    pub volumes: Vec<Volume>,
}

/// The endpoint that `config` describes, from hookd's own image.
///
/// # Errors
/// When hookd's own image is unknown, or the Dockerfile names too many images.
pub fn endpoint(
    runner: &Runner,
    config: &EndpointConfig,
    registry: &RegistryConfig,
) -> Result<RegistryEndpoint, Failure> {
    let (volumes, mounts) = files(registry);
    let container = Container {
        restart_policy: Some("Always".to_owned()),
        lifecycle: Some(Lifecycle { post_start: Some(listens()), ..Lifecycle::default() }),
        volume_mounts: Some(mounts),
        ..container(names::REGISTRY_ENDPOINT, runner, config)?
    };
    Ok(RegistryEndpoint { container, volumes })
}

/// What stands in the endpoint's place where the builder asks registries itself: before the builder starts, it
/// writes the credentials that count for what `config` describes to the volume [`DOCKER_VOLUME`], which
/// alone the builder mounts. None: there are no credentials.
///
/// # Errors
/// As [`endpoint`].
pub fn credentials(
    runner: &Runner,
    config: &EndpointConfig,
    registry: &RegistryConfig,
) -> Result<Option<RegistryEndpoint>, Failure> {
    let Some((volume, mount)) = credentials_file(registry) else { return Ok(None) };
    let written = VolumeMount {
        name: DOCKER_VOLUME.to_owned(),
        mount_path: DOCKER_DIR.to_owned(),
        ..VolumeMount::default()
    };
    let container = Container {
        volume_mounts: Some(vec![mount, written]),
        ..container(names::REGISTRY_CREDENTIALS, runner, config)?
    };
    Ok(Some(RegistryEndpoint { container, volumes: vec![volume] }))
}

/// hookd in the role of this name, with the configuration in its environment.
fn container(role: &str, runner: &Runner, config: &EndpointConfig) -> Result<Container, Failure> {
    if runner.hookd_image.is_empty() {
        return Err(SpecError::NoHookdImage.into());
    }
    let json = serde_json::to_string(config).map_err(|error| {
        CommonError::defect("The endpoint's settings cannot be written as JSON", error)
    })?;
    if json.len() > MOST_CONFIG {
        return Err(SpecError::TooManyImages { number: config.images.len() }.into());
    }
    Ok(Container {
        name: role.to_owned(),
        image: Some(runner.hookd_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some([HOOKD, role].map(str::to_owned).to_vec()),
        env: Some(vec![EnvVar {
            name: VARIABLE.to_owned(),
            value: Some(args::quote_dollars(&json)),
            ..EnvVar::default()
        }]),
        resources: Some(resources()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        // Why it does not start stands in its log.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    })
}

/// Ends when the endpoint listens, within the pod's network namespace: it does so on loopback only. The kubelet
/// goes on with the pod then. It makes a startup probe once a second only.
fn listens() -> LifecycleHandler {
    let command = [HOOKD, "registry-endpoint", "--wait"].map(str::to_owned).to_vec();
    LifecycleHandler {
        exec: Some(ExecAction { command: Some(command) }),
        ..LifecycleHandler::default()
    }
}

/// It moves bytes from socket to socket. A quota may ask every container for limits.
fn resources() -> ResourceRequirements {
    let quantities = |pairs: [(&str, &str); 3]| {
        Some(pairs.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into())
    };
    ResourceRequirements {
        limits: quantities([("cpu", "1"), ("memory", "128Mi"), ("ephemeral-storage", "64Mi")]),
        requests: quantities([("cpu", "10m"), ("memory", "32Mi"), ("ephemeral-storage", "8Mi")]),
        ..ResourceRequirements::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn item(key: &str, path: &str) -> Option<Vec<KeyToPath>> {
    Some(vec![KeyToPath { key: key.to_owned(), path: path.to_owned(), ..KeyToPath::default() }])
}

fn credentials_file(registry: &RegistryConfig) -> Option<(Volume, VolumeMount)> {
    let volume = Volume {
        name: "credentials".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(registry.secret.clone()?),
            items: item(".dockerconfigjson", CREDENTIALS_FILE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    Some((volume, mount("credentials", CREDENTIALS_DIR)))
}

fn files(registry: &RegistryConfig) -> (Vec<Volume>, Vec<VolumeMount>) {
    let authority = registry.ca_config_map.as_ref().map(|name| {
        let volume = Volume {
            name: "ca".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                items: item(AUTHORITY_FILE, AUTHORITY_FILE),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        };
        (volume, mount("ca", AUTHORITY_DIR))
    });
    let mut secrets: Vec<_> = registry.tls.iter().map(|entry| &entry.secret).collect();
    secrets.sort();
    secrets.dedup();
    let certificates = secrets.into_iter().enumerate().map(|(number, secret)| {
        let name = format!("tls-{number}");
        let mount = mount(&name, &format!("{TLS_DIR}/{secret}"));
        let source = SecretVolumeSource { secret_name: Some(secret.clone()), ..Default::default() };
        (Volume { name, secret: Some(source), ..Volume::default() }, mount)
    });
    credentials_file(registry).into_iter().chain(authority).chain(certificates).unzip()
}
