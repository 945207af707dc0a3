//! The builder, its image, and the images that Dockerfiles begin with.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::build::builder::{self, Builder, KANIKO};
use crate::config::BuilderKind;
use crate::dockerfile;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::report;
use crate::registry::destination;
use crate::registry::mirrors::Mirrors;
use crate::registry::reference::{DOCKER_HUB, Reference};

use super::lookup::{digest, is_denied};
use super::{or_return, registry_node};

/// An image of Docker Hub; whether it is there does not matter.
const ON_DOCKER_HUB: &str = "busybox:latest";

/// For a connection to a buildkitd.
const CONNECT: Duration = Duration::from_secs(2);

/// What builds here: without a registry of its own an image stays where it was built, which Kaniko alone can.
fn chosen(facts: &Facts) -> &'static dyn Builder {
    let build = &facts.config.build;
    if facts.config.registry.host.is_some() { builder::of(build) } else { KANIKO }
}

/// What hookd takes the builder for, by its image.
pub(super) async fn builder(facts: &Facts) -> Outcome {
    let (builder, build) = (chosen(facts), &facts.config.build);
    let (name, image) = (builder.name(), builder.image(build));
    if name != KANIKO.name() {
        return match &build.buildkit_address {
            Some(address) => buildkitd(address, image).await,
            None => Outcome::ok(format!("{name} {image} builds Dockerfiles as they are")),
        };
    }
    if let (BuilderKind::Kaniko, Some(address)) = (build.builder, &build.buildkit_address) {
        return Outcome::warning(
            format!("the buildkitd at {address} is not used: {name} {image} builds"),
            "HOOKD_BUILDKIT_ADDRESS is set, and HOOKD_BUILDER is not buildkit",
            "Set HOOKD_BUILDER=buildkit, or remove HOOKD_BUILDKIT_ADDRESS (docs/building.md)",
        );
    }
    if build.builder == BuilderKind::BuildKit {
        return Outcome::warning(
            format!("HOOKD_BUILDER=buildkit is not used: {name} {image} builds"),
            "BuildKit builds in pods of their own, for a registry, and none is configured",
            "Set ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST, or remove HOOKD_BUILDER (docs/building.md)",
        );
    }
    let kind = match dockerfile::Builder::of_image(image) {
        dockerfile::Builder::Original => "Google's Kaniko: hookd writes Dockerfiles anew for it",
        dockerfile::Builder::Fork => {
            "the fork from 1.25 on, which is asked to build as docker does"
        }
        dockerfile::Builder::ForkThatReadsTwice => {
            "the fork from 1.27.4 on, which is asked to build as docker does; its LABELs are written for it"
        }
        dockerfile::Builder::SomeFork => {
            "the fork in a version that its tag does not tell, which is asked to build as docker does; \
             a LABEL that some versions read otherwise is a warning"
        }
        dockerfile::Builder::Unknown => {
            "a Kaniko that its name and tag do not tell: hookd writes Dockerfiles anew as for Google's; \
             a LABEL that some versions read otherwise is a warning"
        }
    };
    Outcome::ok(format!("{image} is {kind}"))
}

/// Something listens there: only pods of builds have the certificate to say more.
async fn buildkitd(address: &str, image: &str) -> Outcome {
    let host = address.trim_start_matches("tcp://");
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(host)).await;
    let why = match connected {
        Ok(Ok(_)) => {
            let found = format!("the buildkitd at {address} listens, and {image} is its client");
            return Outcome::ok(found);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} s", CONNECT.as_secs()),
    };
    Outcome::warning(
        format!("the buildkitd at {address} cannot be reached from here"),
        why,
        "Correct HOOKD_BUILDKIT_ADDRESS, or start the buildkitd; where a NetworkPolicy lets pods of builds \
         alone reach it, this says nothing",
    )
}

