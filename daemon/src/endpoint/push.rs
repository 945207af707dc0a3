//! What is pushed: blobs and manifests for one repository, the image's or that of cached layers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answer::{Body, Refusal, whole, with_headers};
use super::config::EndpointConfig;
use super::pull::{only, streamed};
use super::route::{Item, Push};
use super::upstream::{self, Others, refusal, refused};
use crate::registry::client::{RegistryError, Request, Session, Target, origin};
use crate::registry::digest::{digest_of, is_digest};
use crate::registry::manifest;

/// Uploads that may be open; the oldest one is forgotten.
const MOST_UPLOADS: usize = 64;
/// Digests that are remembered as pushed.
const MOST_PUSHED: usize = 10_000;
/// Tags that one build may set: `hookd gc` lists no repository of more than 100,000.
pub(super) const MOST_TAGS: usize = 1000;

/// What this build has pushed so far.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    /// The repository, as it is named to the endpoint.
    path: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Where the registry wants the rest of each upload.
    uploads: BTreeMap<u64, String>,
    blobs: HashSet<String>,
    /// Digests, and the tag.
    manifests: HashSet<String>,
    /// The tags of these that were asked for.
    tags: HashSet<String>,
}

/// What a request has beside its route.
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
}

impl Pushes {
    /// Into the repository that is named so.
    pub(super) fn new(path: String) -> Self {
        Self { path, state: Mutex::default() }
    }

    pub(super) async fn serve(
        &self,
        config: &EndpointConfig,
        session: &Session,
        push: Push,
        sent: Sent,
    ) -> Result<Response<Body>, Refusal> {
        match push {
            Push::Read(item) => self.read(session, &item, &sent).await,
            Push::Manifest(version) => self.manifest(session, &version, sent).await,
            Push::Open => self.open(config, session).await,
            Push::Upload(id) => self.upload(config, session, id, sent).await,
            Push::Commit(id, digest) => self.commit(session, id, &digest, sent).await,
            Push::Cancel(id) => self.cancel(session, id).await,
        }
    }

