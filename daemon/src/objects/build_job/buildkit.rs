//! BuildKit: rootless in the build's own pod, as a user without rights over the node, in a user namespace that
//! it makes itself, with a seccomp profile that lets it; or the client of one elsewhere (`buildkitd.rs`).

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use serde_json::{Value, json};

use super::{Builder, RegistryAccess, Sharing, buildkitd, quoted, variable};
use crate::config::BuildConfig;
use crate::dockerfile::{BUILDER_DIR, CONTEXT_DIR};
use crate::endpoint::EndpointConfig;
use crate::objects::docker::args;

/// How the argument begins that says where the image goes.
pub(super) const DESTINATION: &str = "--output=";
/// Of an image's manifest: the tag that it is pushed under.
const TAG_ANNOTATION: &str = "hookd.dev/tag";
/// Where the context, the layers and the socket of a build are. BuildKit mounts layers below it, which a
/// container's own root does not always allow.
pub(super) const DIRECTORY: &str = "/hookd-build";
const VOLUME: &str = "build";
/// The user of the image, for whom it has subordinate ids.
const USER: i64 = 1000;
/// What newuidmap and newgidmap need to give BuildKit these ids. "baseline" admits both.
const CAPABILITIES: [&str; 2] = ["SETGID", "SETUID"];
/// Runs the script in a user namespace, and ends as it did.
const START: &str = r#"script=$1; shift
rootlesskit sh -c "$script" build "$@" && exit "$(cat "$HOOKD_BUILD/code")""#;
/// What rootlesskit runs.
const SCRIPT: &str = concat!(include_str!("buildkitd.sh"), include_str!("buildkit.sh"));
/// How a source policy names an image.
const IMAGE: &str = "docker-image://";

/// BuildKit for this build, or the client of the one that the settings name.
pub fn builder(endpoint: &EndpointConfig, build: &BuildConfig, sharing: Sharing) -> Builder {
    match &build.buildkit_address {
        Some(address) => buildkitd::builder(endpoint, build, address, sharing),
        None => in_pod(endpoint, build),
    }
}

fn in_pod(endpoint: &EndpointConfig, build: &BuildConfig) -> Builder {
    let command = ["sh", "-c", START, "build", SCRIPT].map(args::quote_dollars);
    let container = Container {
        image: Some(build.buildkit_image.clone()),
        command: Some(command.into()),
        args: quoted(&arguments(endpoint)),
        env: Some(vec![
            variable("HOOKD_BUILD", DIRECTORY),
            variable("HOOKD_SOURCE_POLICY", &args::quote_dollars(&source_policy(endpoint))),
        ]),
        security_context: Some(security_context(build)),
        volume_mounts: Some(vec![mount()]),
        ..Container::default()
    };
    Builder {
        container,
        volumes: vec![volume()],
        // It has no subordinate ids in a user namespace of the pod's.
        host_users: None,
        registries: RegistryAccess::Endpoint,
    }
}

/// The volume for the context.
pub(super) fn volume() -> Volume {
    let empty_dir = Some(EmptyDirVolumeSource::default());
    Volume { name: VOLUME.to_owned(), empty_dir, ..Volume::default() }
}

pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: DIRECTORY.to_owned(),
        ..VolumeMount::default()
    }
}

/// The argument by which it takes a build argument's value from its environment: the kubelet puts it in.
pub fn build_argument(name: &str) -> String {
    format!("--opt=build-arg:{name}=$({name})")
}

/// BuildKit makes one image, with one digest, wherever it builds the same: the annotation tells those of two
/// tags apart, since a registry that deletes one by its digest deletes both.
pub(super) fn output(destination: &str, tag: &str) -> String {
    format!(
        "{DESTINATION}type=image,push=true,name={destination},annotation.{TAG_ANNOTATION}={tag}"
    )
}

/// The frontend. With a command line of its own it takes no other in its place, whatever `# syntax=` names: none
/// is pulled.
pub(super) fn frontend() -> impl Iterator<Item = String> {
    ["--frontend=dockerfile.v0", "--opt=cmdline=docker/dockerfile", "--opt=filename=Dockerfile"]
        .map(str::to_owned)
        .into_iter()
}

fn arguments(endpoint: &EndpointConfig) -> Vec<String> {
    let contexts = [
        format!("--local=context={DIRECTORY}/archive/{CONTEXT_DIR}"),
        format!("--local=dockerfile={DIRECTORY}/archive/{BUILDER_DIR}"),
    ];
    let output = output(&endpoint.destination(), &endpoint.tag);
    frontend().chain(contexts).chain([output]).collect()
}

/// Which images it may pull, as it reads it: those of the registries that the Dockerfile names, and these
/// from the endpoint only.
fn source_policy(endpoint: &EndpointConfig) -> String {
    let served = endpoint.registries().into_iter();
    let rules = served
        .map(|(named, served)| convert(&format!("{named}/*"), &format!("{served}/${{1}}")))
        // The last one that matches decides.
        .chain([rule("DENY", "*"), rule("ALLOW", &format!("{}/*", endpoint.address))]);
    json!({ "rules": rules.collect::<Vec<_>>() }).to_string()
}

/// A rule by which another image is pulled than is named.
pub(super) fn convert(named: &str, pulled: &str) -> Value {
    json!({
        "action": "CONVERT",
        "selector": {"identifier": format!("{IMAGE}{named}")},
        "updates": {"identifier": format!("{IMAGE}{pulled}")},
    })
}

/// A rule by which an image may be pulled, or not.
pub(super) fn rule(action: &str, named: &str) -> Value {
    json!({"action": action, "selector": {"identifier": format!("{IMAGE}{named}")}})
}

fn security_context(build: &BuildConfig) -> SecurityContext {
    let profile = build.buildkit_seccomp_profile.clone();
    SecurityContext {
        // The runtime's own profile lets nobody make a user namespace.
        seccomp_profile: Some(SeccompProfile {
            type_: "Localhost".to_owned(),
            localhost_profile: Some(profile),
        }),
        // newuidmap gets its capability by its file.
        allow_privilege_escalation: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(CAPABILITIES.map(str::to_owned).into()),
        }),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        ..SecurityContext::default()
    }
}
