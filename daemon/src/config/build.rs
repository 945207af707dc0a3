//! The settings of builds.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use http::Uri;

use super::cache::{CacheConfig, LayerConfig};
use super::quantity;
use super::values::{bytes, quantity, seconds, switch};

/// The builder.
#[derive(Args, Clone, Debug)]
pub struct BuildConfig {
    /// What builds images in pods of their own: `kaniko`, or `buildkit`, which needs a seccomp profile on
    /// the nodes (docs/building.md).
    #[arg(
        long = "builder",
        env = "HOOKD_BUILDER",
        value_enum,
        default_value = "kaniko",
        ignore_case = true
    )]
    pub builder: BuilderKind,

    /// Image of rootless BuildKit.
    #[arg(
        long = "buildkit-image",
        env = "HOOKD_BUILDKIT_IMAGE",
        default_value = "moby/buildkit:v0.34.2-rootless"
    )]
    pub buildkit_image: String,

    /// Seccomp profile of BuildKit: a file below the kubelet's seccomp directory on each node.
    #[arg(
        long = "buildkit-seccomp-profile",
        env = "HOOKD_BUILDKIT_SECCOMP_PROFILE",
        default_value = "hookd/buildkit.json"
    )]
    pub buildkit_seccomp_profile: String,

    /// The buildkitd that builds with `buildkit`, `tcp://<host>:<port>`. Default: each build has one of its own,
    /// in its pod.
    #[arg(
        long = "buildkit-address",
        env = "HOOKD_BUILDKIT_ADDRESS",
        value_parser = buildkitd
    )]
    pub buildkit_address: Option<String>,

    /// Secret with hookd's certificate for that buildkitd (`tls.crt`, `tls.key`) and the authority of the
    /// buildkitd's own (`ca.crt`), as cert-manager makes them. Required with the address.
    #[arg(long = "buildkit-tls-secret", env = "HOOKD_BUILDKIT_TLS_SECRET")]
    pub buildkit_tls_secret: Option<String>,

    /// Image of the Kaniko executor.
    #[arg(
        long = "kaniko-image",
        env = "HOOKD_KANIKO_IMAGE",
        default_value = "ghcr.io/osscontainertools/kaniko:v1.28.3"
    )]
    pub kaniko_image: String,

    /// CPU limit of a build, a Kubernetes quantity.
    #[arg(
        long = "build-cpu", env = "HOOKD_BUILD_CPU", default_value = "2",
        value_parser = quantity
    )]
    pub cpu: String,

    /// Memory limit of a build, a Kubernetes quantity.
    #[arg(
        long = "build-memory", env = "HOOKD_BUILD_MEMORY", default_value = "4Gi",
        value_parser = quantity
    )]
    pub memory: String,

    /// Memory limit of the second and last attempt at a build that was killed for its memory, a Kubernetes
    /// quantity; 0: there is none. Default: twice that of the first.
    #[arg(long = "build-memory-retry", env = "HOOKD_BUILD_MEMORY_RETRY", value_parser = or_nothing)]
    pub memory_retry: Option<String>,

    /// Ephemeral storage limit of a build, a Kubernetes quantity.
    #[arg(
        long = "build-ephemeral-storage",
        env = "HOOKD_BUILD_EPHEMERAL_STORAGE",
        default_value = "20Gi",
        value_parser = quantity
    )]
    pub ephemeral_storage: String,

    /// Seconds that a build may take, from the creation of its Job.
    #[arg(
        long = "build-timeout", env = "HOOKD_BUILD_TIMEOUT_SECONDS", default_value = "3600",
        value_parser = seconds
    )]
    pub timeout: Duration,

    /// Runs builds in a user namespace (Kubernetes 1.33, containerd 2.0, runc 1.2 and later).
    #[arg(
        long = "build-user-namespace", env = "HOOKD_BUILD_USER_NAMESPACE",
        value_parser = BoolishValueParser::new()
    )]
    pub user_namespace: bool,

    /// Capabilities of a build, comma-separated, in place of docker's default ones within Pod Security
    /// baseline.
    #[arg(
        long = "build-capabilities", env = "HOOKD_BUILD_CAPABILITIES", value_delimiter = ',',
        value_parser = capability
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

    /// Whether an image that was built before of the same things is used again: `check` looks for it, and
    /// whether its base images are still the same; `trust` believes for a time that they are; `never`
    /// builds in each job.
    #[arg(
        long = "build-reuse",
        env = "HOOKD_BUILD_REUSE",
        value_enum,
        default_value = "check",
        ignore_case = true
    )]
    pub reuse: BuildReuse,

    /// Seconds for which an answer about a base image is believed, with `trust`.
    #[arg(
        long = "build-trust-bases", env = "HOOKD_BUILD_TRUST_BASES_SECONDS", default_value = "300",
        value_parser = seconds
    )]
    pub trust_bases: Duration,

    /// Builds the Dockerfile actions of a job while its containers start, where the images are kept and
    /// used again.
    #[arg(
        long = "prebuild", env = "HOOKD_PREBUILD", default_value = "true",
        action = ArgAction::Set, value_parser = switch
    )]
    pub prebuild: bool,

    /// Dockerfiles that are built ahead for a job, at most.
    #[arg(long = "prebuild-limit", env = "HOOKD_PREBUILD_LIMIT", default_value = "8")]
    pub prebuild_limit: usize,

    /// Of these, builds at the same time.
    #[arg(long = "prebuild-at-once", env = "HOOKD_PREBUILD_AT_ONCE", default_value = "2")]
    pub prebuild_at_once: usize,

    /// Names that images of BuildImage may be pushed under beside the registry of built images,
    /// comma-separated: `host/path:tag`, with `*` in path and tag, and `**` as the path's last part.
    #[arg(
        long = "build-destinations", env = "HOOKD_BUILD_DESTINATIONS", value_delimiter = ',',
        value_parser = destination
    )]
    pub destinations: Vec<String>,

    /// Fails a build whose image would differ from docker's, in place of a warning.
    #[arg(
        long = "build-strict", env = "HOOKD_BUILD_STRICT", value_parser = BoolishValueParser::new()
    )]
    pub strict: bool,

    /// Bytes that a build context may have.
    #[arg(
        long = "build-context-limit",
        env = "HOOKD_BUILD_CONTEXT_LIMIT_BYTES",
        default_value = "2147483648",
        value_parser = bytes
    )]
    pub context_limit: u64,

    /// Seconds that reading and sending a build context may take.
    #[arg(
        long = "build-context-timeout", env = "HOOKD_BUILD_CONTEXT_TIMEOUT_SECONDS",
        default_value = "900", value_parser = seconds
    )]
    pub context_timeout: Duration,

    /// Where layers are cached.
    #[command(flatten)]
    pub cache: CacheConfig,

    /// How they are made.
    #[command(flatten)]
    pub layers: LayerConfig,
}

