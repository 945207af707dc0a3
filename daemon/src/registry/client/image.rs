//! What a registry says of an image, each document verified against its digest.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::RegistryError;
use super::limits::Limits;
use super::session::Session;
use super::transport::Request;
use crate::registry::digest::{digest_of, is_digest};
use crate::registry::image_config::ImageConfig;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Value of `Accept` for every kind of manifest that is understood.
pub const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
                                  application/vnd.docker.distribution.manifest.list.v2+json, \
                                  application/vnd.oci.image.manifest.v1+json, \
                                  application/vnd.docker.distribution.manifest.v2+json";
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// Manifests and configurations have some kilobytes, and take several times their size when read.
const MAX_DOCUMENT: usize = 1 << 20;
/// Words of a program and a health check.
const MAX_CONFIG: usize = 64 << 10;
/// Memory of a configuration, with its ports: it is remembered.
const MAX_MEMORY: usize = 4 * MAX_CONFIG;
/// Held while a document is parsed: one of 1 MiB can be ten times as large in memory.
static PARSING: Mutex<()> = Mutex::new(());
/// An index may name another, as build tools write them; no more than one within another.
const MAX_INDEXES: usize = 2;

/// What a registry says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Digest of what the reference names: of an index it is the index's.
    pub digest: String,
    /// The configuration of the image for this platform.
    pub config: ImageConfig,
}

/// An index or a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// True for what the container runtime of this machine takes; of variants it is the first that is
    /// on every such machine.
    fn is_ours(&self) -> bool {
        let (architecture, base) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", "v1"),
            "aarch64" => ("arm64", "v8"),
            other => (other, ""),
        };
        let variant = self.variant.as_deref().unwrap_or_default();
        self.os == "linux"
            && self.architecture == architecture
            && (variant.is_empty() || variant == base)
    }
}

/// Digest and configuration of the image with this tag or digest. The digest is that of the bytes which
/// arrived, never one that a header names.
///
/// # Errors
/// See [`RegistryError`].
pub async fn describe(session: &Session, version: &str) -> Result<Description, RegistryError> {
    #[derive(Deserialize)]
    struct File {
        config: Option<ImageConfig>,
    }
    let expected =
        version.contains(':').then(|| Expected { digest: version.to_owned(), size: None });
    let path = format!("manifests/{version}");
    let bytes = fetch(session, &path, "manifest", expected.as_ref()).await?;
    let digest = expected.map_or_else(|| digest_of(&bytes), |expected| expected.digest);
    let mut manifest = parse_manifest(session, &bytes)?;
    for _ in 0..MAX_INDEXES {
        let Some(entries) = manifest.manifests.take() else { break };
        let ours = entries.into_iter().find(is_ours).ok_or_else(|| RegistryError::Invalid {
            host: session.host().to_owned(),
            what: "index: it has no image for this platform",
        })?;
        let path = format!("manifests/{}", ours.digest);
        let bytes = fetch(session, &path, "manifest", Some(&ours.into())).await?;
        manifest = parse_manifest(session, &bytes)?;
    }
    let config = manifest.config.filter(|config| CONFIGS.contains(&config.media_type.as_str()));
    let config = config.ok_or_else(|| invalid(session, "manifest"))?;
    let path = format!("blobs/{}", config.digest);
    let bytes = fetch(session, &path, "configuration", Some(&config.into())).await?;
    let file: File = parse(&bytes).map_err(|_| invalid(session, "configuration"))?;
    let config = file.config.unwrap_or_default();
    if config.size() > MAX_CONFIG || config.memory() > MAX_MEMORY {
        let (host, what, limit) = (session.host().to_owned(), "program", MAX_CONFIG);
        return Err(RegistryError::TooLarge { host, what, limit });
    }
    Ok(Description { digest, config })
}

/// Parses one document at a time.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let _parsing = PARSING.lock().unwrap_or_else(PoisonError::into_inner);
    serde_json::from_slice(bytes)
}

/// An image for this platform, or an index that may have one.
fn is_ours(entry: &Descriptor) -> bool {
    let media_type = entry.media_type.as_str();
    let is_index = [OCI_INDEX, DOCKER_LIST].contains(&media_type);
    let is_manifest = [OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type);
    let platform = entry.platform.as_ref();
    (is_index || is_manifest) && platform.map_or(is_index, Platform::is_ours)
}

