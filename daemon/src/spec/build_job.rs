//! The Job that builds an image with Kaniko, without privileges.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, KeyToPath, PodSecurityContext, PodSpec,
    ResourceRequirements, SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::{BuildConfig, RegistryConfig};
use crate::ids::StepId;
use crate::image::registry::Destination;
use crate::runner::Runner;
use crate::spec::{args, names, step_job};

pub mod proxy;
mod rights;

pub use rights::CAPABILITIES;

/// Name of the container in a build's pod.
pub const CONTAINER: &str = "kaniko";

/// Where the fork, and only the fork, behaves as docker if asked to. The original reads no variable of
/// such a name.
const AS_DOCKER: [&str; 6] = [
    "FF_KANIKO_CHOWN_ON_IMPLICIT_DIRS",
    "FF_KANIKO_COPY_AS_ROOT",
    "FF_KANIKO_COPY_CHMOD_ON_IMPLICIT_DIRS",
    "FF_KANIKO_EXPAND_HEREDOC",
    "FF_KANIKO_RUN_HONOR_GROUP",
    "FF_KANIKO_UNTAR_SKIP_ROOT",
];

/// The registry's certificate authority in the pod.
const CA_DIR: &str = "/kaniko/hookd-ca";

/// The Job of attempt number `attempt`. It waits for its context on standard input.
pub fn job(
    runner: &Runner,
    (step, attempt): (&StepId, u32),
    dockerfile: &str,
    destination: &Destination,
    registry: &RegistryConfig,
    build: &BuildConfig,
) -> Job {
    let arguments = arguments(dockerfile, destination, registry);
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(build.kaniko_image.clone()),
        args: Some(arguments.iter().map(|argument| args::quote_dollars(argument)).collect()),
        env: Some(AS_DOCKER.map(switched_on).into()),
        stdin: Some(true),
        stdin_once: Some(true),
        resources: Some(resources(build)),
        security_context: Some(rights::security_context(build)),
        volume_mounts: Some(volumes(registry).into_iter().map(|(_, mount)| mount).collect()),
        ..Container::default()
    };
    let pod = PodSpec {
        containers: vec![container],
        volumes: Some(volumes(registry).into_iter().map(|(volume, _)| volume).collect()),
        image_pull_secrets: step_job::pull_secrets(runner, registry.secret.as_deref()),
        host_users: build.user_namespace.then_some(false),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(step_job::runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..step_job::base_pod()
    };
    let name = names::build(&runner.name, step, attempt);
    step_job::one_pod_job(names::metadata(runner, step, &name), pod, build.timeout)
}

fn switched_on(name: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some("true".to_owned()), ..EnvVar::default() }
}

fn arguments(
    dockerfile: &str,
    destination: &Destination,
    registry: &RegistryConfig,
) -> Vec<String> {
    let mut arguments = vec![
        "--context=tar://stdin".to_owned(),
        format!("--dockerfile={dockerfile}"),
        format!("--destination={}", destination.push),
        // The kubelet hands it over as the container's termination message.
        "--digest-file=/dev/termination-log".to_owned(),
        // After 1, 2, 4, 8 and 16 s: a registry that is restarted. One that cannot be pushed to is
        // found before the build, without these.
        "--push-retry=5".to_owned(),
        // Kaniko leaves it out of images by default: nothing is mounted there in this pod.
        "--ignore-var-run=false".to_owned(),
    ];
    let mut insecure = registry.insecure.clone();
    insecure.extend(destination.insecure.then(|| destination.push_host.clone()));
    insecure.sort();
    insecure.dedup();
    arguments.extend(insecure.iter().map(|host| format!("--insecure-registry={host}")));
    if let Some(map) = &registry.map {
        arguments.push(format!("--registry-map={map}"));
        // Without it an unknown base image ends as a time-out at a registry nobody named.
        arguments.push("--skip-default-registry-fallback".to_owned());
    }
    arguments.extend(registry.mirrors.iter().map(|host| format!("--registry-mirror={host}")));
    if registry.ca_config_map.is_some() {
        let host = &destination.push_host;
        arguments.push(format!("--registry-certificate={host}={CA_DIR}/ca.crt"));
    }
    arguments
}

fn resources(build: &BuildConfig) -> ResourceRequirements {
    let quantities = |pairs: [(&str, &str); 3]| {
        Some(pairs.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into())
    };
    ResourceRequirements {
        limits: quantities([
            ("cpu", &build.cpu),
            ("memory", &build.memory),
            ("ephemeral-storage", &build.ephemeral_storage),
        ]),
        requests: quantities([("cpu", "100m"), ("memory", "128Mi"), ("ephemeral-storage", "64Mi")]),
        ..ResourceRequirements::default()
    }
}

