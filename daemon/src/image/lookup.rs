//! What a registry tells of an image before it runs: its program, and its health check.
//!
//! No step fails for want of it. What cannot be learnt within a moment (a registry that only nodes
//! reach, credentials that only nodes have) is left to the kubelet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::RegistryConfig;
use crate::error::report;
use crate::image::credentials::Credentials;
use crate::image::distribution::{
    Access, ClientOptions, Description, RegistryClient, RegistryError, describe,
};
use crate::image::reference::Reference;
use crate::image::sources::Sources;

/// An image waits for no longer for what is known of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// For so long a registry that did not answer is not asked again; each further time for four times as
/// long, up to the longest.
const UNREACHABLE: Duration = Duration::from_secs(30);
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(600);

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The image as a pod is to name it: with its digest, if the registry of its name told it.
    pub reference: String,
    /// What it runs.
    pub config: ImageConfig,
}

/// The part of an image's configuration that hookd needs; null means empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    /// HEALTHCHECK; docker's extension, which OCI configurations may have too.
    pub healthcheck: Option<Healthcheck>,
    /// SHELL, in which health commands run; none: `/bin/sh -c`.
    #[serde(skip_serializing)]
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

/// A number that an image has written: no more than 32 or 63 bits, and 0 if it is none.
fn number<'de, D: serde::Deserializer<'de>, N: TryFrom<i64> + Default>(
    from: D,
) -> Result<N, D::Error> {
    let written = serde_json::Value::deserialize(from)?;
    // `as` stops at the ends of the range.
    let number = written.as_i64().or(written.as_f64().map(|number| number as i64));
    let number = number.unwrap_or_default();
    let fits =
        [number, i64::from(u32::MAX)].into_iter().find_map(|number| N::try_from(number).ok());
    Ok(fits.filter(|_| number > 0).unwrap_or_default())
}

/// The keys of an object; null is an empty one.
fn keys<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let object = Option::<HashMap<String, serde::de::IgnoredAny>>::deserialize(from)?;
    Ok(object.unwrap_or_default().into_keys().collect())
}

/// Asks registries; remembers their answers for the job.
#[derive(Debug)]
pub struct Lookup {
    sources: Sources,
    /// None: it could not be made.
    client: Option<RegistryClient>,
    known: Mutex<HashMap<String, Arc<ImageInfo>>>,
    unreachable: Mutex<HashMap<String, Silence>>,
}

/// A registry that did not answer.
#[derive(Clone, Copy, Debug)]
struct Silence {
    until: Instant,
    length: Duration,
}

impl Silence {
    fn after(before: Option<&Self>) -> Self {
        let length =
            before.map_or(UNREACHABLE, |before| before.length * 4).min(LONGEST_UNREACHABLE);
        Self { until: Instant::now() + length, length }
    }
}

impl ImageConfig {
    /// What docker runs: the entrypoint (the step's, or else the image's) with the step's arguments,
    /// or without any with the image's CMD if the entrypoint is the image's too. None: the image
    /// names no program.
    pub fn command(&self, entry_point: Option<&str>, args: &[String]) -> Option<Vec<String>> {
        let own = || self.entrypoint.clone().unwrap_or_default();
        let mut command = entry_point.map_or_else(own, |program| vec![program.to_owned()]);
        match (entry_point, args) {
            (None, []) => command.extend(self.cmd.iter().flatten().cloned()),
            (_, args) => command.extend_from_slice(args),
        }
        command.first().is_some_and(|program| !program.is_empty()).then_some(command)
    }
}

impl Lookup {
    /// Nothing is known yet.
    pub fn new(registry: &RegistryConfig) -> Self {
        let sources = Sources::new(registry);
        let options = ClientOptions { insecure: sources.insecure().to_vec(), authority: None };
        let client = RegistryClient::new(&options);
        let client = client.inspect_err(|error| {
            tracing::warn!(error = report(error), "registries cannot be asked for images");
        });
        Self {
            sources,
            client: client.ok(),
            known: Mutex::default(),
            unreachable: Mutex::default(),
        }
    }

