//! The part of an image's configuration that hookd needs.

use serde::{Deserialize, Serialize};

mod bounded;

use bounded::{keys, number, words};

/// What a word takes besides its bytes.
const STRING: usize = 56;

/// The part of an image's configuration that hookd needs; null means empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    #[serde(deserialize_with = "words")]
    entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    cmd: Option<Vec<String>>,
    /// HEALTHCHECK; docker's extension, which OCI configurations may have too.
    pub healthcheck: Option<Healthcheck>,
    /// SHELL, in which health commands run; none: `/bin/sh -c`.
    #[serde(skip_serializing, deserialize_with = "words")]
    pub shell: Option<Vec<String>>,
    /// EXPOSE: "6379/tcp" and the like.
    #[serde(skip_serializing, deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
}

/// HEALTHCHECK of an image; times in nanoseconds, 0 or absent: docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// ["NONE"], ["CMD", program, arguments...] or ["CMD-SHELL", command].
    #[serde(deserialize_with = "test")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(deserialize_with = "number")]
    pub interval: u64,
    /// For one check.
    #[serde(deserialize_with = "number")]
    pub timeout: u64,
    /// While it lasts, failures do not count.
    #[serde(deserialize_with = "number")]
    pub start_period: u64,
    /// Between two checks while the start period lasts.
    #[serde(deserialize_with = "number")]
    pub start_interval: u64,
    /// Failures in a row.
    #[serde(deserialize_with = "number")]
    pub retries: u32,
}

/// As [`words`]; null is no word.
fn test<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    words(from).map(Option::unwrap_or_default)
}

impl ImageConfig {
    /// What docker runs: the entrypoint (the step's if set, or the image's) with the step's
    /// arguments, or without any with the image's CMD if the entrypoint is the image's too. None:
    /// the image names no program.
    pub fn command(&self, entry_point: Option<&str>, args: &[String]) -> Option<Vec<String>> {
        let own = || self.entrypoint.clone().unwrap_or_default();
        let mut command = entry_point.map_or_else(own, |program| vec![program.to_owned()]);
        match (entry_point, args) {
            (None, []) => command.extend(self.cmd.iter().flatten().cloned()),
            (_, args) => command.extend_from_slice(args),
        }
        command.first().is_some_and(|program| !program.is_empty()).then_some(command)
    }

    /// Bytes of all its words: they go into cursors, and to the kernel as arguments.
    pub fn size(&self) -> usize {
        let health = self.healthcheck.as_ref().map(|health| &health.test);
        let words = [self.entrypoint.as_ref(), self.cmd.as_ref(), health].into_iter().flatten();
        words.flatten().map(|word| word.len() + 1).sum()
    }

    /// Bytes of memory that all of it takes, about.
    pub fn memory(&self) -> usize {
        let health = self.healthcheck.as_ref().map(|health| &health.test);
        let lists = [self.entrypoint.as_ref(), self.cmd.as_ref(), self.shell.as_ref(), health];
        let words = lists.into_iter().flatten().chain([&self.exposed_ports]).flatten();
        words.map(|word| word.len() + STRING).sum()
    }
}
