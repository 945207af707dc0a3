//! What a build may push and pull whose builder asks registries itself: a buildkitd elsewhere does not reach
//! the endpoint of the build's pod.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::config::{AllowedImage, EndpointConfig, Place};
use super::server::{EndpointError, of_environment};
use super::upstream::{CREDENTIALS_FILE, mounted_credentials};
use crate::registry::credentials::{Credentials, DOCKER_HUB as HUB_SERVER};
use crate::registry::digest::is_digest;
use crate::registry::reference::DOCKER_HUB;

/// Where the credentials of the build are written, for its builder.
pub const DOCKER_DIR: &str = "/run/hookd/docker";

/// An image that may be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectImage {
    /// As the Dockerfile names it, in docker's full form; of one by its digest also with any tag (`*`).
    pub named: String,
    /// What is pulled for it.
    pub source: String,
}

/// BuildKit takes one user for each registry, and credentials may count for a path of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The credentials for {host} that count for {repository} are not those for the other images of this build, \
     and BuildKit takes one user for each registry: give one entry the host without a path, or copy the \
     image to another registry"
)]
pub struct TwoUsers {
    host: String,
    repository: String,
}

impl EndpointConfig {
    /// Where the image goes.
    pub fn direct_destination(&self) -> Option<String> {
        let push = self.push.as_ref()?;
        Some(format!("{}:{}", docker_name(push), self.tag))
    }

    /// The registry that is pushed to speaks plain HTTP.
    pub fn pushes_insecurely(&self) -> bool {
        self.push.as_ref().is_some_and(|push| self.insecure.contains(&push.registry))
    }

    /// The images that may be pulled, from their registry, or from what the settings map it to: mirrors are the
    /// builder's own.
    pub fn direct_images(&self) -> Vec<DirectImage> {
        self.images.iter().filter_map(direct).collect()
    }

    /// What the build asks registries for.
    fn direct_places(&self) -> impl Iterator<Item = &Place> {
        let pulled = self.images.iter().filter_map(|image| image.sources.last());
        self.push.iter().chain(pulled)
    }

    /// A docker configuration with what counts for this build of all credentials.
    ///
    /// # Errors
    /// See [`TwoUsers`].
    fn docker_config(&self, all: &[Credentials]) -> Result<String, TwoUsers> {
        let mut users: BTreeMap<&str, Option<(&str, &str)>> = BTreeMap::new();
        for Place { registry, repository } in self.direct_places() {
            let user = Credentials::find(all, registry, repository).map(Credentials::pair);
            if *users.entry(registry).or_insert(user) != user {
                let (host, repository) = (registry.clone(), repository.clone());
                return Err(TwoUsers { host, repository });
            }
        }
        let entries = users.into_iter().filter_map(|(host, user)| {
            let (username, password) = user?;
            let server = if host == DOCKER_HUB { HUB_SERVER } else { host };
            Some((server.to_owned(), json!({"username": username, "password": password})))
        });
        let auths: serde_json::Map<_, _> = entries.collect();
        Ok(json!({ "auths": auths }).to_string())
    }
}

/// Writes the credentials of the build in the environment to [`DOCKER_DIR`].
///
/// # Errors
/// See [`EndpointError`].
pub fn write_credentials() -> Result<(), EndpointError> {
    let written = of_environment()?.docker_config(&mounted_credentials()?)?;
    let path = Path::new(DOCKER_DIR).join(CREDENTIALS_FILE);
    std::fs::write(&path, written).map_err(|source| EndpointError::Unwritable { path, source })
}

fn direct(image: &AllowedImage) -> Option<DirectImage> {
    let source = docker_name(image.sources.last()?);
    let named = docker_name(&Place {
        registry: image.registry.clone(),
        repository: image.repository()?.to_owned(),
    });
    let version = &image.version;
    let (named, version) = match is_digest(version) {
        true => (format!("{named}*@{version}"), format!("@{version}")),
        false => {
            let pinned = image.digest.as_ref().map(|digest| format!("@{digest}"));
            (format!("{named}:{version}"), pinned.unwrap_or_else(|| format!(":{version}")))
        }
    };
    Some(DirectImage { named, source: source + &version })
}

/// Docker's full form.
fn docker_name(place: &Place) -> String {
    let host = if place.registry == DOCKER_HUB { "docker.io" } else { &place.registry };
    format!("{host}/{}", place.repository)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;
    use crate::endpoint::config::tests::config;
    use crate::registry::base_images::ResolvedImage;

    fn hosted(host: &str) -> RegistryConfig {
        RegistryConfig { host: Some(host.to_owned()), ..RegistryConfig::default() }
    }

    #[test]
    fn images_are_pulled_by_the_digests_of_their_names() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let by_digest = format!("r.example:5000/c:2@{}", digest("a"));
        let text =
            format!("FROM busybox:1\nCOPY --from=localhost/b / /\nCOPY --from={by_digest} / /\n");
        let resolved = ResolvedImage {
            reference: "docker.io/busybox:1".parse().unwrap(),
            digest: digest("b"),
        };
        let config = config(&hosted("docker.io/org"), &text).pinned(&[resolved]);
        assert_eq!(config.direct_destination().unwrap(), "docker.io/org/hookd-build:s1");
        let images: Vec<_> =
            config.direct_images().into_iter().map(|one| (one.named, one.source)).collect();
        let pinned = |name: &str, digit: &str| format!("{name}@{}", digest(digit));
        let expected = [
            ("docker.io/library/busybox:1".to_owned(), pinned("docker.io/library/busybox", "b")),
            ("localhost/b:latest".to_owned(), "localhost/b:latest".to_owned()),
            (pinned("r.example:5000/c*", "a"), pinned("r.example:5000/c", "a")),
        ];
        assert_eq!(images, expected);
    }

    #[test]
    fn what_the_settings_map_a_registry_to_is_asked() {
        let map = Some("index.docker.io=10.96.0.50:5000/hub".to_owned());
        let mirrors = vec!["mirror:1".to_owned()];
        let registry = RegistryConfig { map, mirrors, ..hosted("r.example") };
        let images = config(&registry, "FROM busybox\n").direct_images();
        assert_eq!(images[0].named, "docker.io/library/busybox:latest");
        assert_eq!(images[0].source, "10.96.0.50:5000/hub/library/busybox:latest");
    }

    #[test]
    fn only_the_credentials_that_count_for_the_build_are_written() {
        let file = r#"{"auths": {
            "ghcr.io/org": {"username": "pusher", "password": "one"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "two"},
            "quay.io": {"username": "other", "password": "three"}
        }}"#;
        let all = Credentials::of_docker_config(file.as_bytes());
        let written = config(&hosted("ghcr.io/org"), "FROM busybox\n").docker_config(&all).unwrap();
        let written: serde_json::Value = serde_json::from_str(&written).unwrap();
        let user = |name: &str, password: &str| json!({"username": name, "password": password});
        let expected = json!({
            "ghcr.io": user("pusher", "one"),
            "https://index.docker.io/v1/": user("hub", "two"),
        });
        assert_eq!(written["auths"], expected);
    }

    #[test]
    fn a_user_for_one_of_two_images_is_an_error() {
        let file = br#"{"auths": {"ghcr.io/org": {"username": "u", "password": "p"}}}"#;
        let all = Credentials::of_docker_config(file);
        let config = config(&hosted("ghcr.io/org"), "FROM ghcr.io/public/image\n");
        let error = config.docker_config(&all).unwrap_err();
        assert_eq!((error.host.as_str(), error.repository.as_str()), ("ghcr.io", "public/image"));
    }
}
