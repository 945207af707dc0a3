//! The client of a buildkitd that others run: it sends the context, and may do no more than read it.
//!
//! Such a buildkitd keeps contexts, layers and caches for the builds of others. A context and a cache are of
//! one build here, and layers of one kind of event: see docs/decisions/0010-buildkit-as-second-builder.md.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use super::buildkit::{self, DIRECTORY};
use super::{Builder, RegistryAccess, Sharing, quoted, variable};
use crate::config::BuildConfig;
use crate::endpoint::{DOCKER_DIR, EndpointConfig};
use crate::objects::docker::args;
use crate::objects::registry_endpoint::DOCKER_VOLUME;

/// What the container runs.
const SCRIPT: &str = concat!(include_str!("remote-buildkitd.sh"), include_str!("buildkit.sh"));
/// Where the certificates are mounted.
const TLS_DIR: &str = "/run/hookd/buildkitd";
const TLS_VOLUME: &str = "buildkitd-tls";
/// The name of the machine in a `RUN`: a layer is used again by builds with the same one only.
const HOSTNAME: [(bool, &str); 2] =
    [(true, "buildkitsandbox"), (false, "buildkitsandbox-untrusted")];

/// The client of the buildkitd at `address`.
pub(super) fn builder(
    endpoint: &EndpointConfig,
    build: &BuildConfig,
    address: &str,
    sharing: Sharing,
) -> Builder {
    let command = ["sh", "-c", SCRIPT, "build"].map(args::quote_dollars);
    let container = Container {
        image: Some(build.buildkit_image.clone()),
        command: Some(command.into()),
        args: quoted(&arguments(endpoint, sharing)),
        env: Some(vec![
            // Tokens are fetched by who asks the registries, and trusts their authorities.
            variable("BUILDKIT_NO_CLIENT_TOKEN", "1"),
            variable("DOCKER_CONFIG", DOCKER_DIR),
            variable("HOOKD_BUILD", DIRECTORY),
            variable("HOOKD_BUILDKITD", &args::quote_dollars(address)),
            variable("HOOKD_BUILDKITD_TLS", TLS_DIR),
            variable("HOOKD_SOURCE_POLICY", &args::quote_dollars(&source_policy(endpoint))),
        ]),
        security_context: Some(security_context()),
        volume_mounts: Some(vec![
            buildkit::mount(),
            read_only(DOCKER_VOLUME, DOCKER_DIR),
            read_only(TLS_VOLUME, TLS_DIR),
        ]),
        ..Container::default()
    };
    let volumes = vec![buildkit::volume(), docker_volume(), tls_volume(build)];
    Builder { container, volumes, host_users: None, registries: RegistryAccess::Direct }
}

/// The script adds what tells this build from all others.
fn arguments(endpoint: &EndpointConfig, sharing: Sharing) -> Vec<String> {
    let destination = endpoint.direct_destination().unwrap_or_default();
    let mut output = buildkit::output(&destination, &endpoint.tag) + ",store=false";
    if endpoint.pushes_insecurely() {
        output += ",registry.insecure=true";
    }
    let (_, name) = HOSTNAME[usize::from(!sharing.is_trusted)];
    let hostname = format!("--opt=hostname={name}");
    let no_cache = sharing.no_cache.then(|| "--no-cache".to_owned());
    buildkit::frontend().chain([hostname, output]).chain(no_cache).collect()
}

/// Which images it may pull: those that the Dockerfile names, by the digests that their names stand for.
fn source_policy(endpoint: &EndpointConfig) -> String {
    let images = endpoint.direct_images();
    let conversions = images.iter().map(|one| buildkit::convert(&one.named, &one.source));
    // BuildKit adds the digest to a name that has none, and asks again.
    let resolved = images.iter().filter(|one| !one.source.contains('@'));
    let resolved = resolved.map(|one| format!("{}@*", one.source));
    let allowed = images.iter().map(|one| one.source.clone()).chain(resolved);
    let allowed = allowed.map(|name| buildkit::rule("ALLOW", &name));
    // The last one that matches decides.
    let rules = conversions.chain([buildkit::rule("DENY", "*")]).chain(allowed);
    json!({ "rules": rules.collect::<Vec<_>>() }).to_string()
}

fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// A context may have files that their owner may not read, and directories that it may not write to.
fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(vec!["DAC_OVERRIDE".to_owned()]),
        }),
        run_as_user: Some(0),
        run_as_group: Some(0),
        ..SecurityContext::default()
    }
}

/// In memory: it holds credentials.
fn docker_volume() -> Volume {
    Volume {
        name: DOCKER_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity("1Mi".to_owned())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn tls_volume(build: &BuildConfig) -> Volume {
    Volume {
        name: TLS_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: build.buildkit_tls_secret.clone(),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}
