//! The Job that builds an image with Kaniko, without privileges.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSecurityContext, PodSpec, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::{BuildConfig, RegistryConfig};
use crate::dockerfile::{CONTEXT_DIR, DOCKERFILE};
use crate::endpoint::EndpointConfig;
use crate::error::Failure;
use crate::ids::StepId;
use crate::names;
use crate::objects::docker::args;
use crate::objects::metadata::{self, Component};
use crate::objects::registry_endpoint;
use crate::objects::step_job;
use crate::runner::Runner;

pub mod proxy;
mod rights;

pub use rights::{CAPABILITIES, security_context};

/// Where the fork, and only the fork, behaves as docker if asked to. The original reads no variable of
/// such a name.
pub const AS_DOCKER: [&str; 6] = [
    "FF_KANIKO_CHOWN_ON_IMPLICIT_DIRS",
    "FF_KANIKO_COPY_AS_ROOT",
    "FF_KANIKO_COPY_CHMOD_ON_IMPLICIT_DIRS",
    "FF_KANIKO_EXPAND_HEREDOC",
    "FF_KANIKO_RUN_HONOR_GROUP",
    "FF_KANIKO_UNTAR_SKIP_ROOT",
];

/// One attempt at a build: each has a Job of its own.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The step whose image is built.
    pub step: &'a StepId,
    /// Attempts before this one.
    pub number: u32,
}

/// The Job of an attempt. It waits for its context on standard input.
///
/// # Errors
/// See [`registry_endpoint::endpoint`].
pub fn job(
    runner: &Runner,
    attempt: Attempt<'_>,
    endpoint: &EndpointConfig,
    registry: &RegistryConfig,
    build: &BuildConfig,
) -> Result<Job, Failure> {
    let arguments = arguments(endpoint);
    let endpoint = registry_endpoint::endpoint(runner, endpoint, registry)?;
    let container = Container {
        name: names::BUILD_CONTAINER.to_owned(),
        image: Some(build.kaniko_image.clone()),
        args: Some(arguments.iter().map(|argument| args::quote_dollars(argument)).collect()),
        env: Some(AS_DOCKER.map(switched_on).into()),
        stdin: Some(true),
        stdin_once: Some(true),
        resources: Some(resources(build)),
        security_context: Some(security_context(build)),
        ..Container::default()
    };
    let pod = PodSpec {
        init_containers: Some(vec![endpoint.container]),
        containers: vec![container],
        volumes: Some(endpoint.volumes),
        image_pull_secrets: step_job::pull_secrets(runner, registry.secret.as_deref()),
        host_users: build.user_namespace.then_some(false),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(step_job::runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..step_job::base_pod()
    };
    let name = names::build(&runner.name, attempt.step, attempt.number);
    let metadata = metadata::of_step(runner, attempt.step, &name, Component::Build);
    Ok(step_job::one_pod_job(metadata, pod, build.timeout))
}

fn switched_on(name: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some("true".to_owned()), ..EnvVar::default() }
}

fn arguments(endpoint: &EndpointConfig) -> Vec<String> {
    let mut arguments = vec![
        "--context=tar://stdin".to_owned(),
        // The kubelet hands it over as the container's termination message.
        "--digest-file=/dev/termination-log".to_owned(),
        // After 1, 2, 4, 8 and 16 s: a registry that is restarted. One that cannot be pushed to is
        // found before the build, without these.
        "--push-retry=5".to_owned(),
    ];
    arguments.extend(arguments_of_all(endpoint));
    arguments
}

