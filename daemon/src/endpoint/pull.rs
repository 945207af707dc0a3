//! Images that the Dockerfile names, and what their manifests lead to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RANGE};
use http::{HeaderMap, Method, Response, StatusCode};

use tokio::sync::Semaphore;

use super::answer::{Body, Refusal, whole, with_headers};
use super::config::{AllowedImage, Place};
use super::layer;
use super::manifest::{Reached, reached};
use super::route::Item;
use super::upstream::{self, Others, Upstream, refusal};
use crate::registry::digest::{digest_of, is_digest};
use crate::registry::manifest;

/// Digests that the images of one build may reach.
const MOST_REACHED: usize = 10_000;
/// Tags whose digests are remembered: those of a Dockerfile, and of cached layers.
const MOST_TAGS: usize = 1000;
/// Manifests that are in memory at one time.
const MOST_MANIFESTS: usize = 2;

/// What may be pulled so far: it grows with the manifests that were served.
#[derive(Debug)]
pub(super) struct Pulls {
    reached: Mutex<HashMap<(String, Kind, String), Place>>,
    /// What was served first for a tag of a path. It is served from then on: all instructions of a
    /// Dockerfile that name the tag mean one image.
    tags: Mutex<HashMap<(String, String), Served>>,
    manifests: Semaphore,
}

/// A manifest that was served.
#[derive(Clone, Debug)]
struct Served {
    place: Place,
    digest: String,
}

/// A manifest that a registry has sent.
struct Found {
    media_type: Option<HeaderValue>,
    body: bytes::Bytes,
    digest: String,
}

impl Default for Pulls {
    fn default() -> Self {
        let manifests = Semaphore::new(MOST_MANIFESTS);
        Self { reached: Mutex::default(), tags: Mutex::default(), manifests }
    }
}

/// A request for a part of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// GET or HEAD.
    pub(super) method: &'a Method,
    /// The part.
    pub(super) item: &'a Item,
    /// The request's headers.
    pub(super) headers: &'a HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Manifest,
    Blob,
}

impl Pulls {
    /// Serves a manifest or a blob of the images, which have one path.
    pub(super) async fn serve(
        &self,
        upstream: &Upstream,
        images: &[&AllowedImage],
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let path = images.first().map(|image| image.path.as_str()).unwrap_or_default();
        match asked.item {
            Item::Blob(digest) => {
                let place = self.place(path, Kind::Blob, digest).ok_or_else(|| unnamed(digest))?;
                blob(upstream, &place, asked.method, digest, asked.headers).await
            }
            Item::Manifest(version) => {
                let named = images.iter().find(|image| image.version == *version);
                let child = self.place(path, Kind::Manifest, version);
                match (named, child) {
                    (Some(image), _) => {
                        let (sources, pinned) = self.pinned(image);
                        let version = pinned.as_ref().unwrap_or(version);
                        self.manifest(upstream, path, &sources, version, asked).await
                    }
                    (None, Some(place)) => {
                        self.manifest(upstream, path, &[place], version, asked).await
                    }
                    (None, None) => Err(unnamed(version)),
                }
            }
        }
    }

    /// Where an image is asked for, and its digest, if that is known by now.
    fn pinned(&self, image: &AllowedImage) -> (Vec<Place>, Option<String>) {
        let mut sources = image.sources.clone();
        if image.digest.is_some() {
            return (sources, image.digest.clone());
        }
        let key = (image.path.clone(), image.version.clone());
        let Some(first) = lock(&self.tags).get(&key).cloned() else { return (sources, None) };
        // Another place that has the digest has the same.
        sources.retain(|place| *place != first.place);
        sources.insert(0, first.place);
        (sources, Some(first.digest))
    }

    /// The manifest `version` from the first place that has it.
    async fn manifest(
        &self,
        upstream: &Upstream,
        path: &str,
        sources: &[Place],
        version: &str,
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let _slot = self.manifests.acquire().await;
        let mut failed: Option<Refusal> = None;
        for (number, place) in sources.iter().enumerate() {
            let is_last = number + 1 == sources.len();
            let others = if is_last { Others::None } else { Others::Follow };
            match fetch(upstream, place, version, asked.headers, others).await {
                Ok(found) => {
                    let first = self.first(path, version, place, &found.digest);
                    // Another request for the tag has got something else meanwhile.
                    let found = if first.digest == found.digest {
                        found
                    } else {
                        drop(found);
                        let Served { place, digest } = &first;
                        fetch(upstream, place, digest, asked.headers, Others::None).await?
                    };
                    let mut reached = reached(&found.body);
                    // BuildKit asks for what a tag names by its digest.
                    reached.manifests.push(found.digest.clone());
                    self.add(path, &first.place, reached)?;
                    return Ok(found.answer(asked.method));
                }
                Err(refusal) => failed = Some(refusal.after(failed)),
            }
        }
        Err(failed.unwrap_or_else(|| unnamed(version)))
    }

