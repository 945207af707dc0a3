//! What a tag of a repository names: found, set and deleted.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::registry::client::{MANIFEST_TYPES, RegistryError, Request, Session, read_bounded};
use crate::registry::digest::{digest_of, is_digest};
use crate::registry::manifest;

mod list;

pub use list::{is_tag, list};

/// An index of no images: what a tag names that is to name nothing any more.
const NOTHING: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const NOTHING_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest or an index, as a registry has it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Digest of its bytes, computed here.
    pub digest: String,
    pub(super) media_type: Option<HeaderValue>,
    pub(super) bytes: Bytes,
}

impl Manifest {
    /// Of these bytes.
    pub(super) fn new(media_type: Option<HeaderValue>, bytes: Bytes) -> Self {
        Self { digest: digest_of(&bytes), media_type, bytes }
    }

    /// True if a tag was taken off its image by it: see [`take_off`].
    pub fn is_nothing(&self) -> bool {
        self.bytes.as_ref() == NOTHING
    }

    /// The document.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a tag or a digest names; none: nothing.
///
/// # Errors
/// See [`RegistryError`]; [`RegistryError::DigestMismatch`] for other bytes than those of the digest.
pub async fn find(session: &Session, version: &str) -> Result<Option<Manifest>, RegistryError> {
    let mut request = Request::new(Method::GET, format!("manifests/{version}"));
    request.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
    let answer = session.send(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => return Err(refused(session, status)),
    }
    let media_type = answer.headers().get(CONTENT_TYPE).cloned();
    let bytes = read_bounded(session.host(), answer, "manifest", manifest::LIMIT).await?;
    let manifest = Manifest::new(media_type, bytes.into());
    if version.contains(':') && manifest.digest != version {
        let (host, expected) = (session.host().to_owned(), version.to_owned());
        return Err(RegistryError::DigestMismatch { host, what: "manifest", expected });
    }
    Ok(Some(manifest))
}

/// The digest of what a tag names, as the registry says it; none: nothing. Who pulls by it gets that or an
/// error. Registries that count pulls do not count this.
///
/// # Errors
/// See [`RegistryError`].
pub async fn digest(session: &Session, tag: &str) -> Result<Option<String>, RegistryError> {
    let mut request = Request::new(Method::HEAD, format!("manifests/{tag}"));
    request.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
    let answer = session.send(request).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let digest = answer.headers().get("docker-content-digest");
    let digest = digest.and_then(|digest| digest.to_str().ok()).filter(|digest| is_digest(digest));
    match digest {
        Some(digest) if answer.status() == StatusCode::OK => Ok(Some(digest.to_owned())),
        // Not every registry answers HEAD, or with a digest.
        _ => Ok(find(session, tag).await?.map(|manifest| manifest.digest)),
    }
}

/// Gives a manifest that the repository has a tag.
///
/// # Errors
/// See [`RegistryError`].
pub async fn set(session: &Session, tag: &str, manifest: &Manifest) -> Result<(), RegistryError> {
    let mut request = Request::new(Method::PUT, format!("manifests/{tag}"));
    if let Some(media_type) = &manifest.media_type {
        request.headers.insert(CONTENT_TYPE, media_type.clone());
    }
    request.body = Some(manifest.bytes.clone().into());
    let answer = session.send(request).await?;
    if answer.status().is_success() { Ok(()) } else { Err(refused(session, answer.status())) }
}

/// Takes a tag off its image, which stays: few registries delete a tag alone. It names an index of no
/// images then, until [`sweep`] deletes that.
///
/// # Errors
/// See [`RegistryError`].
pub async fn take_off(session: &Session, tag: &str) -> Result<(), RegistryError> {
    let media_type = HeaderValue::from_static(NOTHING_TYPE);
    set(session, tag, &Manifest::new(Some(media_type), Bytes::from_static(NOTHING))).await
}

/// Deletes what [`take_off`] has left, with all its tags.
///
/// # Errors
/// As [`delete_image`].
pub async fn sweep(session: &Session) -> Result<bool, RegistryError> {
    delete_image(session, &digest_of(NOTHING)).await
}

/// Deletes the image with a tag; true if it was there. Registries delete manifests by their digest only,
/// which is computed from what the tag names.
///
/// # Errors
/// As [`delete_image`].
pub async fn delete(session: &Session, tag: &str) -> Result<bool, RegistryError> {
    match find(session, tag).await? {
        Some(manifest) => delete_image(session, &manifest.digest).await,
        None => Ok(false),
    }
}

/// Deletes the image with this digest, and so all its tags; true if it was there.
///
/// # Errors
/// See [`RegistryError`]; [`RegistryError::Refused`] with 405 from a registry that deletes nothing.
pub async fn delete_image(session: &Session, digest: &str) -> Result<bool, RegistryError> {
    let path = format!("manifests/{digest}");
    let answer = session.send(Request::new(Method::DELETE, path)).await?;
    match answer.status() {
        status if status.is_success() => Ok(true),
        // Another daemon, or the registry's own rule, was first.
        StatusCode::NOT_FOUND => Ok(false),
        status => Err(refused(session, status)),
    }
}

fn refused(session: &Session, status: StatusCode) -> RegistryError {
    RegistryError::Refused { host: session.host().to_owned(), status }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::registry::client::fake::{self, FakeRegistry, Reply};
    use crate::registry::client::{Access, ClientOptions, RegistryClient};

    fn session(registry: &FakeRegistry) -> Session {
        let options =
            ClientOptions { insecure: vec![registry.host.clone()], ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        client.session(&registry.host, "hookd/build", None, Access::Push).unwrap()
    }

    #[tokio::test]
    async fn a_tag_is_set_to_the_very_bytes_that_another_names() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let registry = FakeRegistry::start(move |_, arrived| {
            if arrived.method == "PUT" {
                return Reply::new(201, "");
            }
            let reply = all.get(&arrived.path).cloned();
            reply.map_or_else(|| Reply::new(404, ""), |reply| reply.with("content-type: a/b"))
        });
        let session = session(&registry);
        assert!(find(&session, "key").await.unwrap().is_none());
        let manifest = find(&session, &digest).await.unwrap().unwrap();
        assert_eq!(manifest.digest, digest);
        set(&session, "key", &manifest).await.unwrap();
        let put = registry.arrived().pop().unwrap();
        assert_eq!(put.path, "/v2/hookd/build/manifests/key");
        assert!(put.headers.contains("content-type: a/b"), "{}", put.headers);
        assert_eq!(digest_of(&put.body), digest);
    }

    #[tokio::test]
    async fn other_bytes_than_those_of_a_digest_are_refused() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let registry = FakeRegistry::start(move |_, arrived| {
            let own = all.get(&arrived.path).cloned().unwrap_or_default();
            Reply::ok([own.body(), b" "].concat())
        });
        let error = find(&session(&registry), &digest).await.unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_image_is_deleted_by_the_digest_of_its_own_tag() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let deleted = AtomicBool::new(false);
        let registry = FakeRegistry::start(move |_, arrived| {
            if arrived.method == "DELETE" {
                deleted.store(true, Ordering::SeqCst);
                return Reply::new(202, "");
            }
            let gone = deleted.load(Ordering::SeqCst);
            let reply = all.get(&arrived.path).filter(|_| !gone).cloned();
            reply.unwrap_or_else(|| Reply::new(404, ""))
        });
        let session = session(&registry);
        assert!(delete(&session, "1").await.unwrap());
        assert!(!delete(&session, "1").await.unwrap());
        let deletes: Vec<_> =
            registry.arrived().into_iter().filter(|one| one.method == "DELETE").collect();
        assert_eq!(deletes.len(), 1);
        assert_eq!(deletes[0].path, format!("/v2/hookd/build/manifests/{digest}"));
    }

    #[tokio::test]
    async fn a_registry_that_deletes_nothing_says_so() {
        let (all, _) = fake::image("hookd/build", "{}");
        let registry = FakeRegistry::start(move |_, arrived| match arrived.method.as_str() {
            "DELETE" => Reply::new(405, ""),
            _ => all[&arrived.path].clone(),
        });
        let error = delete(&session(&registry), "1").await.unwrap_err();
        let status =
            matches!(error, RegistryError::Refused { status: StatusCode::METHOD_NOT_ALLOWED, .. });
        assert!(status, "{error}");
    }
}
