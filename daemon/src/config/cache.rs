//! The settings of the layer cache, and of how Kaniko makes layers.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{seconds, switch};

/// Longest path of a repository.
const LONGEST: usize = 200;

/// Where layers are cached.
#[derive(Args, Clone, Debug, Default)]
pub struct CacheConfig {
    /// Repository in the registry of built images in which builds of trusted events leave their layers, and
    /// find those of others: "hookd/cache". Default: no layer is cached.
    #[arg(
        id = "build-cache-repository", long = "build-cache-repository", env = "HOOKD_BUILD_CACHE_REPOSITORY",
        value_parser = repository
    )]
    pub repository: Option<String>,

    /// The same for all other events. Default: the one of trusted events with "-untrusted" after it.
    #[arg(
        long = "build-cache-repository-untrusted",
        env = "HOOKD_BUILD_CACHE_REPOSITORY_UNTRUSTED",
        value_parser = repository
    )]
    pub untrusted: Option<String>,

    /// Seconds after which a cached layer is not used for further builds; `hookd gc` deletes it a day
    /// later.
    #[arg(
        id = "build-cache-max-age",
        long = "build-cache-max-age",
        env = "HOOKD_BUILD_CACHE_MAX_AGE_SECONDS",
        default_value = "604800",
        value_parser = seconds
    )]
    pub max_age: Duration,
}

/// How Kaniko makes layers.
#[derive(Args, Clone, Debug)]
pub struct LayerConfig {
    /// Compression of layers: `gzip`, or `zstd`.
    #[arg(
        long = "build-compression",
        env = "HOOKD_BUILD_COMPRESSION",
        value_enum,
        default_value = "gzip",
        ignore_case = true
    )]
    pub compression: Compression,

    /// Keeps a compressed layer in memory while it is pushed: faster, and takes its size in memory.
    #[arg(
        long = "build-compressed-caching", env = "HOOKD_BUILD_COMPRESSED_CACHING",
        default_value = "true", action = clap::ArgAction::Set, value_parser = switch
    )]
    pub compressed_caching: bool,

    /// How Kaniko finds what a command has changed: `full`, by contents; `redo`, by sizes, times, modes and
    /// owners; `time`, by times. The last two are faster, and miss changes.
    #[arg(
        long = "build-snapshot-mode",
        env = "HOOKD_BUILD_SNAPSHOT_MODE",
        value_enum,
        default_value = "full",
        ignore_case = true
    )]
    pub snapshot_mode: SnapshotMode,
}

/// See [`LayerConfig::compression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Of every registry and node.
    Gzip,
    /// Smaller and faster; nodes need containerd 1.5 or CRI-O 1.23.
    Zstd,
}

/// See [`LayerConfig::snapshot_mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotMode {
    /// Contents are compared.
    Full,
    /// Metadata are compared.
    Redo,
    /// Times are compared.
    Time,
}

impl CacheConfig {
    /// The repository for builds of trusted events, or of others; none: nothing is cached.
    pub fn of(&self, is_trusted: bool) -> Option<String> {
        let set = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let trusted = set(&self.repository)?;
        if is_trusted {
            return Some(trusted);
        }
        Some(set(&self.untrusted).unwrap_or_else(|| format!("{trusted}-untrusted")))
    }

    /// All repositories of cached layers.
    pub fn all(&self) -> Vec<String> {
        let mut all: Vec<_> = [true, false].into_iter().filter_map(|one| self.of(one)).collect();
        all.dedup();
        all
    }
}

/// The path of a repository, or nothing.
fn repository(text: &str) -> Result<String, String> {
    let path = text.trim().trim_matches('/');
    let plain = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let is_name = |part: &str| {
        let ends = [part.as_bytes().first(), part.as_bytes().last()];
        part.bytes().all(plain)
            && ends.iter().flatten().all(|end| end.is_ascii_alphanumeric())
            && !part.is_empty()
    };
    if path.is_empty() || (path.len() <= LONGEST && path.split('/').all(is_name)) {
        return Ok(path.to_owned());
    }
    Err("not the path of a repository, such as hookd/cache".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_builds_have_a_repository_of_their_own() {
        let own = |trusted: &str, untrusted: Option<&str>| CacheConfig {
            repository: repository(trusted).ok(),
            untrusted: untrusted.and_then(|name| repository(name).ok()),
            ..CacheConfig::default()
        };
        assert_eq!(own("", Some("b")).all(), Vec::<String>::new());
        assert_eq!(own("hookd/cache", None).all(), ["hookd/cache", "hookd/cache-untrusted"]);
        assert_eq!(own("/a/", Some("b")).all(), ["a", "b"]);
        assert_eq!(own("a", Some("")).of(false).as_deref(), Some("a-untrusted"));
    }

    #[test]
    fn a_repository_is_a_path_without_tag_and_host() {
        for wrong in ["A", "a:b", "a//b", "../a", "-a", "a b", "r.example:5000/a", &"a".repeat(201)]
        {
            assert!(repository(wrong).is_err(), "{wrong}");
        }
    }
}
