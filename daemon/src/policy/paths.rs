//! Patterns for what is mounted, and where.

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::registry::pattern::matches_path;

/// A name of a volume, or an absolute path: `*` stands for any letters of a name or of a part of a path, a last
/// part `**` for any path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(try_from = "String")]
pub(super) struct PathPattern(String);

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = text.strip_prefix('/');
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        let is_valid = match path {
            Some(path) => path.split('/').all(is_plain),
            None => is_plain(&text) && !text.contains('/') && text != "**",
        };
        match is_valid {
            true => Ok(Self(text)),
            false => Err(format!(
                "{text:?} is no pattern for volumes: one is a name, or an absolute path without \".\", \
                 \"..\" and doubled slashes"
            )),
        }
    }
}

impl PathPattern {
    /// True for this name, or absolute path.
    pub(super) fn allows(&self, text: &str) -> bool {
        self.0.starts_with('/') == text.starts_with('/') && matches_path(&self.0, text)
    }
}
