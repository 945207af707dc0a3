//! Credentials for the images of a job: one Secret for all of its containers (rch#208).

use std::collections::BTreeMap;

use hookd_api::v1::Registry;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use crate::ids::StepId;
use crate::runner::Runner;
use crate::spec::names;

/// Docker Hub's name in docker's configuration.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The Secret; none if no container has credentials. Of two for one registry the first counts, which
/// is the job container's.
pub fn secret<'a>(
    runner: &Runner,
    step: &StepId,
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Option<Secret> {
    let mut auths = Map::new();
    for registry in registries.into_iter().filter(|registry| !registry.username.is_empty()) {
        let host = Some(registry.server_url.as_str()).filter(|host| !host.is_empty());
        let Registry { username, password, .. } = registry;
        auths
            .entry(host.unwrap_or(DOCKER_HUB))
            .or_insert_with(|| json!({"username": username, "password": password}));
    }
    if auths.is_empty() {
        return None;
    }
    let config = json!({"auths": Value::Object(auths)}).to_string();
    Some(Secret {
        metadata: names::metadata(runner, step, &names::pull_secret(&runner.name, step)),
        immutable: Some(true),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            ByteString(config.into_bytes()),
        )])),
        ..Secret::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(server: &str, user: &str) -> Registry {
        let password = format!("{user}-password");
        Registry { username: user.into(), password, server_url: server.into() }
    }

    #[test]
    fn all_registries_of_a_job_are_in_one_secret_rch_208() {
        let runner = Runner { name: "r".into(), ..Runner::default() };
        let registries =
            [registry("", "hub"), registry("ghcr.io", "job"), registry("ghcr.io", "service")];
        let secret = secret(&runner, &"s".parse().unwrap(), &registries).unwrap();
        let data = secret.data.unwrap();
        let config: Value = serde_json::from_slice(&data[".dockerconfigjson"].0).unwrap();
        assert_eq!(config["auths"][DOCKER_HUB]["username"], "hub");
        assert_eq!(config["auths"]["ghcr.io"]["password"], "job-password");
        assert_eq!(secret.immutable, Some(true));
    }

    #[test]
    fn a_job_without_credentials_has_none() {
        let runner = Runner::default();
        assert!(secret(&runner, &"s".parse().unwrap(), &[registry("x", "")]).is_none());
    }
}
