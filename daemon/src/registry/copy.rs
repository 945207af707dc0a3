//! Copies an image to another repository: blobs that are not there yet, then its manifests.

use bytes::Bytes;
use http_body_util::Empty;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode};

use crate::registry::client::{RegistryError, Request, Session, Target};
use crate::registry::digest::is_digest;
use crate::registry::manifest::{Descriptor, Document};
use crate::registry::tags::{self, Manifest};

mod source;

/// Manifests of an image for several platforms.
const MOST_MANIFESTS: usize = 64;
/// Blobs of an image.
const MOST_BLOBS: usize = 4096;

/// An image, as its manifests tell it.
#[derive(Debug)]
pub struct Image {
    /// Those that the last one names come before it.
    manifests: Vec<Manifest>,
    blobs: Vec<Descriptor>,
}

impl Image {
    /// Reads the manifests of the image with this digest.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn read(session: &Session, digest: &str) -> Result<Self, RegistryError> {
        let root = manifest(session, digest).await?;
        let mut names = document(session, &root)?;
        let manifests = std::mem::take(&mut names.manifests);
        let mut image = Self { manifests: Vec::new(), blobs: Vec::new() };
        image.add(session, names.blobs())?;
        if manifests.len() > MOST_MANIFESTS {
            return Err(invalid(session, "index"));
        }
        for part in manifests {
            let part = manifest(session, &part.digest).await?;
            image.add(session, document(session, &part)?.blobs())?;
            image.manifests.push(part);
        }
        image.manifests.push(root);
        Ok(image)
    }

    fn add(
        &mut self,
        session: &Session,
        blobs: impl Iterator<Item = Descriptor>,
    ) -> Result<(), RegistryError> {
        for blob in blobs {
            if !is_digest(&blob.digest) || self.blobs.len() == MOST_BLOBS {
                return Err(invalid(session, "manifest"));
            }
            if !self.blobs.iter().any(|known| known.digest == blob.digest) {
                self.blobs.push(blob);
            }
        }
        Ok(())
    }

    /// Bytes of its configurations and layers, as they are transferred.
    pub fn size(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// Copies the image, and gives it a tag there.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn copy(&self, from: &Session, to: &Session, tag: &str) -> Result<(), RegistryError> {
        for blob in &self.blobs {
            copy_blob(from, to, &blob.digest).await?;
        }
        let Some((root, parts)) = self.manifests.split_last() else { return Ok(()) };
        for part in parts {
            tags::set(to, &part.digest, part).await?;
        }
        tags::set(to, tag, root).await
    }
}

async fn manifest(session: &Session, digest: &str) -> Result<Manifest, RegistryError> {
    if !is_digest(digest) {
        return Err(invalid(session, "index"));
    }
    let found = tags::find(session, digest).await?;
    found.ok_or_else(|| refused(session, StatusCode::NOT_FOUND))
}

fn document(session: &Session, manifest: &Manifest) -> Result<Document, RegistryError> {
    Document::parse(manifest.bytes()).map_err(|_| invalid(session, "manifest"))
}

async fn copy_blob(from: &Session, to: &Session, digest: &str) -> Result<(), RegistryError> {
    let path = format!("blobs/{digest}");
    let head = to.send(Request::new(Method::HEAD, &path)).await?;
    if head.status() == StatusCode::OK {
        return Ok(());
    }
    // A registry that cannot mount it opens an upload.
    let mount = if from.host() == to.host() {
        format!("?mount={digest}&from={}", from.repository())
    } else {
        String::new()
    };
    let mut open = Request::new(Method::POST, format!("blobs/uploads/{mount}"));
    open.headers.insert(CONTENT_LENGTH, 0.into());
    let opened = to.send(open).await?;
    match opened.status() {
        StatusCode::CREATED => return Ok(()),
        StatusCode::ACCEPTED => {}
        status => return Err(refused(to, status)),
    }
    let place = next_place(to, &opened, None)?;
    let blob = from.send(Request::new(Method::GET, &path)).await?;
    if blob.status() != StatusCode::OK {
        return Err(refused(from, blob.status()));
    }
    let mut upload = request(Method::PATCH, place.clone());
    let binary = HeaderValue::from_static("application/octet-stream");
    upload.headers.insert(CONTENT_TYPE, binary);
    let (pieces, sender) = source::pieces(&blob);
    upload.body = Some(Body::wrap(pieces));
    let uploaded = tokio::select! {
        // First: what breaks off at the source fails at the target, too.
        biased;
        Err(error) = source::read(from, blob, sender) => return Err(error),
        uploaded = to.send(upload) => uploaded?,
    };
    if !uploaded.status().is_success() {
        return Err(refused(to, uploaded.status()));
    }
    let mut place = next_place(to, &uploaded, Some(place))?;
    place.push(if place.contains('?') { '&' } else { '?' });
    place.push_str("digest=");
    place.push_str(&digest.replace(':', "%3A"));
    let mut commit = request(Method::PUT, place);
    commit.headers.insert(CONTENT_LENGTH, 0.into());
    // Streamed, though it is empty: so the session waits for as long as a registry may take to put a large
    // blob in its place.
    commit.body = Some(Body::wrap(Empty::<Bytes>::new()));
    // The registry compares the bytes with their digest.
    let committed = to.send(commit).await?;
    if committed.status().is_success() { Ok(()) } else { Err(refused(to, committed.status())) }
}

