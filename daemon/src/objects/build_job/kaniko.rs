//! Kaniko, which builds onto its own root: as root, with docker's capabilities, without privileges.

use k8s_openapi::api::core::v1::{Capabilities, Container, SecurityContext};

use super::{Builder, RegistryAccess, quoted, variable};
use crate::config::{BuildConfig, Compression, SnapshotMode};
use crate::dockerfile::{CONTEXT_DIR, DOCKERFILE};
use crate::endpoint::EndpointConfig;

/// How the argument begins that says where the image goes.
pub(super) const DESTINATION: &str = "--destination=";
/// What saves memory, and changes nothing of the image.
pub(super) const NOT_IN_MEMORY: &str = "--compressed-caching=false";
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

/// Docker's default capabilities but for NET_RAW, which Pod Security "baseline" does not admit. Kaniko
/// needs some of them to unpack a base image onto its own root; a `RUN` may need each of them.
pub const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Root with the capabilities of the settings and no others. Setuid programs work, as in docker: a
/// `RUN` as another user may call `sudo` or `su`. "baseline" admits that.
pub fn security_context(build: &BuildConfig) -> SecurityContext {
    let capabilities = match &build.capabilities[..] {
        [] => CAPABILITIES.map(str::to_owned).into(),
        chosen => chosen.to_vec(),
    };
    SecurityContext {
        allow_privilege_escalation: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(capabilities),
        }),
        run_as_user: Some(0),
        ..SecurityContext::default()
    }
}

/// Kaniko for this build.
pub fn builder(endpoint: &EndpointConfig, build: &BuildConfig) -> Builder {
    let container = Container {
        image: Some(build.kaniko_image.clone()),
        args: quoted(&arguments(endpoint, build)),
        env: Some(AS_DOCKER.map(|name| variable(name, "true")).into()),
        security_context: Some(security_context(build)),
        ..Container::default()
    };
    Builder {
        container,
        volumes: Vec::new(),
        host_users: build.user_namespace.then_some(false),
        registries: RegistryAccess::Endpoint,
    }
}

/// The argument by which it takes a build argument's value from its environment.
pub fn build_argument(name: &str) -> String {
    format!("--build-arg={name}")
}

fn arguments(endpoint: &EndpointConfig, build: &BuildConfig) -> Vec<String> {
    let mut arguments = vec![
        "--context=tar://stdin".to_owned(),
        // The kubelet hands it over as the container's termination message.
        "--digest-file=/dev/termination-log".to_owned(),
        // After 1, 2, 4, 8 and 16 s: a registry that is restarted. One that cannot be pushed to is
        // found before the build, without these.
        "--push-retry=5".to_owned(),
    ];
    arguments.extend(arguments_of_all(endpoint));
    if build.layers.compression == Compression::Zstd {
        arguments.push("--compression=zstd".to_owned());
    }
    if !build.layers.compressed_caching {
        arguments.push(NOT_IN_MEMORY.to_owned());
    }
    let mode = match build.layers.snapshot_mode {
        SnapshotMode::Full => None,
        SnapshotMode::Redo => Some("redo"),
        SnapshotMode::Time => Some("time"),
    };
    arguments.extend(mode.map(|mode| format!("--snapshot-mode={mode}")));
    if let Some(repository) = endpoint.cache_repository() {
        let max_age = endpoint.cache.as_ref().map_or(0, |cache| cache.max_age);
        arguments.push("--cache=true".to_owned());
        arguments.push(format!("--cache-repo={repository}"));
        arguments.push(format!("--cache-ttl={max_age}s"));
    }
    arguments
}

/// Arguments for Kaniko, wherever it builds.
pub fn arguments_of_all(endpoint: &EndpointConfig) -> Vec<String> {
    let mut arguments = vec![
        format!("--context-sub-path={CONTEXT_DIR}"),
        format!("--dockerfile={DOCKERFILE}"),
        format!("{DESTINATION}{}", endpoint.destination()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn added(settings: &[&str]) -> Vec<String> {
        let config = Config::of(settings).without_empty();
        let context = security_context(&config.build);
        assert_eq!(context.capabilities.as_ref().unwrap().drop.as_ref().unwrap(), &["ALL"]);
        context.capabilities.unwrap().add.unwrap()
    }

    // shipwright-io/build#654, gk#778
    #[test]
    fn a_build_has_dockers_capabilities_within_baseline() {
        // Kubernetes, Pod Security Standards, "baseline": the capabilities that may be added.
        let baseline = [
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ];
        assert_eq!(added(&[]), baseline);
        assert_eq!(added(&["--build-capabilities", ""]), baseline);
    }

    #[test]
    fn the_administrator_may_choose_other_capabilities() {
        assert_eq!(
            added(&["--build-capabilities", "CAP_CHOWN, setuid,NET_RAW"]),
            ["CHOWN", "SETUID", "NET_RAW"]
        );
    }
}
