//! What a manifest makes reachable.

use crate::registry::digest::is_digest;
use crate::registry::manifest::{Descriptor, Document};

/// Digests that a manifest names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Of an index: its manifests.
    pub(super) manifests: Vec<String>,
    /// Of a manifest: its configuration and layers.
    pub(super) blobs: Vec<String>,
}

/// What the manifest names; nothing if it is none.
pub(super) fn reached(manifest: &[u8]) -> Reached {
    let mut document = Document::parse(manifest).unwrap_or_default();
    let manifests = digests(std::mem::take(&mut document.manifests).into_iter());
    Reached { manifests, blobs: digests(document.blobs()) }
}

fn digests(named: impl Iterator<Item = Descriptor>) -> Vec<String> {
    named.map(|one| one.digest).filter(|digest| is_digest(digest)).collect()
}

/// The digest of the configuration that a manifest names; none: it is no manifest of an image.
pub(super) fn config(manifest: &[u8]) -> Option<String> {
    let config = Document::parse(manifest).ok()?.config?;
    is_digest(&config.digest).then_some(config.digest)
}
