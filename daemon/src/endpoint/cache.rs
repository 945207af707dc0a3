//! The repository of cached layers, under the names that this build gives them.
//!
//! Kaniko names a layer by a hash of the instructions and files before it, which says nothing of the names
//! of files in directories, nor of the builder. So the endpoint adds both, and the end of the entry, as
//! `hookd gc` reads it.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::{AllowedImage, Place};
use crate::registry::built_tags;

/// First component of the repository under which it is served.
const CACHE: &str = "cache";
/// Digits of Kaniko's names.
const NAME: usize = 64;

/// Where a build finds layers, and leaves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerCache {
    /// The repository.
    pub place: Place,
    /// What all builds that may share layers have in common, in hexadecimal digits.
    pub scope: String,
    /// Seconds for which an entry is found, at most.
    pub max_age: u64,
}

impl LayerCache {
    /// The repository as it is served. It names the registry's own, so that an image is never taken for
    /// one that was built with another cache.
    pub(super) fn path(&self) -> String {
        format!("{CACHE}/{}", self.place.repository)
    }

    /// The tag in the registry of a layer that Kaniko names so; none: it is no such name.
    pub(super) fn tag(&self, name: &str, now: Timestamp) -> Option<String> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if name.len() != NAME || !name.bytes().all(is_hex) {
            return None;
        }
        let mut hex = String::new();
        for byte in Sha256::digest(format!("{}/{name}", self.scope)) {
            // To a string it cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Some(built_tags::of_layer(&hex, now, Duration::from_secs(self.max_age)))
    }

    /// The entry with this tag, to be pulled.
    pub(super) fn entry(&self, tag: &str) -> AllowedImage {
        AllowedImage {
            registry: self.place.registry.clone(),
            path: self.path(),
            version: tag.to_owned(),
            digest: None,
            sources: vec![self.place.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(scope: &str) -> LayerCache {
        let place = Place { registry: "r".into(), repository: "hookd/cache".into() };
        LayerCache { place, scope: scope.into(), max_age: 3600 }
    }

    #[test]
    fn an_entry_is_found_in_its_scope_until_its_end() {
        let (now, name) = (Timestamp::from_second(1_800_000_000).unwrap(), "3f".repeat(32));
        let tag = cache("a").tag(&name, now).unwrap();
        let end = built_tags::read(&tag).unwrap().end;
        assert!(tag.starts_with("layer_") && end > now && tag.len() <= 128, "{tag}");
        assert_eq!(
            cache("a").tag(&name, end - jiff::SignedDuration::from_secs(1)),
            Some(tag.clone())
        );
        assert_ne!(cache("a").tag(&name, end), Some(tag.clone()));
        assert_ne!(cache("b").tag(&name, now), Some(tag.clone()));
        assert_ne!(cache("a").tag(&"3e".repeat(32), now), Some(tag));
        for other in ["latest", "3f", &name.to_uppercase(), &format!("key_{name}_1")] {
            assert_eq!(cache("a").tag(other, now), None, "{other}");
        }
    }
}