/// Arguments for Kaniko, wherever it builds.
pub fn arguments_of_all(endpoint: &EndpointConfig) -> Vec<String> {
    let mut arguments = vec![
        format!("--context-sub-path={CONTEXT_DIR}"),
        format!("--dockerfile={DOCKERFILE}"),
        format!("--destination={}", endpoint.destination()),
        // Kaniko leaves it out of images by default: nothing is mounted there.
        "--ignore-var-run=false".to_owned(),
        format!("--insecure-registry={}", endpoint.address),
        // What the endpoint refuses is not asked for elsewhere.
        "--skip-default-registry-fallback".to_owned(),
    ];
    let map = endpoint.registry_map();
    arguments.extend(map.iter().map(|entry| format!("--registry-map={entry}")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dockerfile;
    use crate::registry::destination;

    fn made(settings: &[&str]) -> Job {
        let runner =
            Runner { name: "r".into(), hookd_image: "hookd@sha256:0".into(), ..Runner::default() };
        made_by(&runner, settings).unwrap()
    }

    fn made_by(runner: &Runner, settings: &[&str]) -> Result<Job, Failure> {
        let config = Config::of(settings);
        let step = "s1".parse().unwrap();
        let destination = destination::of_step(&config.registry, &step).unwrap();
        let images = dockerfile::images(b"FROM busybox:1\n").unwrap();
        let endpoint = EndpointConfig::new(&config.registry, &destination, &images);
        let attempt = Attempt { step: &step, number: 0 };
        job(runner, attempt, &endpoint, &config.registry, &config.build)
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
        let destination = destination::of_step(&registry, &"s1".parse().unwrap()).unwrap();
        let sidecar = [("HTTPS_PROXY".to_owned(), "http://u:$(P)@proxy:3128".to_owned())];
        let mut job = made(&IN_CLUSTER);
        proxy::Proxy::from_environment(sidecar)
            .bypassed_for(Some(&destination), &registry)
            .apply_to_build(&mut job);
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
    fn kaniko_knows_no_registry_but_the_endpoint() {
        let settings = ["--registry-map", "index.docker.io=10.96.0.50:5000"];
        let pod = pod(made(&[&IN_CLUSTER[..], &settings].concat()));
        let arguments = pod.containers[0].args.clone().unwrap();
        for argument in [
            "--destination=127.0.0.1:5077/push/hookd/build:s1",
            "--insecure-registry=127.0.0.1:5077",
            "--registry-map=index.docker.io=127.0.0.1:5077/pull/index.docker.io",
            "--skip-default-registry-fallback",
        ] {
            assert!(arguments.contains(&argument.to_owned()), "{argument} in {arguments:?}");
        }
        assert!(!arguments.iter().any(|argument| argument.contains("10.96.0.50")));
    }

    const WITH_CREDENTIALS: [&str; 10] = [
        "--registry-host",
        "ghcr.io/org",
        "--registry-secret",
        "push",
        "--registry-ca",
        "authority",
        "--registry-tls",
        "r.example:5000=bases,ghcr.io=bases",
        "--kaniko-image",
        "kaniko:1",
    ];

    #[test]
    fn the_job_of_a_build_is_the_recorded_one() {
        insta::assert_yaml_snapshot!("with_credentials", made(&WITH_CREDENTIALS));
    }

    #[test]
    fn only_the_endpoint_has_the_credentials() {
        let pod = pod(made(&WITH_CREDENTIALS));
        assert_eq!(pod.containers[0].volume_mounts, None);
        assert_eq!(pod.containers[0].env_from, None);
        assert_eq!(pod.share_process_namespace, None);
        let endpoint = &pod.init_containers.unwrap()[0];
        let mounts = endpoint.volume_mounts.as_ref().unwrap();
        let paths: Vec<_> = mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(paths, ["/run/hookd/credentials", "/run/hookd/ca", "/run/hookd/tls/bases"]);
        assert!(mounts.iter().all(|mount| mount.read_only == Some(true)));
        let context = endpoint.security_context.as_ref().unwrap();
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.allow_privilege_escalation, Some(false));
    }

    #[test]
    fn a_hookd_of_unknown_image_mounts_the_credentials_nowhere() {
        let settings = ["--registry-host", "ghcr.io/org", "--registry-secret", "push"];
        let failure = made_by(&Runner { name: "r".into(), ..Runner::default() }, &settings);
        let failure = failure.unwrap_err();
        assert!(failure.message.contains("image of hookd"), "{failure}");
        assert!(failure.remedy.contains("HOOKD_SOCKET_DIR"), "{}", failure.remedy);
    }
}