/// Credentials and certificate authority of the registry, beneath Kaniko's own directory: what is
/// mounted elsewhere would hide files of base images.
fn volumes(registry: &RegistryConfig) -> Vec<(Volume, VolumeMount)> {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let credentials = registry.secret.as_ref().map(|secret| {
        let volume = Volume {
            name: "credentials".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.clone()),
                items: Some(vec![KeyToPath {
                    key: ".dockerconfigjson".to_owned(),
                    path: "config.json".to_owned(),
                    ..KeyToPath::default()
                }]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        };
        (volume, mount("credentials", "/kaniko/.docker"))
    });
    let authority = registry.ca_config_map.as_ref().map(|name| {
        let volume = Volume {
            name: "ca".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.clone(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        };
        (volume, mount("ca", CA_DIR))
    });
    credentials.into_iter().chain(authority).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::image::registry;

    fn made(settings: &[&str]) -> Job {
        let config = Config::of(settings);
        let step = "s1".parse().unwrap();
        let destination = registry::destination(&config.registry, &step).unwrap();
        let runner = Runner { name: "r".into(), ..Runner::default() };
        job(&runner, (&step, 0), "Dockerfile", &destination, &config.registry, &config.build)
    }

    fn pod(job: Job) -> PodSpec {
        job.spec.unwrap().template.spec.unwrap()
    }

    const IN_CLUSTER: [&str; 6] = [
        "--registry-host",
        "10.96.0.50",
        "--registry-port",
        "5000",
        "--registry-node-port",
        "30500",
    ];

    #[test]
    fn a_build_has_no_token_no_work_volume_and_is_not_privileged() {
        let pod = pod(made(&IN_CLUSTER));
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.volumes.as_deref(), Some(&[][..]));
        let context = pod.containers[0].security_context.clone().unwrap();
        assert_eq!(context.privileged, None);
        // Programs with a setuid bit work in docker's RUN.
        assert_eq!(context.allow_privilege_escalation, Some(true));
        assert_eq!(context.capabilities.unwrap().add.unwrap(), CAPABILITIES);
        let seccomp = pod.security_context.unwrap().seccomp_profile.unwrap();
        assert_eq!(seccomp.type_, "RuntimeDefault");
        let limits = pod.containers[0].resources.clone().unwrap().limits.unwrap();
        assert!(
            ["cpu", "memory", "ephemeral-storage"].iter().all(|name| limits.contains_key(*name))
        );
    }

    // gk#506, gk#1045
    #[test]
    fn what_a_dockerfile_writes_to_var_run_stays_in_the_image() {
        let arguments = pod(made(&IN_CLUSTER)).containers[0].args.clone().unwrap();
        assert!(arguments.contains(&"--ignore-var-run=false".to_owned()));
    }

    // gk#432
    #[test]
    fn kaniko_and_each_run_have_the_proxy_of_the_sidecar() {
        let registry = Config::of(&IN_CLUSTER).registry;
        let destination = registry::destination(&registry, &"s1".parse().unwrap()).unwrap();
        let sidecar = [("HTTPS_PROXY".to_owned(), "http://u:$(P)@proxy:3128".to_owned())];
        let mut job = made(&IN_CLUSTER);
        proxy::Proxy::from_environment(sidecar)
            .bypassed_for(&destination, &registry)
            .apply(&mut job);
        let container = &pod(job).containers[0];
        let variables = container.env.as_ref().unwrap();
        let value = |name: &str| {
            let found = variables.iter().find(|variable| variable.name == name);
            found.and_then(|variable| variable.value.as_deref())
        };
        for name in ["HTTPS_PROXY", "https_proxy"] {
            assert_eq!(value(name), Some("http://u:$$(P)@proxy:3128"));
        }
        assert_eq!(value("no_proxy"), Some("localhost,127.0.0.1,::1,10.96.0.50"));
        let arguments = container.args.as_ref().unwrap();
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            assert!(arguments.contains(&format!("--build-arg={name}")), "{name}");
        }
        assert!(!arguments.iter().any(|argument| argument.contains("3128")), "{arguments:?}");
    }

    #[test]
    fn a_registry_behind_a_node_port_is_pushed_to_by_plain_http() {
        let pod = pod(made(&IN_CLUSTER));
        let arguments = pod.containers[0].args.clone().unwrap();
        assert!(arguments.contains(&"--destination=10.96.0.50:5000/hookd/build:s1".to_owned()));
        assert!(arguments.contains(&"--insecure-registry=10.96.0.50:5000".to_owned()));
    }

    #[test]
    fn a_map_is_the_only_source_of_base_images() {
        let map = "index.docker.io=10.96.0.50:5000";
        let pod = pod(made(&[&IN_CLUSTER[..], &["--registry-map", map]].concat()));
        let arguments = pod.containers[0].args.clone().unwrap();
        assert!(arguments.contains(&format!("--registry-map={map}")));
        assert!(arguments.contains(&"--skip-default-registry-fallback".to_owned()));
    }

    #[test]
    fn the_credentials_of_a_remote_registry_push_and_pull() {
        let settings = ["--registry-host", "ghcr.io/org", "--registry-secret", "push"];
        let pod = pod(made(&settings));
        assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "push");
        assert_eq!(
            pod.containers[0].volume_mounts.as_ref().unwrap()[0].mount_path,
            "/kaniko/.docker"
        );
        let arguments = pod.containers[0].args.clone().unwrap();
        assert!(arguments.contains(&"--destination=ghcr.io/org/hookd/build:s1".to_owned()));
        assert!(!arguments.iter().any(|argument| argument.starts_with("--insecure")));
    }
}
