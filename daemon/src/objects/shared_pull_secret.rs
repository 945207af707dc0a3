//! The Secret by which nodes get the credentials for images of jobs in runner pods (`HOOKD_PULL_SECRET`):
//! `imagePullSecrets` of a pod that exists are fixed, so that all runner pods list this one, and each job's
//! entries are in it while its images are pulled.

use std::collections::{BTreeMap, BTreeSet};

use hookd_api::v1::Registry;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::registry::credentials::{Credentials, KEY};
use crate::registry::reference::Reference;

/// Annotation: whose each entry is that jobs have given, as JSON: runner pods by keys of the configuration.
const OWNERS: &str = "hookd.dev/runners";

/// Credentials for the repository of one image. The kubelet takes them for repositories, too, whose names
/// begin with that one's (`URLsMatch` in its credentialprovider).
#[derive(Debug)]
pub struct Entry(Credentials);

impl Entry {
    /// None if the credentials are not whole, or are another registry's.
    pub fn of(image: &str, registry: &Registry) -> Option<Self> {
        let image: Reference = image.parse().ok()?;
        let whole = Credentials::from_registry(registry)?;
        whole.for_repository(&image.registry, &image.repository).map(Self)
    }
}

/// The Secret has another form than a docker configuration.
#[derive(Debug, thiserror::Error)]
#[error("it has no docker configuration under {KEY}")]
pub struct NoConfiguration;

/// See the module.
#[derive(Debug)]
pub struct SharedPullSecret {
    secret: Secret,
    auths: Map<String, Value>,
    owners: BTreeMap<String, BTreeSet<String>>,
}

