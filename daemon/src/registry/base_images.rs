//! Which images the names in a Dockerfile stand for now.

use futures::{StreamExt, TryStreamExt, stream};

use crate::registry::client::{Access, RegistryClient, RegistryError};
use crate::registry::credentials::Credentials;
use crate::registry::mirrors::Mirrors;
use crate::registry::reference::{NamedImage, Reference};
use crate::registry::tags;

/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 4;

/// A base image as the Dockerfile names it, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The name.
    pub reference: Reference,
    /// Digest of the manifest, or of the index for all platforms.
    pub digest: String,
}

/// A base image whose digest cannot be determined.
#[derive(Debug, thiserror::Error)]
pub enum UnresolvedImage {
    /// None of its places has it.
    #[error("base image {image} is not found")]
    Missing {
        /// The image.
        image: String,
    },
    /// A place did not answer, or wrongly.
    #[error("base image {image} cannot be looked up")]
    Failed {
        /// The image.
        image: String,
        /// Why, of the last such place.
        source: RegistryError,
    },
}

/// Whom base images are asked of.
#[derive(Clone, Copy, Debug)]
pub struct BaseImages<'a> {
    /// The client.
    pub client: &'a RegistryClient,
    /// What stands in for registries.
    pub mirrors: &'a Mirrors,
    /// Those that a build has.
    pub credentials: &'a [Credentials],
}

impl BaseImages<'_> {
    /// The digests of all images, in their order. For a name with a digest no registry is asked.
    ///
    /// # Errors
    /// The first image whose digest cannot be determined.
    pub async fn resolve(
        &self,
        images: &[NamedImage],
    ) -> Result<Vec<ResolvedImage>, UnresolvedImage> {
        // Not by a closure: its future would not be Send.
        let mut resolved = Vec::new();
        for image in images {
            resolved.push(self.resolve_one(&image.reference));
        }
        stream::iter(resolved).buffered(MAX_REQUESTS).try_collect().await
    }

    async fn resolve_one(&self, image: &Reference) -> Result<ResolvedImage, UnresolvedImage> {
        let resolved = |digest| ResolvedImage { reference: image.clone(), digest };
        if image.is_digest() {
            return Ok(resolved(image.version.clone()));
        }
        let mut failed = None;
        for place in self.mirrors.of_base_image(image) {
            match self.ask(&place).await {
                Ok(Some(digest)) => return Ok(resolved(digest)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        let image = image.to_string();
        Err(match failed {
            Some(source) => UnresolvedImage::Failed { image, source },
            None => UnresolvedImage::Missing { image },
        })
    }

    async fn ask(&self, place: &Reference) -> Result<Option<String>, RegistryError> {
        let user = Credentials::find(self.credentials, &place.registry, &place.repository);
        let (host, repository) = (&place.registry, &place.repository);
        let session = self.client.session(host, repository, user.cloned(), Access::Pull)?;
        tags::digest(&session, &place.version).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;
    use crate::dockerfile;
    use crate::registry::client::ClientOptions;
    use crate::registry::client::fake::{self, FakeRegistry, Reply};

    async fn resolve(mirror: &str, text: &str) -> Result<Vec<ResolvedImage>, UnresolvedImage> {
        let config = RegistryConfig {
            map: Some(format!("docker.io={mirror}")),
            insecure: vec![mirror.to_owned()],
            ..RegistryConfig::default()
        };
        let mirrors = Mirrors::new(&config);
        let options =
            ClientOptions { insecure: config.insecure.clone(), ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        let base_images = BaseImages { client: &client, mirrors: &mirrors, credentials: &[] };
        base_images.resolve(&dockerfile::images(text.as_bytes()).unwrap()).await
    }

    #[tokio::test]
    async fn a_tag_is_resolved_and_a_digest_is_itself() {
        let (all, digest) = fake::image("library/busybox", "{}");
        let registry = FakeRegistry::of(all);
        let own = format!("sha256:{}", "0".repeat(64));
        let text = format!("FROM busybox:1\nCOPY --from=a/b@{own} / /\n");
        let found = resolve(&registry.host, &text).await.unwrap();
        let digests: Vec<_> = found.iter().map(|image| image.digest.as_str()).collect();
        assert_eq!(digests, [digest.as_str(), own.as_str()]);
        let arrived = registry.arrived();
        let methods: Vec<_> = arrived.iter().map(|arrived| arrived.method.as_str()).collect();
        // The registry gives its digest with the manifest only.
        assert_eq!(methods, ["HEAD", "GET"]);
    }

    #[tokio::test]
    async fn a_digest_that_the_registry_names_needs_no_manifest() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let header = format!("Docker-Content-Digest: {digest}");
        let registry = FakeRegistry::start(move |_, _| Reply::ok("").with(header.clone()));
        let found = resolve(&registry.host, "FROM busybox:1\n").await.unwrap();
        assert_eq!(found[0].digest, digest);
        assert_eq!(registry.arrived().len(), 1);
    }

    #[tokio::test]
    async fn an_image_that_no_place_has_is_named() {
        let registry = FakeRegistry::of(Default::default());
        let error = resolve(&registry.host, "FROM busybxo:1\n").await.unwrap_err();
        assert!(matches!(error, UnresolvedImage::Missing { .. }));
        assert!(error.to_string().contains("library/busybxo:1"), "{error}");
        // Nothing listens there.
        let error = resolve("127.0.0.1:1", "FROM busybox:1\n").await.unwrap_err();
        assert!(matches!(error, UnresolvedImage::Failed { .. }), "{error}");
    }
}
