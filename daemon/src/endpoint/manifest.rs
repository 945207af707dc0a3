//! What a manifest makes reachable.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::route::is_digest;

/// Bytes that a manifest may have: as much as registries accept.
pub(super) const LIMIT: usize = 4 << 20;

/// Digests that a manifest names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Of an index: its manifests.
    pub(super) manifests: Vec<String>,
    /// Of a manifest: its configuration and layers.
    pub(super) blobs: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// What the manifest names; nothing if it is none.
pub(super) fn reached(manifest: &[u8]) -> Reached {
    let Ok(document) = serde_json::from_slice::<Document>(manifest) else {
        return Reached::default();
    };
    let digests = |all: Vec<Descriptor>| {
        let digests = all.into_iter().map(|one| one.digest);
        digests.filter(|digest| is_digest(digest)).collect()
    };
    let blobs = document.config.into_iter().chain(document.layers).collect();
    Reached { manifests: digests(document.manifests), blobs: digests(blobs) }
}

/// The digest of the configuration that a manifest names; none: it is no manifest of an image.
pub(super) fn config(manifest: &[u8]) -> Option<String> {
    let document: Document = serde_json::from_slice(manifest).ok()?;
    document.config.map(|config| config.digest).filter(|digest| is_digest(digest))
}

/// The digest of these bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