    /// HEAD of anything in the repository: it says whether an upload is needed. GET of what this
    /// build has pushed.
    async fn read(
        &self,
        session: &Session,
        item: &Item,
        sent: &Sent,
    ) -> Result<Response<Body>, Refusal> {
        let (path, missing) = match item {
            Item::Manifest(version) => (format!("manifests/{version}"), "MANIFEST_UNKNOWN"),
            Item::Blob(digest) => (format!("blobs/{digest}"), "BLOB_UNKNOWN"),
        };
        if sent.method == Method::GET && !self.has_pushed(item) {
            return Err(Refusal::denied("a build may read what it has pushed itself, no more"));
        }
        let headers = only(&sent.headers, &[http::header::ACCEPT]);
        let answer =
            upstream::read(session, &sent.method, &path, &headers, missing, Others::None).await;
        match answer {
            Ok(answer) => {
                let digest = answer.headers().get("docker-content-digest").cloned();
                let mut response = streamed(answer);
                if let Some(digest) = digest {
                    response.headers_mut().insert("docker-content-digest", digest);
                }
                Ok(response)
            }
            // An answer to HEAD has no message: the upload that follows it fails with one.
            Err(refusal) if sent.method == Method::HEAD => {
                tracing::info!(path, error = refusal.message, "not found in the push repository");
                Err(Refusal::new(StatusCode::NOT_FOUND, missing, refusal.message))
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn manifest(
        &self,
        session: &Session,
        version: &str,
        sent: Sent,
    ) -> Result<Response<Body>, Refusal> {
        let body = Limited::new(sent.body, manifest::LIMIT).collect().await.map_err(|_| {
            let message = format!("the manifest has more than {} bytes", manifest::LIMIT);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
        })?;
        let body = body.to_bytes();
        let digest = digest_of(&body);
        if is_digest(version) && version != digest {
            let message = "the manifest does not match its digest";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
        }
        manifest::check(&body).map_err(|error| {
            let message = format!("the registry may fail to read this manifest: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
        })?;
        self.name(version)?;
        let headers = only(&sent.headers, &[CONTENT_TYPE]);
        let request = || Request {
            method: Method::PUT,
            target: Target::Path(format!("manifests/{version}")),
            headers: headers.clone(),
            body: Some(body.clone().into()),
        };
        let answer = send_again(session, request, "MANIFEST_UNKNOWN").await?;
        let mut state = self.lock();
        if state.manifests.len() < MOST_PUSHED {
            state.manifests.extend([version.to_owned(), digest.clone()]);
        }
        drop(state);
        Ok(taken(answer.status(), &digest))
    }

    async fn open(
        &self,
        config: &EndpointConfig,
        session: &Session,
    ) -> Result<Response<Body>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", 0.into());
        let request =
            || Request { headers: headers.clone(), ..Request::new(Method::POST, "blobs/uploads/") };
        let answer = send_again(session, request, "NAME_UNKNOWN").await?;
        let place = location(config, session, &answer, None)?;
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.uploads.insert(id, place);
        if state.uploads.len() > MOST_UPLOADS {
            state.uploads.pop_first();
        }
        drop(state);
        Ok(accepted(&self.path, id, answer.headers()))
    }

    async fn upload(
        &self,
        config: &EndpointConfig,
        session: &Session,
        id: u64,
        sent: Sent,
    ) -> Result<Response<Body>, Refusal> {
        let place = self.place(id)?;
        let request = Request {
            method: Method::PATCH,
            target: Target::Location(place.clone()),
            headers: only(&sent.headers, &[CONTENT_TYPE, CONTENT_RANGE]),
            body: Some(Body::wrap(sent.body)),
        };
        let answer = send(session, request, "BLOB_UPLOAD_UNKNOWN").await?;
        let next = location(config, session, &answer, Some(place))?;
        if let Some(place) = self.lock().uploads.get_mut(&id) {
            *place = next;
        }
        Ok(accepted(&self.path, id, answer.headers()))
    }

    async fn commit(
        &self,
        session: &Session,
        id: u64,
        digest: &str,
        sent: Sent,
    ) -> Result<Response<Body>, Refusal> {
        let mut place = self.place(id)?;
        place.push(if place.contains('?') { '&' } else { '?' });
        place.push_str("digest=");
        place.push_str(&digest.replace(':', "%3A"));
        let request = Request {
            method: Method::PUT,
            target: Target::Location(place),
            headers: only(&sent.headers, &[CONTENT_TYPE, CONTENT_RANGE]),
            // Streamed, even if it is empty: so the session waits for as long as a registry may take to
            // put a large blob in its place.
            body: Some(Body::wrap(sent.body)),
        };
        let answer = send(session, request, "BLOB_UPLOAD_UNKNOWN").await?;
        let mut state = self.lock();
        state.uploads.remove(&id);
        if state.blobs.len() < MOST_PUSHED {
            state.blobs.insert(digest.to_owned());
        }
        drop(state);
        Ok(taken(answer.status(), digest))
    }

    /// Kaniko opens an upload to see whether it may, and gives it up again.
    async fn cancel(&self, session: &Session, id: u64) -> Result<Response<Body>, Refusal> {
        let place = self.place(id)?;
        self.lock().uploads.remove(&id);
        let target = Target::Location(place);
        let request = Request { target, ..Request::new(Method::DELETE, "") };
        let answer = send(session, request, "BLOB_UPLOAD_UNKNOWN").await?;
        Ok(whole(answer.status(), Default::default()))
    }

    /// Counts what a manifest is pushed as: a digest, or one of not too many tags.
    pub(super) fn name(&self, version: &str) -> Result<(), Refusal> {
        let mut state = self.lock();
        if is_digest(version) || state.tags.contains(version) {
            return Ok(());
        }
        if state.tags.len() >= MOST_TAGS {
            let message = format!("a build may set {MOST_TAGS} tags, no more");
            return Err(Refusal::denied(message));
        }
        state.tags.insert(version.to_owned());
        Ok(())
    }

    fn has_pushed(&self, item: &Item) -> bool {
        let state = self.lock();
        match item {
            Item::Manifest(version) => state.manifests.contains(version),
            Item::Blob(digest) => state.blobs.contains(digest),
        }
    }

    fn place(&self, id: u64) -> Result<String, Refusal> {
        self.lock().uploads.get(&id).cloned().ok_or_else(Refusal::unknown_upload)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(
    session: &Session,
    request: Request,
    missing: &str,
) -> Result<reqwest::Response, Refusal> {
    success(session, session.send(request).await, missing).await
}

/// As [`send`], of what may be sent again.
async fn send_again(
    session: &Session,
    request: impl Fn() -> Request,
    missing: &str,
) -> Result<reqwest::Response, Refusal> {
    // What fails by itself, such as full storage, Kaniko repeats, and all of the push.
    let is_away = |status: &StatusCode| matches!(status.as_u16(), 502..=504);
    let answer = upstream::repeated(session, is_away, Others::None, request).await;
    success(session, answer, missing).await
}

async fn success(
    session: &Session,
    sent: Result<reqwest::Response, RegistryError>,
    missing: &str,
) -> Result<reqwest::Response, Refusal> {
    let answer = sent.map_err(|error| refusal(session, &error))?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        _ => Err(refused(session, answer, missing).await),
    }
}

/// Where the registry wants the rest of an upload: on its own host, or nowhere.
fn location(
    config: &EndpointConfig,
    session: &Session,
    answer: &reqwest::Response,
    before: Option<String>,
) -> Result<String, Refusal> {
    let host = session.host();
    let invalid = || {
        Refusal::unavailable(format!("registry {host} sends uploads to where hookd sends nothing"))
    };
    let header = answer.headers().get(LOCATION).map(|value| value.to_str().map(str::to_owned));
    let text = match header {
        Some(text) => text.map_err(|_| invalid())?,
        None => before.ok_or_else(invalid)?,
    };
    let own = origin(host, &config.insecure).map_err(|_| invalid())?;
    let mut url = answer.url().join(&text).map_err(|_| invalid())?;
    // A registry behind a proxy that ends TLS may not know that it is spoken to by HTTPS.
    if url.scheme() == "http" && own.scheme() == "https" && url.port().is_none() {
        let _ = url.set_scheme("https");
    }
    if url.origin() != own.origin() {
        return Err(invalid());
    }
    url.set_fragment(None);
    Ok(url.into())
}

/// The answer to what the registry has taken.
fn taken(status: StatusCode, digest: &str) -> Response<Body> {
    let mut response = whole(status, Default::default());
    if let Ok(digest) = HeaderValue::try_from(digest) {
        response.headers_mut().insert("docker-content-digest", digest);
    }
    response
}

/// An upload goes on at the endpoint.
pub(super) fn accepted(path: &str, id: u64, headers: &HeaderMap) -> Response<Body> {
    let mut response = whole(StatusCode::ACCEPTED, Default::default());
    with_headers(&mut response, &only(headers, &[http::header::RANGE]));
    let place = format!("/v2/{path}/blobs/uploads/{id}");
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}