impl BuildConfig {
    /// The memory limit of a build after one that was killed for its memory; none: there is no other.
    pub fn more_memory(&self) -> Option<String> {
        let first = quantity::quantity(&self.memory)?;
        let more = match self.memory_retry.as_deref().map(str::trim).filter(|text| !text.is_empty())
        {
            Some(more) => more.to_owned(),
            None => doubled(first),
        };
        (quantity::quantity(&more)? > first).then_some(more)
    }
}

/// See [`BuildConfig::builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuilderKind {
    /// Builds onto its own root.
    Kaniko,
    /// Rootless BuildKit in the build's own pod.
    #[value(name = "buildkit")]
    BuildKit,
}

/// See [`BuildConfig::reuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildReuse {
    /// Registries are asked what the base images are before each build.
    Check,
    /// They are not asked again for a time, by any runner, as long as the image is there.
    Trust,
    /// Each job builds its images.
    Never,
}

/// See [`BuildConfig::proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxySource {
    /// HTTP_PROXY, HTTPS_PROXY, NO_PROXY and their kind of hookd's own environment.
    Sidecar,
    /// A build has no proxy.
    None,
}

/// Twice as many bytes, in the largest unit that has a whole number of them.
fn doubled(bytes: f64) -> String {
    let units = [("Gi", f64::from(1 << 30)), ("Mi", f64::from(1 << 20)), ("", 1.0)];
    let amount = |unit: f64| 2.0 * bytes / unit;
    let (name, unit) =
        units.into_iter().find(|(_, unit)| amount(*unit).fract() == 0.0).unwrap_or(("", 1.0));
    format!("{:.0}{name}", amount(unit))
}

/// A Kubernetes quantity, or nothing.
fn or_nothing(text: &str) -> Result<String, String> {
    match text.trim() {
        none @ ("" | "0") => Ok(none.to_owned()),
        text => quantity(text),
    }
}

/// The address of a buildkitd, or nothing.
fn buildkitd(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_valid = || {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let has_port = authority.port_u16().is_some_and(|port| port > 0);
        let is_bare = uri.path().is_empty() || uri.path() == "/";
        let is_plain = !authority.as_str().contains('@') && uri.query().is_none();
        (uri.scheme_str() == Some("tcp") && has_port && is_bare && is_plain).then_some(())
    };
    match text.is_empty() || is_valid().is_some() {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("not an address such as tcp://buildkitd.buildkit:1234".to_owned()),
    }
}

/// A pattern of names for images, or nothing. Its host stands for itself.
fn destination(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, rest) = text.split_once('/').unwrap_or((text, ""));
    let (path, tag) = rest.split_once(':').unwrap_or((rest, "*"));
    let plain = |text: &str, more: &str| {
        let known = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
        !text.is_empty() && text.chars().all(known)
    };
    let is_pattern = plain(host, ".:-[]")
        && path.split('/').all(|part| plain(part, "._-*"))
        && plain(tag, "._-*");
    match is_pattern || text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("not a pattern such as registry.example/team/*".to_owned()),
    }
}

/// The name of a capability, as Kubernetes writes it, or nothing.
pub(super) fn capability(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = |letter: u8| letter.is_ascii_uppercase() || letter == b'_';
    match name.bytes().all(known) {
        true => Ok(name.to_owned()),
        false => Err("not the name of a capability, such as NET_RAW".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_was_killed_gets_more_memory_or_none() {
        let more = |settings: &[&str]| crate::config::Config::of(settings).build.more_memory();
        assert_eq!(more(&[]).as_deref(), Some("8Gi"));
        assert_eq!(more(&["--build-memory-retry", "6Gi"]).as_deref(), Some("6Gi"));
        assert_eq!(doubled(1.5e9), "3000000000");
        for none in ["0", "4Gi", "512Mi"] {
            assert_eq!(more(&["--build-memory-retry", none]), None, "{none}");
        }
    }

    #[test]
    fn a_destination_names_its_host() {
        for good in ["", "r.example/team/*", "r.example:5000/**", "docker.io/a/b:pr-*", " h/a "] {
            assert!(destination(good).is_ok(), "{good}");
        }
        for wrong in ["r.example", "*/a", "r.*/a", "r/", "r/a:", "r/a b", "r/a@sha256:0", "/a"] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_capability_is_named_with_or_without_its_prefix() {
        for name in ["NET_RAW", "CAP_NET_RAW", " cap_net_raw "] {
            assert_eq!(capability(name).as_deref(), Ok("NET_RAW"));
        }
        assert!(capability("NET-RAW").is_err() && capability("$(X)").is_err());
    }
}
