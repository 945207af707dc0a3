//! What a build's registry endpoint is to serve, and under which names.

use serde::{Deserialize, Serialize};

use super::cache::LayerCache;
use crate::config::{RegistryConfig, TlsSecret};
use crate::registry::base_images::ResolvedImage;
use crate::registry::destination::Destination;
use crate::registry::mirrors::Mirrors;
use crate::registry::reference::{DOCKER_HUB, NamedImage, Reference};

/// The environment variable that holds the [`EndpointConfig`] as JSON.
pub const VARIABLE: &str = "HOOKD_REGISTRY_ENDPOINT";
/// Where the endpoint of a build's pod listens: on its loopback interface.
pub const ADDRESS: &str = "127.0.0.1:5077";
/// The repository of an image that stays in its container.
const KEPT: &str = "image";
/// First component of the repository that is pushed to. Without a dot: Kaniko would take it for a
/// host.
pub(super) const PUSH: &str = "push";
/// First component of repositories that are pulled from.
pub(super) const PULL: &str = "pull";

/// What one build may push and pull. It holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where it listens: a loopback address with its port.
    pub address: String,
    /// First component of all repositories: a secret where others can connect to the address, too; none
    /// in a pod of the build's own.
    pub key: Option<String>,
    /// The repository of the image that is built; none: the image stays in its container, and the
    /// endpoint keeps its configuration.
    pub push: Option<Place>,
    /// The only tag that it may be given.
    pub tag: String,
    /// The images that may be pulled.
    pub images: Vec<AllowedImage>,
    /// Where layers are cached; none: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<LayerCache>,
    /// Hosts, with their ports, that speak plain HTTP.
    pub insecure: Vec<String>,
    /// Credentials are mounted.
    pub credentials: bool,
    /// The certificate authority of the registry that is pushed to is mounted.
    pub authority: bool,
    /// Secrets that are mounted with the certificates of registries, each in a folder of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<TlsSecret>,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Host, with its port if it has one.
    pub registry: String,
    /// Path within the registry.
    pub repository: String,
}

/// An image that may be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedImage {
    /// The registry that the Dockerfile names.
    pub registry: String,
    /// The repository under which the endpoint serves it.
    pub path: String,
    /// Tag or digest.
    pub version: String,
    /// What is served for the tag, whatever it names by then; none: what it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where it is pulled from: each is tried in turn until one has it.
    pub sources: Vec<Place>,
}

impl EndpointConfig {
    /// That of a build in a pod of its own, which pushes to `destination` and pulls `images`.
    pub fn new(
        registry: &RegistryConfig,
        destination: &Destination,
        images: &[NamedImage],
    ) -> Self {
        let (repository, tag) = destination.repository_and_tag();
        let (registry_host, repository) = (destination.push_host.clone(), repository.to_owned());
        Self {
            push: Some(Place { registry: registry_host, repository }),
            tag: tag.to_owned(),
            credentials: registry.secret.is_some(),
            authority: registry.ca_config_map.is_some(),
            tls: registry.tls.clone(),
            ..Self::of(registry, images, None)
        }
    }

    /// That of a build whose image stays in its container; who knows the `key` may use it.
    pub fn keeping(registry: &RegistryConfig, images: &[NamedImage], key: String) -> Self {
        Self::of(registry, images, Some(key))
    }

    fn of(registry: &RegistryConfig, images: &[NamedImage], key: Option<String>) -> Self {
        let sources = Mirrors::new(registry);
        Self {
            address: ADDRESS.to_owned(),
            images: images.iter().map(|image| allowed(&image.reference, &sources)).collect(),
            cache: None,
            key,
            push: None,
            tag: "latest".to_owned(),
            insecure: sources.insecure().to_vec(),
            credentials: false,
            authority: false,
            tls: Vec::new(),
        }
    }

