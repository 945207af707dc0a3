//! Where an image can be asked for: what the kubelet's name of it is for hookd and for Kaniko.
//!
//! What is asked decides which program stepd starts with a step's secrets, so that it must be
//! trusted with that. A digest names the bytes, so any source will do. What a tag names only its
//! registry can say, or the one that the administrator puts in its place: the registry of built
//! images, and those of `HOOKD_REGISTRY_MAP`. A mirror is a cache that anyone may run, and is not
//! asked what a tag names. The pod names the digest that was found, whichever place it is from: the
//! kubelet runs what was looked up, or nothing.

use crate::config::RegistryConfig;
use crate::registry::destination;
use crate::registry::reference::{DOCKER_HUB, Reference};

/// The registries that the administrator named.
#[derive(Clone, Debug)]
pub struct Mirrors {
    /// Registry, and what is asked in its place: a host with an optional path.
    map: Vec<(String, String)>,
    /// Of Docker Hub, likewise.
    mirrors: Vec<String>,
    /// The registry of built images.
    own: Option<Own>,
    insecure: Vec<String>,
}

#[derive(Clone, Debug)]
struct Own {
    /// Its host for the kubelet.
    pull: String,
    /// Its host for others.
    push: String,
    /// That of built images.
    repository: String,
}

impl Own {
    /// True for what is asked of it by its other name, and for its own images, whatever the map says.
    fn has(&self, image: &Reference) -> bool {
        let is_renamed = self.pull != self.push;
        self.pull == image.registry && (is_renamed || self.repository == image.repository)
    }
}

impl Mirrors {
    /// Those of the settings.
    pub fn new(config: &RegistryConfig) -> Self {
        let map = config.map.iter().flat_map(|map| entries(map)).collect();
        let own = config.host.as_deref().map(|given| {
            let (pull, push) = destination::hosts(config, given);
            Own { pull, push, repository: destination::repository(config, given) }
        });
        let plain = own.iter().filter(|_| config.node_port.is_some()).map(|own| &own.push);
        let insecure = config.insecure.iter().chain(plain).cloned().collect();
        Self { map, mirrors: config.mirrors.clone(), own, insecure }
    }

    /// Hosts that speak plain HTTP.
    pub fn insecure(&self) -> &[String] {
        &self.insecure
    }

    /// The host of the registry of built images for hookd and for builds.
    pub fn push_host(&self) -> Option<&str> {
        self.own.as_ref().map(|own| own.push.as_str())
    }

    /// Where to ask for an image, in this order, as it is called there.
    pub fn of(&self, image: &Reference) -> Vec<Reference> {
        let registry = image.registry.as_str();
        if let Some(own) = self.own.iter().find(|own| own.has(image)) {
            return vec![within(image, &own.push)];
        }
        let mapped = self.map.iter().filter(|(from, _)| from == registry);
        let mapped: Vec<_> = mapped.map(|(_, to)| within(image, to)).collect();
        if !mapped.is_empty() {
            return mapped;
        }
        if image.is_digest() { self.with_mirrors(image) } else { vec![image.clone()] }
    }

    /// Where a build pulls a base image from, in this order: as [`Mirrors::of`], but a mirror serves
    /// tags, too, as it does for the kubelet. What it serves is the image itself then, not a word
    /// about an image that comes from elsewhere.
    pub fn of_base_image(&self, image: &Reference) -> Vec<Reference> {
        let places = self.of(image);
        if places == [image.clone()] { self.with_mirrors(image) } else { places }
    }

    fn with_mirrors(&self, image: &Reference) -> Vec<Reference> {
        let mirrors = self.mirrors.iter().filter(|_| image.registry == DOCKER_HUB);
        mirrors.map(|mirror| within(image, mirror)).chain([image.clone()]).collect()
    }
}

/// "a=b;c=d/e", as Kaniko has it.
fn entries(map: &str) -> impl Iterator<Item = (String, String)> {
    map.split(';').filter_map(|entry| {
        let (from, to) = entry.trim().split_once('=')?;
        let from = if from == "docker.io" { DOCKER_HUB } else { from };
        Some((from.to_owned(), to.trim_end_matches('/').to_owned()))
    })
}

/// The image in another registry, perhaps beneath a path.
fn within(image: &Reference, place: &str) -> Reference {
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let repository = match path {
        "" => image.repository.clone(),
        path => format!("{path}/{}", image.repository),
    };
    Reference { registry: host.to_owned(), repository, version: image.version.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(registry: &RegistryConfig, image: &str) -> Vec<String> {
        let found = Mirrors::new(registry).of(&image.parse().unwrap());
        found.iter().map(Reference::to_string).collect()
    }

    fn digest() -> String {
        format!("sha256:{}", "0".repeat(64))
    }

    #[test]
    fn a_registry_is_asked_itself_if_no_setting_replaces_it() {
        let registry = RegistryConfig::default();
        assert_eq!(asked(&registry, "busybox:1"), ["index.docker.io/library/busybox:1"]);
        assert_eq!(asked(&registry, "ghcr.io/a/b"), ["ghcr.io/a/b:latest"]);
    }

    #[test]
    fn a_map_replaces_a_registry() {
        let registry = RegistryConfig {
            map: Some("quay.io=mirror:5000/quay;docker.io=hub".into()),
            ..RegistryConfig::default()
        };
        assert_eq!(asked(&registry, "quay.io/a/b:2"), ["mirror:5000/quay/a/b:2"]);
        assert_eq!(asked(&registry, "busybox"), ["hub/library/busybox:latest"]);
    }

    #[test]
    fn a_mirror_is_asked_for_a_digest_and_never_for_a_tag() {
        let registry = RegistryConfig { mirrors: vec!["m:1".into()], ..RegistryConfig::default() };
        let digest = digest();
        let both =
            [format!("m:1/library/a@{digest}"), format!("index.docker.io/library/a@{digest}")];
        assert_eq!(asked(&registry, &format!("a@{digest}")), both);
        assert_eq!(asked(&registry, &format!("a:1@{digest}")), both);
        assert_eq!(asked(&registry, "a:1"), ["index.docker.io/library/a:1"]);
        assert_eq!(asked(&registry, "ghcr.io/a/b:1"), ["ghcr.io/a/b:1"]);
    }

    #[test]
    fn only_the_own_images_of_a_mapped_registry_are_asked_there() {
        let registry = RegistryConfig {
            host: Some("docker.io/org".into()),
            map: Some("docker.io=hub".into()),
            ..RegistryConfig::default()
        };
        assert_eq!(asked(&registry, "busybox:1"), ["hub/library/busybox:1"]);
        let built = format!("org/hookd-build@{}", digest());
        assert_eq!(asked(&registry, &built), [format!("index.docker.io/{built}")]);
    }

    #[test]
    fn what_is_pulled_by_node_port_is_asked_where_it_was_pushed() {
        let registry = RegistryConfig {
            host: Some("docker-registry".into()),
            port: Some("5000".into()),
            node_port: Some("30500".into()),
            ..RegistryConfig::default()
        };
        let digest = digest();
        let found = asked(&registry, &format!("localhost:30500/hookd/build@{digest}"));
        assert_eq!(found, [format!("docker-registry:5000/hookd/build@{digest}")]);
        assert_eq!(Mirrors::new(&registry).insecure(), ["docker-registry:5000"]);
    }
}