/// Its registry has the builder's image.
pub(super) async fn builder_image(facts: &Facts) -> Outcome {
    let runner = or_return!(facts.runner());
    let builder = chosen(facts);
    let image = builder.image(&facts.config.build);
    let setting =
        if builder.name() == KANIKO.name() { "HOOKD_KANIKO_IMAGE" } else { "HOOKD_BUILDKIT_IMAGE" };
    let correct =
        format!("Correct {setting}, or give the runner pod an imagePullSecret that may read it");
    let reference: Reference = match image.parse() {
        Ok(reference) => reference,
        Err(error) => {
            return Outcome::failure(format!("{error}"), format!("{setting} has it"), correct);
        }
    };
    let registry = for_pods(facts, &reference.registry);
    // What the kubelet calls localhost is its node.
    let at_node = registry_node::at_node(&registry, &runner.host_ip);
    let place = Reference { registry: at_node.clone().unwrap_or(registry), ..reference };
    // Without a registry of its own Kaniko runs in the runner pod.
    let has_registry = facts.config.registry.host.is_some();
    let known = if has_registry { facts.of_pods() } else { facts.of_runner.clone() };
    let unknown = |why: String| {
        let found = format!("it is not known whether nodes may read {image}");
        Outcome::warning(
            found,
            why,
            "If a build's pod cannot pull the image, give the runner pod an imagePullSecret that may read it",
        )
    };
    let may_have_more = known.may_have_more(&place.registry, &place.repository);
    match digest(facts, &place, at_node.as_deref(), &known.found).await {
        Ok(Some(_)) => Outcome::ok(format!("{image} is there")),
        Ok(None) if known.unread.is_empty() => {
            Outcome::failure(format!("{image} is not found"), "Its registry answers 404", correct)
        }
        Ok(None) => {
            unknown(format!("Its registry answers 404; {}", may_have_more.unwrap_or_default()))
        }
        Err(error) if is_denied(&error) => match may_have_more {
            Some(why) => unknown(format!("{error}; {why}")),
            None => {
                Outcome::failure(format!("{image} may not be read"), error.to_string(), correct)
            }
        },
        Err(error) if at_node.is_some() && error.is_no_answer() => {
            Outcome::skipped(format!("only nodes reach the registry of {image}"))
        }
        Err(error) => Outcome::warning(
            format!("it is not known whether {image} is there"),
            report(&error),
            "Nodes may reach its registry in another way; if they do not, mirror the image and set \
             HOOKD_KANIKO_IMAGE or HOOKD_BUILDKIT_IMAGE to it (docs/building.md)",
        ),
    }
}

/// The registry as pods reach it: that of built images has another name for nodes.
fn for_pods(facts: &Facts, registry: &str) -> String {
    let own = destination::of_tag(&facts.config.registry, "doctor").ok();
    let own = own.filter(|built| registry_node::pull_host(built) == registry);
    own.map_or_else(|| registry.to_owned(), |built| built.push_host)
}

/// Docker Hub, or what stands in for it, answers.
pub(super) async fn base_images(facts: &Facts) -> Outcome {
    let Ok(image) = ON_DOCKER_HUB.parse::<Reference>() else {
        return Outcome::skipped("there is no image to ask for");
    };
    or_return!(facts.cluster());
    let places = Mirrors::new(&facts.config.registry).of_base_image(&image);
    let mut failed = Vec::new();
    for place in &places {
        match digest(facts, place, None, &facts.of_registry.found).await {
            Ok(_) => return Outcome::ok(format!("{} answers", place.registry)),
            Err(error) => failed.push(error),
        }
    }
    let is_mapped = places.iter().all(|place| place.registry != DOCKER_HUB);
    let causes: Vec<_> = failed.iter().map(|error| report(error)).collect();
    Outcome::warning(
        "base images of Docker Hub cannot be looked up",
        causes.join("; "),
        if failed.iter().any(is_denied) {
            "Let ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET name a Secret with credentials that may read base \
             images from the registry that refuses"
        } else if is_mapped {
            "Correct HOOKD_REGISTRY_MAP, and HOOKD_INSECURE_REGISTRIES if that registry speaks plain HTTP"
        } else {
            "Let pods of the namespace reach registry-1.docker.io and auth.docker.io, or set \
             HOOKD_REGISTRY_MIRRORS or HOOKD_REGISTRY_MAP to a mirror"
        },
    )
}