    /// Serves for each name exactly what it was resolved to.
    #[must_use]
    pub fn pinned(mut self, resolved: &[ResolvedImage]) -> Self {
        for image in &mut self.images {
            let is_it = |one: &&ResolvedImage| {
                let Reference { registry, version, .. } = &one.reference;
                *registry == image.registry
                    && *version == image.version
                    && path(&one.reference) == image.path
            };
            image.digest = resolved.iter().find(is_it).map(|one| one.digest.clone());
        }
        self
    }

    /// The destination for Kaniko.
    pub fn destination(&self) -> String {
        format!("{}/{}:{}", self.address, self.push_path(), self.tag)
    }

    /// Kaniko's repository of cached layers.
    pub fn cache_repository(&self) -> Option<String> {
        let cache = self.cache.as_ref()?;
        Some(format!("{}/{}", self.address, self.keyed(&cache.path())))
    }

    /// The repository under which the endpoint takes the image.
    pub(super) fn push_path(&self) -> String {
        let repository = self.push.as_ref().map_or(KEPT, |place| &place.repository);
        self.keyed(&format!("{PUSH}/{repository}"))
    }

    /// A repository as it is named to the endpoint.
    pub(super) fn keyed(&self, path: &str) -> String {
        self.key.as_ref().map_or_else(|| path.to_owned(), |key| format!("{key}/{path}"))
    }

    /// Kaniko's `--registry-map`: each registry that the Dockerfile names, and what replaces it.
    pub fn registry_map(&self) -> Vec<String> {
        let entry = |image: &AllowedImage| {
            let named = kaniko_registry(&image.registry);
            format!("{named}={}/{}", self.address, self.keyed(&prefix(named)))
        };
        let mut entries: Vec<_> = self.images.iter().map(entry).collect();
        entries.sort();
        entries.dedup();
        entries
    }

    /// Each registry that the Dockerfile names, as docker writes it, and what the endpoint serves in its
    /// place.
    pub fn registries(&self) -> Vec<(String, String)> {
        let entry = |image: &AllowedImage| {
            let named = kaniko_registry(&image.registry);
            let within = within(&image.registry);
            let served = format!("{}/{}{within}", self.address, self.keyed(&prefix(named)));
            let docker = if image.registry == DOCKER_HUB { "docker.io" } else { &image.registry };
            (docker.to_owned(), served)
        };
        let mut entries: Vec<_> = self.images.iter().map(entry).collect();
        entries.sort();
        entries.dedup();
        entries
    }
}

impl AllowedImage {
    /// Its repository within the registry that the Dockerfile names.
    pub(super) fn repository(&self) -> Option<&str> {
        let named = prefix(kaniko_registry(&self.registry)) + within(&self.registry);
        self.path.strip_prefix(&named)?.strip_prefix('/')
    }
}

fn allowed(image: &Reference, sources: &Mirrors) -> AllowedImage {
    let places = sources
        .of_base_image(image)
        .into_iter()
        .map(|source| Place { registry: source.registry, repository: source.repository });
    AllowedImage {
        registry: image.registry.clone(),
        path: path(image),
        version: image.version.clone(),
        digest: None,
        sources: places.collect(),
    }
}

/// The repository under which an image is served.
fn path(image: &Reference) -> String {
    let named = kaniko_registry(&image.registry);
    format!("{}{}/{}", prefix(named), within(&image.registry), image.repository)
}

/// Where the repositories of a registry are that Kaniko takes for another one's.
fn within(registry: &str) -> &'static str {
    if kaniko_registry(registry) == registry { "" } else { "/localhost" }
}

/// The registry as Kaniko reads it from a name: a "localhost" without a port is none to it.
fn kaniko_registry(registry: &str) -> &str {
    if registry == "localhost" { DOCKER_HUB } else { registry }
}

