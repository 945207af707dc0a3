//! What a manifest of an image, or an index of manifests, names. Who reads one for its contents checks its
//! digest before.

use serde::Deserialize;

mod strict;

pub use strict::check;

/// Bytes that a manifest may have: as much as registries accept.
pub const LIMIT: usize = 4 << 20;

/// A manifest or an index; what another kind of document has, it has not.
#[derive(Debug, Default, Deserialize)]
pub struct Document {
    /// Of a manifest: its configuration.
    pub config: Option<Descriptor>,
    /// Of a manifest: its layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Of an index: its manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// One of the things that a manifest names.
#[derive(Clone, Debug, Deserialize)]
pub struct Descriptor {
    /// As it was written: any text.
    pub digest: String,
    /// In bytes, as it is transferred; 0 if it is not written.
    #[serde(default)]
    pub size: u64,
}

impl Document {
    /// Reads one.
    ///
    /// # Errors
    /// The bytes are no JSON of that form.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The configuration and the layers.
    pub fn blobs(self) -> impl Iterator<Item = Descriptor> {
        self.config.into_iter().chain(self.layers)
    }
}