/// What a descriptor promises of a document.
struct Expected {
    digest: String,
    size: Option<u64>,
}

impl From<Descriptor> for Expected {
    fn from(descriptor: Descriptor) -> Self {
        Self { digest: descriptor.digest, size: Some(descriptor.size) }
    }
}

/// The document at a path, which is what was expected.
async fn fetch(
    session: &Session,
    path: &str,
    what: &'static str,
    expected: Option<&Expected>,
) -> Result<Vec<u8>, RegistryError> {
    if expected.is_some_and(|expected| !is_digest(&expected.digest)) {
        return Err(invalid(session, "digest"));
    }
    let mut request = Request::new(Method::GET, path);
    request.headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
    let answer = session.send(request).await?;
    if answer.status() != StatusCode::OK {
        let host = session.host().to_owned();
        return Err(RegistryError::Refused { host, status: answer.status() });
    }
    let bytes = session.read(answer, what, MAX_DOCUMENT).await?;
    let Some(expected) = expected else { return Ok(bytes) };
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if expected.size.is_some_and(|expected| expected != size)
        || digest_of(&bytes) != expected.digest
    {
        let (host, expected) = (session.host().to_owned(), expected.digest.clone());
        return Err(RegistryError::DigestMismatch { host, what, expected });
    }
    Ok(bytes)
}

/// An index has no configuration, and a manifest no manifests; a document that is both would be read
/// otherwise by others.
fn parse_manifest(session: &Session, bytes: &[u8]) -> Result<Manifest, RegistryError> {
    let manifest: Manifest = parse(bytes).map_err(|_| invalid(session, "manifest"))?;
    let fits = match manifest.media_type.as_deref() {
        Some(OCI_INDEX | DOCKER_LIST) => manifest.manifests.is_some(),
        Some(OCI_MANIFEST | DOCKER_MANIFEST) => manifest.config.is_some(),
        // OCI lets it be left out.
        None => true,
        Some(_) => false,
    };
    let one = manifest.config.is_some() != manifest.manifests.is_some();
    if manifest.schema_version == 2 && fits && one {
        return Ok(manifest);
    }
    Err(invalid(session, "manifest"))
}

fn invalid(session: &Session, what: &'static str) -> RegistryError {
    RegistryError::Invalid { host: session.host().to_owned(), what }
}

/// The body of an answer, if it is no larger than `limit`.
///
/// # Errors
/// [`RegistryError::TooLarge`]; [`RegistryError::Unreachable`] when the connection breaks;
/// [`RegistryError::Silent`] when nothing more arrives.
pub async fn read_bounded(
    host: &str,
    answer: Response,
    what: &'static str,
    limit: usize,
) -> Result<Vec<u8>, RegistryError> {
    read_within(Limits::default().silence, host, answer, what, limit).await
}

/// As [`read_bounded`], with that wait for the next bytes.
pub(super) async fn read_within(
    silence: Duration,
    host: &str,
    mut answer: Response,
    what: &'static str,
    limit: usize,
) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    loop {
        let piece = next_within(silence, host, &mut answer, what).await?;
        let Some(piece) = piece else { return Ok(body) };
        if body.len() + piece.len() > limit {
            return Err(RegistryError::TooLarge { host: host.to_owned(), what, limit });
        }
        body.extend_from_slice(&piece);
    }
}

/// The next bytes of an answer, which have so much time; none: it has no more.
pub(super) async fn next_within(
    silence: Duration,
    host: &str,
    answer: &mut Response,
    what: &'static str,
) -> Result<Option<Bytes>, RegistryError> {
    let piece = tokio::time::timeout(silence, answer.chunk()).await;
    let piece = piece.map_err(|_| RegistryError::Silent { host: host.to_owned(), what })?;
    piece.map_err(|source| RegistryError::Unreachable {
        host: host.to_owned(),
        source: source.without_url(),
    })
}

/// As [`read_bounded`], read as JSON.
pub(super) async fn read_json<T: DeserializeOwned>(
    host: &str,
    answer: Response,
    what: &'static str,
    limit: usize,
) -> Result<T, RegistryError> {
    let body = read_bounded(host, answer, what, limit).await?;
    parse(&body).map_err(|_| RegistryError::Invalid { host: host.to_owned(), what })
}