/// The begin of repositories in which the images of a registry are served: Kaniko's repositories
/// have neither colons nor upper case.
pub(super) fn prefix(registry: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-') => letter,
        _ => '_',
    };
    format!("{PULL}/{}", registry.chars().map(plain).collect::<String>())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dockerfile;
    use crate::registry::destination;

    /// That of a build of this Dockerfile.
    pub(in crate::endpoint) fn config(registry: &RegistryConfig, text: &str) -> EndpointConfig {
        let destination = destination::of_tag(registry, "s1").unwrap();
        let images = dockerfile::images(text.as_bytes()).unwrap();
        EndpointConfig::new(registry, &destination, &images)
    }

    #[test]
    fn kaniko_sees_the_endpoint_only() {
        let registry = RegistryConfig {
            host: Some("ghcr.io/org".into()),
            secret: Some("push".into()),
            ..RegistryConfig::default()
        };
        let text = "FROM busybox:1\nCOPY --from=docker.io/a/b / /\n\
                    COPY --from=r.example:5000/c@sha256:0 / /\n";
        let config = config(&registry, text);
        assert_eq!(config.destination(), "127.0.0.1:5077/push/org/hookd/build:s1");
        assert_eq!(
            config.registry_map(),
            [
                "index.docker.io=127.0.0.1:5077/pull/index.docker.io",
                "r.example:5000=127.0.0.1:5077/pull/r.example_5000",
            ]
        );
        let paths: Vec<_> = config.images.iter().map(|image| image.path.as_str()).collect();
        let expected = [
            "pull/index.docker.io/library/busybox",
            "pull/index.docker.io/a/b",
            "pull/r.example_5000/c",
        ];
        assert_eq!(paths, expected);
        assert_eq!(config.images[2].version, "sha256:0");
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<EndpointConfig>(&json).unwrap(), config);
    }

    #[test]
    fn map_and_mirrors_become_the_sources_of_an_image() {
        let registry = RegistryConfig {
            host: Some("10.96.0.50".into()),
            port: Some("5000".into()),
            node_port: Some("30500".into()),
            map: Some("quay.io=10.96.0.50:5000/quay".into()),
            mirrors: vec!["mirror:1".into()],
            ..RegistryConfig::default()
        };
        let config = config(&registry, "FROM busybox\nCOPY --from=quay.io/a/b / /\n");
        let places = |at: usize| {
            let sources = config.images[at].sources.iter();
            sources.map(|one| format!("{}/{}", one.registry, one.repository)).collect::<Vec<_>>()
        };
        assert_eq!(places(0), ["mirror:1/library/busybox", "index.docker.io/library/busybox"]);
        assert_eq!(places(1), ["10.96.0.50:5000/quay/a/b"]);
        assert_eq!(config.insecure, ["10.96.0.50:5000"]);
    }

    #[test]
    fn an_image_is_pinned_to_what_its_name_was_resolved_to() {
        let registry = RegistryConfig { host: Some("r".into()), ..RegistryConfig::default() };
        let resolved = |name: &str| ResolvedImage {
            reference: name.parse().unwrap(),
            digest: format!("digest of {name}"),
        };
        let all = [resolved("docker.io/a:1"), resolved("localhost/a:1"), resolved("b:2")];
        let text = "FROM localhost/a:1\nCOPY --from=a:1 / /\nCOPY --from=b:1 / /\n";
        let config = config(&registry, text).pinned(&all);
        let digests: Vec<_> = config.images.iter().map(|image| image.digest.as_deref()).collect();
        assert_eq!(
            digests,
            [Some("digest of localhost/a:1"), Some("digest of docker.io/a:1"), None]
        );
    }

    #[test]
    fn a_localhost_without_a_port_is_served_where_kaniko_looks() {
        let registry = RegistryConfig { host: Some("r".into()), ..RegistryConfig::default() };
        let config = config(&registry, "FROM localhost/a\n");
        assert_eq!(config.images[0].path, "pull/index.docker.io/localhost/a");
        assert_eq!(config.registry_map()[0], "index.docker.io=127.0.0.1:5077/pull/index.docker.io");
    }
}