    /// What a registry tells of the image; `credentials` are those of the pod that is to run it.
    pub async fn find(&self, image: &str, credentials: &[Credentials]) -> Option<Arc<ImageInfo>> {
        if let Some(known) = lock(&self.known).get(image) {
            return Some(known.clone());
        }
        let reference: Reference = image.parse().ok()?;
        for source in self.sources.of(&reference) {
            let host = &source.reference.registry;
            if lock(&self.unreachable)
                .get(host)
                .is_some_and(|silence| Instant::now() < silence.until)
            {
                continue;
            }
            let credentials = Credentials::find(credentials, host);
            let asked = self.ask(&source.reference, credentials);
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            match answer.unwrap_or_else(|_| Err(RegistryError::Timeout { host: host.clone() })) {
                Ok(Description { digest, config }) => {
                    // Another registry may have another image of that name.
                    let reference =
                        if source.same { at_digest(image, &digest) } else { image.to_owned() };
                    let info = Arc::new(ImageInfo { reference, config });
                    lock(&self.known).insert(image.to_owned(), info.clone());
                    return Some(info);
                }
                Err(error) => {
                    tracing::info!(image, host, error = report(&error), "image not looked up");
                    if error.is_no_answer() {
                        let mut silences = lock(&self.unreachable);
                        let silence = Silence::after(silences.get(host));
                        silences.insert(host.clone(), silence);
                    }
                }
            }
        }
        None
    }

    async fn ask(
        &self,
        image: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Description, RegistryError> {
        let host = &image.registry;
        let no_client = || RegistryError::Timeout { host: host.clone() };
        let client = self.client.as_ref().ok_or_else(no_client)?;
        let session =
            client.session(host, &image.repository, credentials.cloned(), Access::Pull)?;
        describe(&session, &image.version).await
    }
}

/// The image under the name that its user gave it, with the digest that decides.
fn at_digest(image: &str, digest: &str) -> String {
    if image.contains('@') { image.to_owned() } else { format!("{image}@{digest}") }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> ImageConfig {
        serde_json::from_str(json).unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_cmd_and_arguments_meet_as_in_docker() {
        let both = config(r#"{"Entrypoint":["run","it"],"Cmd":["by","default"]}"#);
        let command = |config: &ImageConfig, entry, args| config.command(entry, &words(args));
        assert_eq!(command(&both, None, ""), Some(words("run it by default")));
        assert_eq!(command(&both, None, "a b"), Some(words("run it a b")));
        // An entrypoint of one's own drops the image's CMD.
        assert_eq!(command(&both, Some("/x"), ""), Some(words("/x")));
        assert_eq!(command(&both, Some("/x"), "a"), Some(words("/x a")));
        let cmd = config(r#"{"Entrypoint":null,"Cmd":["sh"]}"#);
        assert_eq!(command(&cmd, None, ""), Some(words("sh")));
        assert_eq!(command(&cmd, None, "echo x"), Some(words("echo x")));
        assert_eq!(command(&config("{}"), None, ""), None);
    }

    #[test]
    fn a_digest_goes_behind_the_name_that_was_given() {
        assert_eq!(at_digest("busybox:1", "sha256:0"), "busybox:1@sha256:0");
        assert_eq!(at_digest("a/b@sha256:1", "sha256:0"), "a/b@sha256:1");
    }

    #[tokio::test]
    async fn a_registry_that_is_away_costs_one_attempt() {
        let registry =
            RegistryConfig { insecure: vec!["localhost:1".into()], ..Default::default() };
        let lookup = Lookup::new(&registry);
        assert_eq!(lookup.find("localhost:1/a/b:1", &[]).await, None);
        assert!(lock(&lookup.unreachable).contains_key("localhost:1"));
        assert_eq!(lookup.find("not a name", &[]).await, None);
    }

    #[test]
    fn a_registry_that_never_answers_is_asked_ever_more_rarely() {
        let first = Silence::after(None);
        let second = Silence::after(Some(&first));
        assert_eq!((first.length, second.length), (UNREACHABLE, UNREACHABLE * 4));
        let long = Silence { length: LONGEST_UNREACHABLE, ..first };
        assert_eq!(Silence::after(Some(&long)).length, LONGEST_UNREACHABLE);
    }
}
