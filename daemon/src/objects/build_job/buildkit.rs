//! Rootless BuildKit in the build's own pod: as a user without rights over the node, in a user namespace
//! that it makes itself, with a seccomp profile that lets it.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, SeccompProfile, SecurityContext, Volume,
    VolumeMount,
};
use serde_json::json;

use super::{Builder, quoted, variable};
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
const DIRECTORY: &str = "/hookd-build";
const VOLUME: &str = "build";
/// The user of the image, for whom it has subordinate ids.
const USER: i64 = 1000;
/// What newuidmap and newgidmap need to give BuildKit these ids. "baseline" admits both.
const CAPABILITIES: [&str; 2] = ["SETGID", "SETUID"];
/// Runs the script in a user namespace, and ends as it did.
const START: &str = r#"script=$1; shift
rootlesskit sh -c "$script" build "$@" && exit "$(cat "$HOOKD_BUILD/code")""#;
/// What rootlesskit runs.
const SCRIPT: &str = include_str!("buildkit.sh");

/// BuildKit for this build.
pub fn builder(endpoint: &EndpointConfig, build: &BuildConfig) -> Builder {
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
        volume_mounts: Some(vec![VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: DIRECTORY.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    };
    let volume = Volume {
        name: VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    // It has no subordinate ids in a user namespace of the pod's.
    Builder { container, volumes: vec![volume], host_users: None }
}

/// The argument by which it takes a build argument's value from its environment: the kubelet puts it in.
pub fn build_argument(name: &str) -> String {
    format!("--opt=build-arg:{name}=$({name})")
}

/// BuildKit makes one image, with one digest, wherever it builds the same: the annotation tells those of two
/// tags apart, since a registry that deletes one by its digest deletes both.
fn output(endpoint: &EndpointConfig) -> String {
    let (destination, tag) = (endpoint.destination(), &endpoint.tag);
    format!(
        "{DESTINATION}type=image,push=true,name={destination},annotation.{TAG_ANNOTATION}={tag}"
    )
}

fn arguments(endpoint: &EndpointConfig) -> Vec<String> {
    vec![
        "--frontend=dockerfile.v0".to_owned(),
        // With a command line of its own the frontend takes no other in its place, whatever `# syntax=`
        // names: none is pulled.
        "--opt=cmdline=docker/dockerfile".to_owned(),
        "--opt=filename=Dockerfile".to_owned(),
        format!("--local=context={DIRECTORY}/archive/{CONTEXT_DIR}"),
        format!("--local=dockerfile={DIRECTORY}/archive/{BUILDER_DIR}"),
        output(endpoint),
    ]
}

/// Which images it may pull, as it reads it: those of the registries that the Dockerfile names, and these
/// from the endpoint only.
fn source_policy(endpoint: &EndpointConfig) -> String {
    let image = |name: String| format!("docker-image://{name}");
    let mut rules: Vec<_> = endpoint
        .registries()
        .into_iter()
        .map(|(named, served)| {
            json!({
                "action": "CONVERT",
                "selector": {"identifier": image(format!("{named}/*"))},
                "updates": {"identifier": image(format!("{served}/${{1}}"))},
            })
        })
        .collect();
    // The last one that matches decides.
    let others = [("DENY", "*".to_owned()), ("ALLOW", format!("{}/*", endpoint.address))];
    rules.extend(
        others.map(
            |(action, name)| json!({"action": action, "selector": {"identifier": image(name)}}),
        ),
    );
    json!({ "rules": rules }).to_string()
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
