//! Credentials for registries, as pull Secrets and jobs have them.

use std::collections::HashMap;

use hookd_api::v1::Registry;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

/// Docker Hub, as a docker configuration calls it.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    host: String,
    username: String,
    password: String,
}

/// The key of a Secret of type kubernetes.io/dockerconfigjson.
const KEY: &str = ".dockerconfigjson";

impl Credentials {
    /// Those of a job's container.
    pub fn of_registry(registry: &Registry) -> Self {
        let Registry { username, password, server_url } = registry.clone();
        let server = if server_url.is_empty() { DOCKER_HUB.to_owned() } else { server_url };
        Self { host: host(&server).to_owned(), username, password }
    }

    /// Those of a pull Secret; none if it is no such Secret.
    pub fn of_secret(secret: &Secret) -> Vec<Self> {
        let data = secret.data.as_ref().and_then(|data| data.get(KEY));
        data.map(|data| Self::of_docker_config(&data.0)).unwrap_or_default()
    }

    /// Those of a file in docker's form; none if it is no such file.
    pub fn of_docker_config(file: &[u8]) -> Vec<Self> {
        #[derive(Deserialize)]
        struct File {
            auths: HashMap<String, Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            username: String,
            #[serde(default)]
            password: String,
            /// "username:password" in base64; wins, as for the kubelet.
            auth: Option<String>,
        }
        let file = serde_json::from_slice::<File>(file).ok();
        let entries = file.into_iter().flat_map(|file| file.auths);
        let pairs = entries.filter_map(|(server, entry)| {
            let auth = entry.auth.as_deref().and_then(decoded);
            let (username, password) = auth.unwrap_or((entry.username, entry.password));
            let host = host(&server).to_owned();
            (!username.is_empty()).then_some(Self { host, username, password })
        });
        pairs.collect()
    }

    /// Those for a registry.
    pub fn find<'a>(all: &'a [Self], registry: &str) -> Option<&'a Self> {
        all.iter().find(|credentials| credentials.host == registry)
    }

    /// User name and password.
    pub fn pair(&self) -> (&str, &str) {
        (&self.username, &self.password)
    }
}

/// The host of a docker configuration's key, which may be a URL.
fn host(server: &str) -> &str {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    match server.split('/').next().unwrap_or(server) {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

fn decoded(auth: &str) -> Option<(String, String)> {
    // A ByteString is base64 in JSON.
    let bytes: k8s_openapi::ByteString = serde_json::from_value(auth.trim().into()).ok()?;
    let text = String::from_utf8(bytes.0).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} at {})", self.username, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(json: &str) -> Secret {
        let data = k8s_openapi::ByteString(json.as_bytes().to_vec());
        Secret { data: Some([(KEY.to_owned(), data)].into()), ..Secret::default() }
    }

    #[test]
    fn a_pull_secret_is_read_in_both_of_its_forms() {
        let json = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dTpwOnc="},
            "ghcr.io":{"username":"u2","password":"p2"},
            "empty.example":{}}}"#;
        let all = Credentials::of_secret(&secret(json));
        let pair = |host| Credentials::find(&all, host).map(Credentials::pair);
        assert_eq!(pair("index.docker.io"), Some(("u", "p:w")));
        assert_eq!(pair("ghcr.io"), Some(("u2", "p2")));
        assert_eq!(pair("empty.example"), None);
        assert!(Credentials::of_secret(&secret("garbage")).is_empty());
        assert!(Credentials::of_secret(&Secret::default()).is_empty());
    }

    #[test]
    fn a_jobs_credentials_without_a_server_are_docker_hubs_and_hide_their_password() {
        let registry =
            Registry { username: "u".into(), password: "s3cret".into(), server_url: String::new() };
        let credentials = Credentials::of_registry(&registry);
        assert_eq!(credentials.host, "index.docker.io");
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