fn request(method: Method, place: String) -> Request {
    Request { target: Target::Location(place), ..Request::new(method, "") }
}

/// Where the registry wants the rest of an upload; the session sends it to no other host than may be.
fn next_place(
    session: &Session,
    answer: &Response,
    before: Option<String>,
) -> Result<String, RegistryError> {
    let invalid = || invalid(session, "location");
    let Some(location) = answer.headers().get(LOCATION) else { return before.ok_or_else(invalid) };
    let text = location.to_str().map_err(|_| invalid())?;
    let mut url = answer.url().join(text).map_err(|_| invalid())?;
    // A registry behind a proxy that ends TLS may not know that it is spoken to by HTTPS.
    if url.scheme() == "http" && answer.url().scheme() == "https" && url.port().is_none() {
        let _ = url.set_scheme("https");
    }
    url.set_fragment(None);
    Ok(url.into())
}

fn refused(session: &Session, status: StatusCode) -> RegistryError {
    RegistryError::Refused { host: session.host().to_owned(), status }
}

fn invalid(session: &Session, what: &'static str) -> RegistryError {
    RegistryError::Invalid { host: session.host().to_owned(), what }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::registry::client::fake::{self, Arrived, FakeRegistry, Reply};
    use crate::registry::client::{Access, ClientOptions, Limits, RegistryClient};

    /// Takes uploads, and mounts if it can.
    fn target(mounts: bool) -> FakeRegistry {
        let there = Mutex::new(Vec::<String>::new());
        FakeRegistry::start(move |_, arrived: &Arrived| {
            let mut there = there.lock().unwrap();
            match arrived.method.as_str() {
                "HEAD" if there.iter().any(|digest| arrived.path.contains(digest)) => Reply::ok(""),
                "HEAD" | "GET" => Reply::new(404, ""),
                "POST" if mounts && arrived.path.contains("?mount=") => Reply::new(201, ""),
                "POST" => Reply::new(202, "").with("Location: /v2/app/blobs/uploads/1?state=a"),
                "PATCH" => Reply::new(202, "").with("Location: /v2/app/blobs/uploads/1?state=b"),
                _ => {
                    let digest = arrived.path.split("digest=").nth(1).unwrap_or_default();
                    there.push(digest.replace("%3A", ":"));
                    Reply::new(201, "")
                }
            }
        })
    }

    fn session(registry: &FakeRegistry, repository: &str) -> Session {
        session_waiting(registry, repository, Limits::default())
    }

    fn session_waiting(registry: &FakeRegistry, repository: &str, limits: Limits) -> Session {
        let options =
            ClientOptions { insecure: vec![registry.host.clone()], ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap().waiting(limits);
        client.session(&registry.host, repository, None, Access::Push).unwrap()
    }

    fn methods(registry: &FakeRegistry) -> Vec<String> {
        registry.arrived().into_iter().map(|one| format!("{} {}", one.method, one.path)).collect()
    }

    #[tokio::test]
    async fn an_image_is_copied_once_and_tagged_at_the_end() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let (source, target) = (FakeRegistry::of(all), target(false));
        let (from, to) = (session(&source, "hookd/build"), session(&target, "app"));
        let image = Image::read(&from, &digest).await.unwrap();
        assert_eq!(image.size(), r#"{"config":{}}"#.len() as u64);
        image.copy(&from, &to, "v1").await.unwrap();
        let blob = &image.blobs[0].digest;
        let ping = "GET /v2/".to_owned();
        let expected = [
            format!("HEAD /v2/app/blobs/{blob}"),
            "POST /v2/app/blobs/uploads/".to_owned(),
            ping,
            "PATCH /v2/app/blobs/uploads/1?state=a".to_owned(),
            format!("PUT /v2/app/blobs/uploads/1?state=b&digest={}", blob.replace(':', "%3A")),
            "PUT /v2/app/manifests/v1".to_owned(),
        ];
        assert_eq!(methods(&target), expected);
        let put = target.arrived().pop().unwrap();
        assert_eq!(crate::registry::digest::digest_of(&put.body), digest);
        image.copy(&from, &to, "v2").await.unwrap();
        let again = methods(&target).split_off(expected.len());
        assert_eq!(
            again,
            [format!("HEAD /v2/app/blobs/{blob}"), "PUT /v2/app/manifests/v2".into()]
        );
    }

    #[tokio::test]
    async fn in_one_registry_blobs_are_mounted() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let registry = FakeRegistry::start(move |_, arrived| match arrived.method.as_str() {
            "POST" | "PUT" => Reply::new(201, ""),
            _ => all.get(&arrived.path).cloned().unwrap_or_else(|| Reply::new(404, "")),
        });
        let (from, to) = (session(&registry, "hookd/build"), session(&registry, "app"));
        let image = Image::read(&from, &digest).await.unwrap();
        image.copy(&from, &to, "v1").await.unwrap();
        let blob = &image.blobs[0].digest;
        let mount = format!("POST /v2/app/blobs/uploads/?mount={blob}&from=hookd/build");
        assert!(methods(&registry).contains(&mount), "{:?}", methods(&registry));
        assert!(methods(&registry).iter().all(|one| !one.starts_with("PATCH")));
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the registry is slow, on a thread of its own")]
    async fn a_registry_has_long_to_put_a_blob_in_its_place() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let source = FakeRegistry::of(all);
        let target = FakeRegistry::start(|_, arrived| match arrived.method.as_str() {
            "HEAD" | "GET" => Reply::new(404, ""),
            "POST" | "PATCH" => Reply::new(202, "").with("Location: /v2/app/blobs/uploads/1"),
            _ => {
                if arrived.path.contains("/uploads/") {
                    std::thread::sleep(Duration::from_secs(3));
                }
                Reply::new(201, "")
            }
        });
        let limits = Limits { answer: Duration::from_secs(2), ..Limits::default() };
        let (from, to) = (session(&source, "hookd/build"), session_waiting(&target, "app", limits));
        let image = Image::read(&from, &digest).await.unwrap();
        image.copy(&from, &to, "v1").await.unwrap();
    }

    #[tokio::test]
    async fn a_source_that_stops_within_a_blob_is_named() {
        let (mut all, digest) = fake::image("hookd/build", "{}");
        for (path, reply) in &mut all {
            if path.contains("/blobs/") {
                *reply = reply.clone().stopping();
            }
        }
        let (source, target) = (FakeRegistry::of(all), target(false));
        let limits = Limits { silence: Duration::from_secs(1), ..Limits::default() };
        let (from, to) = (session_waiting(&source, "hookd/build", limits), session(&target, "app"));
        let image = Image::read(&from, &digest).await.unwrap();
        let error = image.copy(&from, &to, "v1").await.unwrap_err();
        let RegistryError::Silent { host, .. } = error else { panic!("{error}") };
        assert_eq!(host, source.host);
    }

    #[tokio::test]
    async fn an_upload_leads_to_no_other_place_of_the_node() {
        let (all, digest) = fake::image("hookd/build", "{}");
        let source = FakeRegistry::of(all);
        let target = FakeRegistry::start(|_, arrived| match arrived.method.as_str() {
            "POST" => Reply::new(202, "").with("Location: http://169.254.169.254/latest"),
            _ => Reply::new(404, ""),
        });
        let (from, to) = (session(&source, "hookd/build"), session(&target, "app"));
        let image = Image::read(&from, &digest).await.unwrap();
        let error = image.copy(&from, &to, "v1").await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
    }
}
