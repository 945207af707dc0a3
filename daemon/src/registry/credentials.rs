//! Credentials for registries, as pull Secrets and jobs have them.

use std::collections::HashMap;

use hookd_api::v1::Registry;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

/// Docker Hub, as a docker configuration calls it.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A user of a registry, or of the repositories beneath a path of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Host with its port if it has one; a label of it may have wildcards.
    host: String,
    /// Repositories for which they count, without slashes at its ends; empty: all.
    path: String,
    username: String,
    password: String,
}

/// The key of a Secret of type kubernetes.io/dockerconfigjson.
pub const KEY: &str = ".dockerconfigjson";
/// The key of the older type kubernetes.io/dockercfg.
const OLD_KEY: &str = ".dockercfg";

/// `auths` of a docker configuration.
type Entries = HashMap<String, Entry>;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// "username:password" in base64; wins, as for the kubelet.
    auth: Option<String>,
}

impl Credentials {
    /// Those of a job's container. None without a user name or a password, as a Secret of the workflow
    /// is that a fork does not have: the runner logs in nowhere then, and the image may be public.
    pub fn from_registry(registry: &Registry) -> Option<Self> {
        let Registry { username, password, server_url } = registry;
        let server = if server_url.trim().is_empty() { DOCKER_HUB } else { server_url.trim() };
        Self::new(server, username.clone(), password.clone())
    }

    /// Those of a pull Secret; none if it is no such Secret.
    pub fn from_secret(secret: &Secret) -> Vec<Self> {
        let data = |key| secret.data.as_ref().and_then(|data| data.get(key));
        match (data(KEY), data(OLD_KEY)) {
            (Some(file), _) => Self::of_docker_config(&file.0),
            (None, Some(file)) => Self::of_entries(serde_json::from_slice(&file.0).ok()),
            (None, None) => Vec::new(),
        }
    }

    /// Those of a file in docker's form; none if it is no such file.
    pub fn of_docker_config(file: &[u8]) -> Vec<Self> {
        #[derive(Deserialize)]
        struct File {
            auths: Entries,
        }
        Self::of_entries(serde_json::from_slice::<File>(file).ok().map(|file| file.auths))
    }

    fn of_entries(entries: Option<Entries>) -> Vec<Self> {
        let entries = entries.into_iter().flatten();
        let pairs = entries.filter_map(|(server, entry)| {
            let auth = entry.auth.as_deref().and_then(decoded);
            let (username, password) = auth.unwrap_or((entry.username, entry.password));
            Self::new(&server, username, password)
        });
        let mut all: Vec<_> = pairs.collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.server()));
        all
    }

    fn new(server: &str, username: String, password: String) -> Option<Self> {
        let (host, path) = host_and_path(server);
        let complete = !host.is_empty() && !username.is_empty() && !password.is_empty();
        let (host, path) = (host.to_owned(), path.to_owned());
        complete.then_some(Self { host, path, username, password })
    }

    /// All that count for a repository, as the kubelet finds them: those of the longest path first.
    pub fn matching<'a>(all: &'a [Self], host: &str, repository: &str) -> Vec<&'a Self> {
        let mut found: Vec<_> = all.iter().filter(|one| one.matches(host, repository)).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.path.len()));
        found
    }

    /// The first of [`Credentials::matching`].
    pub fn find<'a>(all: &'a [Self], host: &str, repository: &str) -> Option<&'a Self> {
        Self::matching(all, host, repository).first().copied()
    }

    /// The kubelet compares hosts label by label, and ports; a path here ends where a name of the
    /// repository ends.
    fn matches(&self, host: &str, repository: &str) -> bool {
        let labels = |host: &str| host.split('.').map(str::to_owned).collect::<Vec<_>>();
        let ((own, own_port), (given, port)) = (with_port(&self.host), with_port(host));
        let (own, given) = (labels(own), labels(given));
        let same_host = own_port == port
            && own.len() == given.len()
            && own.iter().zip(&given).all(|(own, given)| fits(own.as_bytes(), given.as_bytes()));
        let rest = repository.strip_prefix(self.path.as_str());
        let within = self.path.is_empty()
            || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        same_host && within
    }

    /// The same for one repository alone; none if they do not count for it.
    pub fn for_repository(self, host: &str, repository: &str) -> Option<Self> {
        let counts = self.matches(host, repository);
        counts.then(|| Self { host: host.to_owned(), path: repository.to_owned(), ..self })
    }

    /// User name and password.
    pub fn pair(&self) -> (&str, &str) {
        (&self.username, &self.password)
    }

    /// The key of a docker configuration under which the kubelet finds them.
    pub fn server(&self) -> String {
        match (self.host.as_str(), self.path.as_str()) {
            ("index.docker.io", "") => DOCKER_HUB.to_owned(),
            // The kubelet compares a path with the image's own name only.
            ("index.docker.io", path) => format!("docker.io/{path}"),
            (host, "") => host.to_owned(),
            (host, path) => format!("{host}/{path}"),
        }
    }
}

/// Host and path of a docker configuration's key, which may be a URL; docker's own /v1/ and /v2/ are no
/// paths of repositories.
fn host_and_path(server: &str) -> (&str, &str) {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let host = match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    };
    let path = path.trim_matches('/');
    let path = match path.split_once('/') {
        Some(("v1" | "v2", rest)) => rest,
        None if matches!(path, "v1" | "v2") => "",
        _ => path,
    };
    (host, path)
}

fn with_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// True if a label fits a pattern with `*` and `?`. Only the last star is tried again, which is enough
/// and keeps the time bounded.
fn fits(pattern: &[u8], label: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < label.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == label[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, seen) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
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
mod tests;
