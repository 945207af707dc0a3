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

/// How the program of an image starts, where no container runtime has read it: of an image that was built
/// in its container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ProcessConfig {
    /// ENV: `NAME=value`.
    #[serde(deserialize_with = "words")]
    env: Option<Vec<String>>,
    /// USER; empty: root.
    #[serde(deserialize_with = "text")]
    pub user: String,
    /// WORKDIR; empty: `/`.
    #[serde(deserialize_with = "text")]
    pub working_dir: String,
}

impl ProcessConfig {
    /// The variables of ENV.
    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = self.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

/// The configuration of an image that was built, as its builder has written it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltConfig {
    /// Which program the image has.
    pub image: ImageConfig,
    /// How it starts.
    pub process: ProcessConfig,
}

impl BuiltConfig {
    /// Reads the document that an image's manifest names.
    ///
    /// # Errors
    /// What is no configuration of an image.
    pub fn read(document: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document<T> {
            config: Option<T>,
        }
        let image: Document<ImageConfig> = serde_json::from_slice(document)?;
        let process: Document<ProcessConfig> = serde_json::from_slice(document)?;
        Ok(Self {
            image: image.config.unwrap_or_default(),
            process: process.config.unwrap_or_default(),
        })
    }
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

/// A text; null is an empty one.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_builder_wrote_says_which_program_starts_and_how() {
        let document =
            br#"{"architecture": "amd64", "config": {"Env": ["A=b=c", "D="], "Cmd": null,
            "Entrypoint": ["/x"], "User": "app:web", "WorkingDir": "/srv"}, "rootfs": {}}"#;
        let built = BuiltConfig::read(document).unwrap();
        assert_eq!(built.image.command(None, &[]), Some(vec!["/x".to_owned()]));
        assert_eq!((&*built.process.user, &*built.process.working_dir), ("app:web", "/srv"));
        let environment: Vec<_> = built.process.environment().collect();
        assert_eq!(environment, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
        for empty in ["{}", r#"{"config": null}"#, r#"{"config": {"User": null}}"#] {
            assert_eq!(BuiltConfig::read(empty.as_bytes()).unwrap(), BuiltConfig::default());
        }
        assert!(BuiltConfig::read(b"[]").is_err());
    }
}
