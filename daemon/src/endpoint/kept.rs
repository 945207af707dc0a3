//! The image of a build that stays in its container: its configuration is kept, and its layers, which
//! are on the container's root already, are read and dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::answer::{Body, Refusal, whole};
use super::config::EndpointConfig;
use super::manifest;
use super::pull::Pulls;
use super::push::{Sent, accepted};
use super::route::{Item, Push};
use crate::registry::digest::digest_of;

/// Bytes that a configuration may have: those of large images have some 50,000, and a `RUN` may push, too.
const LARGEST: usize = 512 << 10;
/// Bytes that a manifest may have: some 200 for each layer.
const LARGEST_MANIFEST: usize = 256 << 10;
/// Small blobs that are kept until a manifest names one of them; the oldest goes first.
const MOST_BLOBS: usize = 4;
/// Uploads that may be open; the oldest one is forgotten.
const MOST_UPLOADS: usize = 8;

/// What was pushed so far.
#[derive(Debug, Default)]
pub(super) struct Kept {
    state: Mutex<State>,
    /// One manifest at a time is in memory.
    manifests: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The begin of each upload; none: it is too large for a configuration.
    uploads: BTreeMap<u64, Option<Vec<u8>>>,
    /// Blobs that may be the configuration, by their digests.
    blobs: Vec<(String, Bytes)>,
    image: Option<Bytes>,
}

impl Kept {
    /// The configuration of the image that was pushed last.
    pub(super) fn image(&self) -> Option<Bytes> {
        self.lock().image.clone()
    }

    pub(super) async fn serve(
        &self,
        config: &EndpointConfig,
        pulls: &Pulls,
        push: Push,
        sent: Sent,
    ) -> Result<Response<Body>, Refusal> {
        match push {
            // What the base image has need not be sent.
            Push::Read(Item::Blob(digest))
                if sent.method == Method::HEAD && pulls.have(&digest) =>
            {
                Ok(whole(StatusCode::OK, Bytes::new()))
            }
            Push::Read(_) => {
                let message =
                    "a build that stays in its container pushes nothing that it could read";
                Err(Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message))
            }
            Push::Manifest(_) => self.manifest(sent.body).await,
            Push::Open => Ok(accepted(&config.push_path(), self.open(), &HeaderMap::new())),
            Push::Upload(id) => {
                self.upload(id, sent.body).await?;
                Ok(accepted(&config.push_path(), id, &HeaderMap::new()))
            }
            Push::Commit(id, digest) => {
                self.upload(id, sent.body).await?;
                self.commit(id, &digest)
            }
            Push::Cancel(id) => {
                self.lock().uploads.remove(&id);
                Ok(whole(StatusCode::NO_CONTENT, Bytes::new()))
            }
        }
    }

    fn open(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.uploads.insert(id, Some(Vec::new()));
        if state.uploads.len() > MOST_UPLOADS {
            state.uploads.pop_first();
        }
        id
    }

    /// Reads all of a body, and keeps it as long as it may be a configuration's.
    async fn upload(&self, id: u64, mut body: Incoming) -> Result<(), Refusal> {
        let taken = self.lock().uploads.get_mut(&id).map(Option::take);
        let mut begin = taken.ok_or_else(Refusal::unknown_upload)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::malformed("the upload was broken off"))?;
            let Some(data) = frame.data_ref() else { continue };
            begin = begin.filter(|begin| begin.len() + data.len() <= LARGEST);
            begin.iter_mut().for_each(|begin| begin.extend_from_slice(data));
        }
        if let Some(upload) = self.lock().uploads.get_mut(&id) {
            *upload = begin;
        }
        Ok(())
    }

    fn commit(&self, id: u64, digest: &str) -> Result<Response<Body>, Refusal> {
        let mut state = self.lock();
        let upload = state.uploads.remove(&id).ok_or_else(Refusal::unknown_upload)?;
        if let Some(blob) = upload {
            if digest_of(&blob) != digest {
                let message = "the blob does not match its digest";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
            }
            if state.blobs.len() == MOST_BLOBS {
                state.blobs.remove(0);
            }
            state.blobs.push((digest.to_owned(), blob.into()));
        }
        Ok(created(digest))
    }

    async fn manifest(&self, body: Incoming) -> Result<Response<Body>, Refusal> {
        let _alone = self.manifests.lock().await;
        let body = Limited::new(body, LARGEST_MANIFEST).collect().await.map_err(|_| {
            let message = format!("the manifest has more than {LARGEST_MANIFEST} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
        })?;
        let body = body.to_bytes();
        let wanted = manifest::config(&body);
        let mut state = self.lock();
        let named = state.blobs.iter().find(|(digest, _)| Some(digest) == wanted.as_ref());
        let Some((_, image)) = named else {
            let message = format!(
                "the manifest names no configuration that was pushed, of {LARGEST} bytes at most"
            );
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message));
        };
        state.image = Some(image.clone());
        Ok(created(&digest_of(&body)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn created(digest: &str) -> Response<Body> {
    let mut response = whole(StatusCode::CREATED, Bytes::new());
    if let Ok(digest) = HeaderValue::try_from(digest) {
        response.headers_mut().insert("docker-content-digest", digest);
    }
    response
}
