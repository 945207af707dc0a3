//! Credentials for the images of a job: those of all of its containers (rch#208, runner#694).
//!
//! A docker configuration has one user for each registry, so that each further user of a registry, and
//! each further password, has a Secret of its own. The kubelet tries all that match an image.

use std::collections::BTreeMap;

use hookd_api::v1::Registry;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use crate::ids::StepId;
use crate::names;
use crate::objects::metadata::{self, Component};
use crate::registry::credentials::Credentials;
use crate::runner::Runner;

/// The Secrets; none if no container has credentials.
pub fn secrets<'a>(
    runner: &Runner,
    step: &StepId,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Vec<Secret> {
    let mut all: Vec<Credentials> = Vec::new();
    for credentials in registries.into_iter().filter_map(Credentials::from_registry) {
        if !all.contains(&credentials) {
            all.push(credentials);
        }
    }
    let mut configs: Vec<Map<String, Value>> = Vec::new();
    for credentials in all {
        let server = credentials.server();
        let (username, password) = credentials.pair();
        let entry = json!({"username": username, "password": password});
        match configs.iter_mut().find(|config| !config.contains_key(&server)) {
            Some(config) => drop(config.insert(server, entry)),
            None => configs.push(Map::from_iter([(server, entry)])),
        }
    }
    let numbered = configs.into_iter().enumerate();
    numbered.map(|(index, auths)| secret(runner, step, index, auths)).collect()
}

fn secret(runner: &Runner, step: &StepId, index: usize, auths: Map<String, Value>) -> Secret {
    let config = json!({"auths": auths}).to_string();
    let name = names::pull_secret(&runner.name, step, index);
    Secret {
        metadata: metadata::of_step(runner, step, &name, Component::Job),
        immutable: Some(true),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            ByteString(config.into_bytes()),
        )])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::credentials::DOCKER_HUB;

    fn registry(server: &str, user: &str, password: &str) -> Registry {
        Registry { username: user.into(), password: password.into(), server_url: server.into() }
    }

    /// Name, and "server user password" of each entry, of each Secret.
    fn made(registries: &[Registry]) -> Vec<(String, Vec<String>)> {
        let runner = Runner { name: "r".into(), ..Runner::default() };
        let secrets = secrets(&runner, &"s".parse().unwrap(), registries);
        let made = secrets.into_iter().map(|secret| {
            assert_eq!(secret.immutable, Some(true));
            let config: Value =
                serde_json::from_slice(&secret.data.unwrap()[".dockerconfigjson"].0).unwrap();
            let entries = config["auths"].as_object().unwrap().iter().map(|(server, entry)| {
                let text = |key: &str| entry[key].as_str().unwrap().to_owned();
                format!("{server} {} {}", text("username"), text("password"))
            });
            (secret.metadata.name.unwrap(), entries.collect())
        });
        made.collect()
    }

    #[test]
    fn all_registries_of_a_job_are_in_one_secret_rch_208() {
        let made = made(&[registry("", "hub", "1"), registry("ghcr.io", "job", "2")]);
        let entries = vec!["ghcr.io job 2".to_owned(), format!("{DOCKER_HUB} hub 1")];
        assert_eq!(made, [("r-pull-s".to_owned(), entries)]);
    }

    /// gitea#32963, runner#694: the job's token and an organisation's user at ghcr.io.
    #[test]
    fn each_further_user_of_a_registry_has_a_secret_of_its_own() {
        let made = made(&[
            registry("ghcr.io", "octocat", "token"),
            registry("ghcr.io", "acme-bot", "pat"),
            registry("https://ghcr.io/", "octocat", "token"),
            registry("ghcr.io", "octocat", "other"),
            registry("docker.io", "hub", "1"),
            registry("", "hub", "2"),
        ]);
        let expected = [
            ("r-pull-s", ["ghcr.io octocat token", "https://index.docker.io/v1/ hub 1"].as_slice()),
            ("r-pull-1-s", &["ghcr.io acme-bot pat", "https://index.docker.io/v1/ hub 2"]),
            ("r-pull-2-s", &["ghcr.io octocat other"]),
        ];
        let expected = expected.map(|(name, entries)| {
            (name.to_owned(), entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn a_job_without_whole_credentials_has_none() {
        assert!(made(&[registry("x", "", "p"), registry("x", "u", "")]).is_empty());
        assert!(made(&[]).is_empty());
    }
}
