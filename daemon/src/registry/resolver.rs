//! What a registry reports about an image before it runs: its program, and its health check.
//!
//! A step runs without it, too. What cannot be looked up within a moment (a registry that only
//! nodes reach, credentials that only nodes have) is left to the kubelet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::RegistryConfig;
use crate::error::report;
use crate::registry::client::{Access, Description, RegistryClient, RegistryError, describe};
use crate::registry::credentials::Credentials;
use crate::registry::image_config::ImageConfig;
use crate::registry::mirrors::Mirrors;
use crate::registry::reference::Reference;

/// Time limit for one lookup of an image.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// For so long a registry that did not answer is not asked again; each further time for four times as
/// long, up to the longest.
const UNREACHABLE: Duration = Duration::from_secs(30);
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(600);

/// Images and registries that are remembered. A job has a handful; a client may name any number.
const MAX_KNOWN: usize = 128;
/// Bytes of what is remembered of all images.
const MAX_REMEMBERED: usize = 1 << 20;
/// Images that are asked for at the same time.
const MAX_REQUESTS: usize = 3;
/// Users that are tried for one image.
const MAX_USERS: usize = 5;

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The image as a pod is to name it: with the digest that was verified.
    pub reference: String,
    /// What it runs.
    pub config: ImageConfig,
}

/// Asks registries; remembers their answers for the job.
#[derive(Debug)]
pub struct ImageResolver {
    sources: Mirrors,
    known: Mutex<ClusterInfo>,
    unreachable: Mutex<HashMap<String, UnreachableBackoff>>,
    slots: Semaphore,
}

/// The images that registries have described.
#[derive(Debug, Default)]
struct ClusterInfo {
    /// By the image, and by the container's own credentials: another container may not know it.
    images: HashMap<(String, Vec<Credentials>), Arc<ImageInfo>>,
    bytes: usize,
}

impl ClusterInfo {
    /// Forgets the others if there are too many, or they are too large.
    fn add(&mut self, key: (String, Vec<Credentials>), info: Arc<ImageInfo>) {
        let bytes = key.0.len() + info.reference.len() + info.config.memory();
        if self.images.len() >= MAX_KNOWN || self.bytes + bytes > MAX_REMEMBERED {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.images.insert(key, info);
    }
}

/// A registry that did not answer.
#[derive(Clone, Copy, Debug)]
struct UnreachableBackoff {
    until: Instant,
    length: Duration,
}

impl UnreachableBackoff {
    fn after(before: Option<&Self>) -> Self {
        let length =
            before.map_or(UNREACHABLE, |before| before.length * 4).min(LONGEST_UNREACHABLE);
        Self { until: Instant::now() + length, length }
    }
}

impl ImageResolver {
    /// Nothing is known yet.
    pub fn new(registry: &RegistryConfig) -> Self {
        Self {
            sources: Mirrors::new(registry),
            known: Mutex::default(),
            unreachable: Mutex::default(),
            slots: Semaphore::new(MAX_REQUESTS),
        }
    }

    /// What a registry reports about the image; `own` are the credentials of the container that is
    /// to run it, which are tried before those that all pods share.
    pub async fn find(
        &self,
        client: &RegistryClient,
        image: &str,
        own: &[Credentials],
        shared: &[Credentials],
    ) -> Option<Arc<ImageInfo>> {
        let key = (image.to_owned(), own.to_vec());
        if let Some(known) = lock(&self.known).images.get(&key) {
            return Some(known.clone());
        }
        let reference: Reference = image.parse().ok()?;
        // Answers take memory while they are read.
        let _slot = self.slots.acquire().await.ok()?;
        for source in self.sources.of(&reference) {
            let host = &source.registry;
            let silent = lock(&self.unreachable).get(host).copied();
            if silent.is_some_and(|silence| Instant::now() < silence.until) {
                continue;
            }
            let answer = ask(client, &source, own, shared);
            let answer = tokio::time::timeout(LOOKUP_TIMEOUT, answer).await;
            match answer.unwrap_or_else(|_| Err(RegistryError::Timeout { host: host.clone() })) {
                Ok(Description { digest, config }) => {
                    let reference = at_digest(image, &digest);
                    let info = Arc::new(ImageInfo { reference, config });
                    lock(&self.known).add(key, info.clone());
                    return Some(info);
                }
                Err(error) => self.note(image, host, &error),
            }
        }
        None
    }

    fn note(&self, image: &str, host: &str, error: &RegistryError) {
        tracing::info!(image, host, error = report(error), "image not looked up");
        if error.is_no_answer() {
            let mut silences = lock(&self.unreachable);
            let silence = UnreachableBackoff::after(silences.get(host));
            if silences.len() >= MAX_KNOWN {
                silences.clear();
            }
            silences.insert(host.to_owned(), silence);
        }
    }
}

/// Asks with each of the credentials that count for the image, as the kubelet does, until the registry
/// shows it to one; without any if there are none.
async fn ask(
    client: &RegistryClient,
    image: &Reference,
    own: &[Credentials],
    shared: &[Credentials],
) -> Result<Description, RegistryError> {
    let (host, repository) = (&image.registry, &image.repository);
    let own = Credentials::matching(own, host, repository);
    let shared = Credentials::matching(shared, host, repository);
    let mut users: Vec<_> = own.into_iter().chain(shared).cloned().map(Some).collect();
    users.truncate(MAX_USERS);
    let last = if users.is_empty() { None } else { users.pop().flatten() };
    for user in users {
        let session = client.session(host, repository, user, Access::Pull)?;
        match describe(&session, &image.version).await {
            Err(RegistryError::Refused { status, .. }) if is_denied(status) => {}
            answer => return answer,
        }
    }
    let session = client.session(host, repository, last, Access::Pull)?;
    describe(&session, &image.version).await
}

/// The registry does not show the image to this user; some say that it does not exist.
fn is_denied(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}

/// The image under the name that its user gave it, with the digest that decides.
fn at_digest(image: &str, digest: &str) -> String {
    if image.contains('@') { image.to_owned() } else { format!("{image}@{digest}") }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