impl SharedPullSecret {
    /// As the API server has it.
    ///
    /// # Errors
    /// When it is no pull Secret.
    pub fn read(secret: Secret) -> Result<Self, NoConfiguration> {
        let file = secret.data.as_ref().and_then(|data| data.get(KEY)).ok_or(NoConfiguration)?;
        let config: Value = serde_json::from_slice(&file.0).map_err(|_| NoConfiguration)?;
        let Value::Object(mut config) = config else { return Err(NoConfiguration) };
        let auths = match config.remove("auths") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(auths)) => auths,
            Some(_) => return Err(NoConfiguration),
        };
        let owners = secret.annotations().get(OWNERS);
        let owners = owners.and_then(|owners| serde_json::from_str(owners).ok());
        Ok(Self { auths, owners: owners.unwrap_or_default(), secret })
    }

    /// Adds a runner's entries. Those that no job has given stay as the administrator wrote them.
    pub fn give(&mut self, runner: &str, entries: &[Entry]) {
        for Entry(credentials) in entries {
            let server = credentials.server();
            if self.auths.contains_key(&server) && !self.owners.contains_key(&server) {
                continue;
            }
            let (username, password) = credentials.pair();
            let entry = json!({"username": username, "password": password});
            self.auths.insert(server.clone(), entry);
            self.owners.entry(server).or_default().insert(runner.to_owned());
        }
    }

    /// Removes a runner's entries, but for those that others need, too; false if it had none.
    pub fn take_back(&mut self, runner: &str) -> bool {
        let (auths, mut had) = (&mut self.auths, false);
        self.owners.retain(|server, owners| {
            had |= owners.remove(runner);
            let stays = !owners.is_empty();
            if !stays {
                auths.remove(server);
            }
            stays
        });
        had
    }

    /// The other runners that have entries.
    pub fn others(&self, runner: &str) -> Vec<String> {
        let all: BTreeSet<_> = self.owners.values().flatten().collect();
        all.into_iter().filter(|other| *other != runner).cloned().collect()
    }

    /// As it is to be. The version that was read goes with it: another change in between is a conflict.
    pub fn into_secret(self) -> Secret {
        let Self { mut secret, auths, owners } = self;
        let config = json!({"auths": auths}).to_string();
        let data = secret.data.get_or_insert_default();
        data.insert(KEY.to_owned(), ByteString(config.into_bytes()));
        if owners.is_empty() {
            secret.annotations_mut().remove(OWNERS);
        } else {
            secret.annotations_mut().insert(OWNERS.to_owned(), json!(owners).to_string());
        }
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(server: &str, user: &str) -> Registry {
        Registry { username: user.into(), password: "p".into(), server_url: server.into() }
    }

    fn secret(config: &str) -> Secret {
        serde_json::from_value(json!({"metadata": {"name": "pull", "resourceVersion": "7"},
            "data": {KEY: ByteString(config.as_bytes().to_vec())}}))
        .unwrap()
    }

    /// "server user" of each entry.
    fn entries(secret: &Secret) -> Vec<String> {
        let config: Value = serde_json::from_slice(&secret.data.as_ref().unwrap()[KEY].0).unwrap();
        let auths = config["auths"].as_object().unwrap();
        auths
            .iter()
            .map(|(server, entry)| format!("{server} {}", entry["username"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn credentials_count_for_the_repository_of_their_image_alone() {
        for (image, server, key) in [
            ("ghcr.io/a/b:1", "https://ghcr.io", Some("ghcr.io/a/b")),
            ("ghcr.io/a/b@sha256:0", "ghcr.io", Some("ghcr.io/a/b")),
            ("busybox", "", Some("docker.io/library/busybox")),
            ("localhost:5000/x", "localhost:5000", Some("localhost:5000/x")),
            ("ghcr.io/a/b:1", "quay.io", None),
            ("ghcr.io/a/b:1", "ghcr.io/other", None),
            ("ghcr.io/a/b:1", "ghcr.io/a", Some("ghcr.io/a/b")),
            ("no image", "ghcr.io", None),
        ] {
            let entry = Entry::of(image, &registry(server, "u"));
            let own = entry.map(|Entry(credentials)| credentials.server());
            assert_eq!(own.as_deref(), key, "{image} {server}");
        }
        assert!(Entry::of("ghcr.io/a", &registry("ghcr.io", "")).is_none());
    }

    #[test]
    fn a_runner_takes_back_what_it_gave_and_nothing_else() {
        let administrators = r#"{"auths": {"ghcr.io/admin/own": {"username": "admin"}}}"#;
        let given = |secret, runner: &str, image: &str| {
            let mut shared = SharedPullSecret::read(secret).unwrap();
            shared.give(runner, &[Entry::of(image, &registry("ghcr.io", runner)).unwrap()]);
            shared.into_secret()
        };
        let one = given(secret(administrators), "r1", "ghcr.io/a/b");
        assert_eq!(one.metadata.resource_version.as_deref(), Some("7"));
        let two = given(one, "r2", "ghcr.io/a/c");
        let two = given(two, "r2", "ghcr.io/admin/own");
        assert_eq!(entries(&two), ["ghcr.io/a/b r1", "ghcr.io/a/c r2", "ghcr.io/admin/own admin"]);
        let mut shared = SharedPullSecret::read(two).unwrap();
        assert_eq!(shared.others("r1"), ["r2"]);
        assert!(shared.take_back("r1") && !shared.take_back("r1"));
        let left = shared.into_secret();
        assert_eq!(entries(&left), ["ghcr.io/a/c r2", "ghcr.io/admin/own admin"]);
        let mut shared = SharedPullSecret::read(left).unwrap();
        assert!(shared.take_back("r2"));
        let left = shared.into_secret();
        assert_eq!(entries(&left), ["ghcr.io/admin/own admin"]);
        assert!(left.annotations().is_empty());
    }

    #[test]
    fn an_entry_stays_until_the_last_runner_takes_it_back() {
        let mut shared = SharedPullSecret::read(secret("{}")).unwrap();
        for runner in ["r1", "r2"] {
            shared.give(runner, &[Entry::of("ghcr.io/a/b", &registry("ghcr.io", runner)).unwrap()]);
        }
        assert!(shared.take_back("r1"));
        let mut shared = SharedPullSecret::read(shared.into_secret()).unwrap();
        let both = shared.into_secret();
        assert_eq!(entries(&both), ["ghcr.io/a/b r2"], "the newest are r2's");
        shared = SharedPullSecret::read(both).unwrap();
        assert!(shared.take_back("r2"));
        assert!(entries(&shared.into_secret()).is_empty());
    }

    #[test]
    fn a_secret_of_another_form_is_refused() {
        for config in ["", "[]", "x", r#"{"auths": 1}"#] {
            assert!(SharedPullSecret::read(secret(config)).is_err(), "{config}");
        }
        assert!(SharedPullSecret::read(Secret::default()).is_err());
        assert!(SharedPullSecret::read(secret(r#"{"auths": null}"#)).is_ok());
    }
}
