use super::*;
use crate::config::{BuilderKind, Config};
use crate::dockerfile;
use crate::endpoint::{LayerCache, Place};
use crate::registry::destination;

fn made(settings: &[&str]) -> Job {
    let runner =
        Runner { name: "r".into(), hookd_image: "hookd@sha256:0".into(), ..Runner::default() };
    made_by(&runner, settings).unwrap()
}

fn made_by(runner: &Runner, settings: &[&str]) -> Result<Job, Failure> {
    let config = Config::of(settings);
    let step = "s1".parse().unwrap();
    let destination = destination::of_tag(&config.registry, "s1").unwrap();
    let images = dockerfile::images(b"FROM busybox:1\n").unwrap();
    let endpoint = EndpointConfig::new(&config.registry, &destination, &images);
    let attempt = Attempt { step: &step, number: 0 };
    let builder = match config.build.builder {
        BuilderKind::Kaniko => kaniko::builder(&endpoint, &config.build),
        BuilderKind::BuildKit => {
            let sharing = Sharing { is_trusted: false, no_cache: true };
            buildkit::builder(&endpoint, &config.build, sharing)
        }
    };
    job(runner, attempt, builder, &endpoint, &config.registry, &config.build)
}

fn pod(job: Job) -> PodSpec {
    job.spec.unwrap().template.spec.unwrap()
}

const IN_CLUSTER: [&str; 6] =
    ["--registry-host", "10.96.0.50", "--registry-port", "5000", "--registry-node-port", "30500"];

#[test]
fn a_build_has_no_token_no_work_volume_and_is_not_privileged() {
    let pod = pod(made(&IN_CLUSTER));
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.volumes.as_deref(), Some(&[][..]));
    let context = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(context.privileged, None);
    // Programs with a setuid bit work in docker's RUN.
    assert_eq!(context.allow_privilege_escalation, Some(true));
    assert_eq!(context.capabilities.unwrap().add.unwrap(), kaniko::CAPABILITIES);
    let seccomp = pod.security_context.unwrap().seccomp_profile.unwrap();
    assert_eq!(seccomp.type_, "RuntimeDefault");
    let limits = pod.containers[0].resources.clone().unwrap().limits.unwrap();
    assert!(["cpu", "memory", "ephemeral-storage"].iter().all(|name| limits.contains_key(*name)));
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
    let destination = destination::of_tag(&registry, "s1").unwrap();
    let sidecar = [("HTTPS_PROXY".to_owned(), "http://u:$(P)@proxy:3128".to_owned())];
    let mut job = made(&IN_CLUSTER);
    proxy::Proxy::from_environment(sidecar)
        .bypassed_for(Some(&destination), &registry)
        .apply_to_build(&mut job, kaniko::build_argument);
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

const BUILDKIT: [&str; 2] = ["--builder", "buildkit"];

#[test]
fn the_job_of_buildkit_is_the_recorded_one() {
    insta::assert_yaml_snapshot!("buildkit", made(&[&WITH_CREDENTIALS[..], &BUILDKIT].concat()));
}

#[test]
fn buildkit_has_no_rights_but_those_of_newuidmap() {
    let pod = pod(made(&[&WITH_CREDENTIALS[..], &BUILDKIT].concat()));
    let container = &pod.containers[0];
    let context = container.security_context.as_ref().unwrap();
    assert_eq!((context.privileged, context.run_as_non_root), (None, Some(true)));
    let capabilities = context.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert_eq!(capabilities.add.as_deref(), Some(&["SETGID", "SETUID"].map(str::to_owned)[..]));
    let seccomp = context.seccomp_profile.as_ref().unwrap();
    assert_eq!(seccomp.localhost_profile.as_deref(), Some("hookd/buildkit.json"));
    let other = [&BUILDKIT[..], &["--buildkit-seccomp-profile", "own/profile.json"]].concat();
    let other = self::pod(made(&[&IN_CLUSTER[..], &other].concat()));
    let context = other.containers[0].security_context.as_ref().unwrap();
    let seccomp = context.seccomp_profile.as_ref().unwrap();
    assert_eq!(seccomp.localhost_profile.as_deref(), Some("own/profile.json"));
    let mounted: Vec<_> =
        container.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()).collect();
    assert_eq!(mounted, ["build"]);
    assert_eq!(container.env_from, None);
}

#[test]
fn buildkit_pulls_from_the_endpoint_and_nowhere_else() {
    let pod = pod(made(&[&IN_CLUSTER[..], &BUILDKIT].concat()));
    let variables = pod.containers[0].env.as_ref().unwrap();
    let policy = variables.iter().find(|one| one.name == "HOOKD_SOURCE_POLICY").unwrap();
    let policy = policy.value.as_deref().unwrap().replace("$$", "$");
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let convert = serde_json::json!({
        "action": "CONVERT",
        "selector": {"identifier": "docker-image://docker.io/*"},
        "updates": {"identifier": "docker-image://127.0.0.1:5077/pull/index.docker.io/${1}"},
    });
    assert_eq!(policy["rules"][0], convert);
    let rest: Vec<_> = policy["rules"].as_array().unwrap()[1..]
        .iter()
        .map(|rule| (rule["action"].clone(), rule["selector"]["identifier"].clone()))
        .collect();
    let expected = [
        ("DENY".into(), "docker-image://*".into()),
        ("ALLOW".into(), "docker-image://127.0.0.1:5077/*".into()),
    ];
    assert_eq!(rest, expected);
}