    /// What was served first for a version: this, unless it is a tag that was served before.
    fn first(&self, path: &str, version: &str, place: &Place, digest: &str) -> Served {
        let own = Served { place: place.clone(), digest: digest.to_owned() };
        let mut tags = lock(&self.tags);
        let key = (path.to_owned(), version.to_owned());
        match tags.get(&key) {
            Some(first) => first.clone(),
            None => {
                if !is_digest(version) && tags.len() < MOST_TAGS {
                    tags.insert(key, own.clone());
                }
                own
            }
        }
    }

    /// True for a blob of one of the images.
    pub(super) fn have(&self, digest: &str) -> bool {
        lock(&self.reached)
            .keys()
            .any(|(_, kind, reached)| *kind == Kind::Blob && reached == digest)
    }

    fn place(&self, path: &str, kind: Kind, digest: &str) -> Option<Place> {
        lock(&self.reached).get(&(path.to_owned(), kind, digest.to_owned())).cloned()
    }

    fn add(&self, path: &str, place: &Place, found: Reached) -> Result<(), Refusal> {
        let mut reached = lock(&self.reached);
        let manifests = found.manifests.into_iter().map(|digest| (Kind::Manifest, digest));
        let blobs = found.blobs.into_iter().map(|digest| (Kind::Blob, digest));
        for (kind, digest) in manifests.chain(blobs) {
            let key = (path.to_owned(), kind, digest);
            if reached.len() == MOST_REACHED && !reached.contains_key(&key) {
                return Err(Refusal::denied(format!(
                    "the images of this build have more than {MOST_REACHED} parts"
                )));
            }
            reached.insert(key, place.clone());
        }
        Ok(())
    }
}

impl Found {
    /// The answer with it.
    fn answer(self, method: &Method) -> Response<Body> {
        let length = self.body.len();
        let body = if *method == Method::HEAD { bytes::Bytes::new() } else { self.body };
        let mut answer = whole(StatusCode::OK, body);
        let own = answer.headers_mut();
        own.insert("content-length", length.into());
        if let Some(media_type) = self.media_type {
            own.insert(CONTENT_TYPE, media_type);
        }
        if let Ok(digest) = HeaderValue::try_from(self.digest) {
            own.insert("docker-content-digest", digest);
        }
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unnamed(version: &str) -> Refusal {
    Refusal::denied(format!(
        "{version} is no part of the images that FROM, COPY --from and RUN --mount name"
    ))
}

/// A manifest whose digest is verified.
async fn fetch(
    upstream: &Upstream,
    place: &Place,
    version: &str,
    headers: &HeaderMap,
    others: Others,
) -> Result<Found, Refusal> {
    let session = upstream.pull(place)?;
    let accepted = only(headers, &[ACCEPT]);
    let path = format!("manifests/{version}");
    let missing = "MANIFEST_UNKNOWN";
    let answer = upstream::read(session, &Method::GET, &path, &accepted, missing, others).await?;
    let media_type = answer.headers().get(CONTENT_TYPE).cloned();
    let body = session.read(answer, "manifest", manifest::LIMIT).await;
    let body = body.map_err(|error| refusal(session, &error))?;
    let digest = digest_of(&body);
    if is_digest(version) && digest != version {
        return Err(Refusal::unavailable(format!(
            "registry {} sends a manifest that does not match {version}",
            session.host()
        )));
    }
    Ok(Found { media_type, body: body.into(), digest })
}

/// Streams a blob: all of it is verified, and read on where a connection breaks. What is asked for in part
/// its reader verifies.
pub(super) async fn blob(
    upstream: &Upstream,
    place: &Place,
    method: &Method,
    digest: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let session = upstream.pull(place)?;
    let path = format!("blobs/{digest}");
    let range = only(headers, &[RANGE]);
    let answer =
        upstream::read(session, method, &path, &range, "BLOB_UNKNOWN", Others::None).await?;
    if method != Method::GET || answer.status() != StatusCode::OK {
        return Ok(streamed(answer));
    }
    let mut response = whole(answer.status(), bytes::Bytes::new());
    with_headers(&mut response, answer.headers());
    *response.body_mut() = layer::body(session.clone(), digest, answer);
    Ok(response)
}

/// The answer of a registry, as it comes.
pub(super) fn streamed(answer: reqwest::Response) -> Response<Body> {
    let mut response = whole(answer.status(), bytes::Bytes::new());
    with_headers(&mut response, answer.headers());
    *response.body_mut() = Body::from(answer);
    response
}

/// The headers of a request that go to a registry: none that the client added for itself.
pub(super) fn only(headers: &HeaderMap, names: &[http::HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}
