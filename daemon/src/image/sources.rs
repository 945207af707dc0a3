//! Where an image can be asked for: what the kubelet's name of it is for hookd and for Kaniko.

use crate::config::RegistryConfig;
use crate::image::reference::{DOCKER_HUB, Reference};
use crate::image::registry;

/// The registries that the administrator named.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Registry, and what is asked in its place: a host with an optional path.
    map: Vec<(String, String)>,
    /// Of Docker Hub, likewise.
    mirrors: Vec<String>,
    /// The registry of built images: its host for the kubelet, and for others.
    own: Option<(String, String)>,
    insecure: Vec<String>,
}

/// One place to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The image as it is called there.
    pub reference: Reference,
    /// The kubelet asks the same registry, so that a digest from here is one for it.
    pub same: bool,
}

impl Sources {
    /// Those of the settings.
    pub fn new(config: &RegistryConfig) -> Self {
        let map = config.map.iter().flat_map(|map| entries(map)).collect();
        let own = config.host.as_deref().map(|given| registry::hosts(config, given));
        let plain = own.iter().filter(|_| config.node_port.is_some()).map(|(_, push)| push);
        let insecure = config.insecure.iter().chain(plain).cloned().collect();
        Self { map, mirrors: config.mirrors.clone(), own, insecure }
    }

    /// Hosts that speak plain HTTP.
    pub fn insecure(&self) -> &[String] {
        &self.insecure
    }

    /// Where to ask for an image, in this order.
    pub fn of(&self, image: &Reference) -> Vec<Source> {
        let registry = image.registry.as_str();
        if let Some((_, push)) = self.own.iter().find(|(pull, _)| pull == registry) {
            return vec![Source { reference: within(image, push), same: true }];
        }
        let elsewhere = |place: &String| Source { reference: within(image, place), same: false };
        let mapped = self.map.iter().filter(|(from, _)| from == registry);
        let mapped: Vec<_> = mapped.map(|(_, to)| elsewhere(to)).collect();
        if !mapped.is_empty() {
            return mapped;
        }
        let mirrors = self.mirrors.iter().filter(|_| registry == DOCKER_HUB).map(elsewhere);
        mirrors.chain([Source { reference: image.clone(), same: true }]).collect()
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

    fn asked(registry: &RegistryConfig, image: &str) -> Vec<(String, bool)> {
        let found = Sources::new(registry).of(&image.parse().unwrap());
        found.into_iter().map(|source| (source.reference.to_string(), source.same)).collect()
    }

    fn text(sources: &[(&str, bool)]) -> Vec<(String, bool)> {
        sources.iter().map(|(name, pinned)| ((*name).to_owned(), *pinned)).collect()
    }

    #[test]
    fn a_registry_is_asked_itself_if_nobody_says_otherwise() {
        let registry = RegistryConfig::default();
        assert_eq!(
            asked(&registry, "busybox:1"),
            text(&[("index.docker.io/library/busybox:1", true)])
        );
        assert_eq!(asked(&registry, "ghcr.io/a/b"), text(&[("ghcr.io/a/b:latest", true)]));
    }

    #[test]
    fn a_map_replaces_a_registry_and_mirrors_go_before_docker_hub() {
        let registry = RegistryConfig {
            map: Some("quay.io=mirror:5000/quay;docker.io=hub".into()),
            ..RegistryConfig::default()
        };
        assert_eq!(asked(&registry, "quay.io/a/b:2"), text(&[("mirror:5000/quay/a/b:2", false)]));
        assert_eq!(asked(&registry, "busybox"), text(&[("hub/library/busybox:latest", false)]));
        let registry = RegistryConfig { mirrors: vec!["m:1".into()], ..RegistryConfig::default() };
        let expected = [("m:1/library/a:1", false), ("index.docker.io/library/a:1", true)];
        assert_eq!(asked(&registry, "a:1"), text(&expected));
        assert_eq!(asked(&registry, "ghcr.io/a/b:1"), text(&[("ghcr.io/a/b:1", true)]));
    }

    #[test]
    fn what_the_kubelet_pulls_through_its_node_port_is_asked_where_it_was_pushed() {
        let registry = RegistryConfig {
            host: Some("docker-registry".into()),
            port: Some("5000".into()),
            node_port: Some("30500".into()),
            ..RegistryConfig::default()
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        let found = asked(&registry, &format!("localhost:30500/hookd/build@{digest}"));
        assert_eq!(found[0], (format!("docker-registry:5000/hookd/build@{digest}"), true));
        assert_eq!(Sources::new(&registry).insecure(), ["docker-registry:5000"]);
    }
}