#[test]
fn buildkit_takes_the_proxy_from_its_environment() {
    let sidecar = [("HTTPS_PROXY".to_owned(), "http://u:$(P)@proxy:3128".to_owned())];
    let mut job = made(&[&IN_CLUSTER[..], &BUILDKIT].concat());
    proxy::Proxy::from_environment(sidecar).apply_to_build(&mut job, buildkit::build_argument);
    let arguments = pod(job).containers[0].args.clone().unwrap();
    let expected = "--opt=build-arg:HTTPS_PROXY=$(HTTPS_PROXY)".to_owned();
    assert!(arguments.contains(&expected), "{arguments:?}");
    assert!(!arguments.iter().any(|argument| argument.contains("3128")));
}

const BUILDKITD: [&str; 6] = [
    "--builder",
    "buildkit",
    "--buildkit-address",
    "tcp://buildkitd.buildkit:1234",
    "--buildkit-tls-secret",
    "buildkit-client",
];

#[test]
fn the_job_of_a_client_of_buildkitd_is_the_recorded_one() {
    insta::assert_yaml_snapshot!("buildkitd", made(&[&WITH_CREDENTIALS[..], &BUILDKITD].concat()));
}

#[test]
fn a_client_of_buildkitd_may_read_and_no_more() {
    let pod = pod(made(&[&WITH_CREDENTIALS[..], &BUILDKITD].concat()));
    let context = pod.containers[0].security_context.as_ref().unwrap();
    assert_eq!(context.allow_privilege_escalation, Some(false));
    assert_eq!((context.privileged, &context.seccomp_profile), (None, &None));
    let capabilities = context.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert_eq!(capabilities.add.as_deref(), Some(&["DAC_OVERRIDE".to_owned()][..]));
}

// What a `FROM` names is a job's, and the Secret has the credentials of all registries.
#[test]
fn a_client_of_buildkitd_mounts_no_secret_of_registries() {
    let pod = pod(made(&[&WITH_CREDENTIALS[..], &BUILDKITD].concat()));
    let mounts = |container: &Container| -> Vec<String> {
        container.volume_mounts.iter().flatten().map(|mount| mount.name.clone()).collect()
    };
    assert_eq!(mounts(&pod.containers[0]), ["build", "docker-config", "buildkitd-tls"]);
    let writer = &pod.init_containers.unwrap()[0];
    assert_eq!(writer.name, names::REGISTRY_CREDENTIALS);
    // It ends before the client starts.
    assert_eq!(writer.restart_policy, None);
    assert_eq!(mounts(writer), ["credentials", "docker-config"]);
}

#[test]
fn a_buildkitd_is_not_spoken_to_without_a_certificate() {
    let runner =
        Runner { name: "r".into(), hookd_image: "hookd@sha256:0".into(), ..Runner::default() };
    let settings = [&IN_CLUSTER[..], &BUILDKITD[..4]].concat();
    let failure = made_by(&runner, &settings).unwrap_err();
    assert!(failure.remedy.contains("HOOKD_BUILDKIT_TLS_SECRET"), "{}", failure.remedy);
}

#[test]
fn layers_are_cached_and_made_as_the_settings_say() {
    let settings = [
        &IN_CLUSTER[..],
        &["--build-compression", "zstd", "--build-snapshot-mode", "redo"],
        &["--build-compressed-caching", "false"],
    ];
    let config = Config::of(&settings.concat());
    let destination = destination::of_tag(&config.registry, "s1").unwrap();
    let place = Place { registry: "10.96.0.50:5000".into(), repository: "hookd/cache".into() };
    let cache = Some(LayerCache { place, scope: "secret".into(), max_age: 60 });
    let endpoint = EndpointConfig::new(&config.registry, &destination, &[]);
    let endpoint = EndpointConfig { cache, ..endpoint };
    let arguments = kaniko::builder(&endpoint, &config.build).container.args.unwrap();
    for argument in [
        "--cache=true",
        "--cache-repo=127.0.0.1:5077/cache/hookd/cache",
        "--cache-ttl=60s",
        "--compression=zstd",
        "--snapshot-mode=redo",
        kaniko::NOT_IN_MEMORY,
    ] {
        assert!(arguments.contains(&argument.to_owned()), "{argument} in {arguments:?}");
    }
    assert!(!arguments.iter().any(|argument| argument.contains("secret")));
}
