//! Where a built image goes, and where the kubelet finds it.

use std::path::Path;

use jiff::Timestamp;

use crate::config::{BuiltImages, RegistryConfig};
use crate::error::Failure;
use crate::ids::StepId;
use crate::registry::built_tags;
use crate::registry::error::DestinationError;
use crate::registry::pattern;
use crate::registry::reference::{DOCKER_HUB, Reference};

/// Stands for the path of the registry's host in the name of the repository.
const PATH: &str = "{path}";
/// Repository of built images within the registry.
const REPOSITORY: &str = "{path}/hookd/build";
/// The same on Docker Hub, whose repositories have two parts.
const DOCKER_HUB_REPOSITORY: &str = "{path}/hookd-build";

/// Both names of a built image: Kaniko and the kubelet reach the registry in different ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Reference with a tag, for Kaniko.
    pub push: String,
    /// Host and port within it.
    pub push_host: String,
    /// Repository without tag, for the kubelet.
    pub pull: String,
    /// Kaniko speaks plain HTTP.
    pub insecure: bool,
}

/// The destination of a step's build by this runner, whose pod has the uid. The path of its Dockerfile is
/// the one in the work directory.
///
/// # Errors
/// When no registry is configured.
pub fn of_step(
    registry: &RegistryConfig,
    runner: &str,
    step: &StepId,
    dockerfile: &Path,
) -> Result<Destination, Failure> {
    let tag = match registry.built_images {
        BuiltImages::Delete => built_tags::of_job(step, runner),
        BuiltImages::Keep => {
            let dockerfile = built_tags::dockerfile_id(dockerfile);
            built_tags::of_step(step, &dockerfile, Timestamp::now(), registry.max_age)
        }
    };
    Ok(of_tag(registry, &tag)?)
}

/// The image of built ones that has this tag.
///
/// # Errors
/// When no registry is configured.
pub fn of_tag(registry: &RegistryConfig, tag: &str) -> Result<Destination, DestinationError> {
    let given = registry.host.as_deref().ok_or(DestinationError::NotConfigured)?;
    Ok(in_registry(registry, given, &repository(registry, given), tag))
}

/// A repository of cached layers: its path follows that of the registry's host.
///
/// # Errors
/// When no registry is configured.
pub fn of_layers(
    registry: &RegistryConfig,
    repository: &str,
) -> Result<Destination, DestinationError> {
    let given = registry.host.as_deref().ok_or(DestinationError::NotConfigured)?;
    let path = given.split_once('/').map_or("", |(_, path)| path.trim_matches('/'));
    let repository = format!("{path}/{repository}");
    Ok(in_registry(registry, given, repository.trim_start_matches('/'), "any"))
}

fn in_registry(registry: &RegistryConfig, given: &str, repository: &str, tag: &str) -> Destination {
    let (pull_host, push_host) = hosts(registry, given);
    Destination {
        push: format!("{push_host}/{repository}:{tag}"),
        pull: format!("{pull_host}/{repository}"),
        insecure: registry.node_port.is_some(),
        push_host,
    }
}

/// The repository of built images within the registry `given`.
pub(super) fn repository(registry: &RegistryConfig, given: &str) -> String {
    let (host, path) = given.split_once('/').unwrap_or((given, ""));
    let usual = if api_host(host) == DOCKER_HUB { DOCKER_HUB_REPOSITORY } else { REPOSITORY };
    let template = registry.repository.as_deref().unwrap_or(usual);
    template.replace(PATH, path.trim_matches('/')).trim_start_matches('/').to_owned()
}

/// Docker Hub by the name that its credentials and its API have here.
fn api_host(host: &str) -> &str {
    if matches!(host, "docker.io" | "registry-1.docker.io") { DOCKER_HUB } else { host }
}

/// Refuses a name for an image that none of the patterns allows, and each in a repository of `own` things,
/// whatever its registry is called: what stands there is found by its key.
///
/// # Errors
/// See [`DestinationError`].
pub fn check_allowed(
    own: &[Destination],
    patterns: &[String],
    name: &Reference,
) -> Result<(), DestinationError> {
    let is_it =
        |own: &Destination| own.repository_and_tag().0.eq_ignore_ascii_case(&name.repository);
    if own.iter().any(is_it) {
        return Err(DestinationError::OwnRepository { name: name.to_string() });
    }
    let is_allowed = |pattern: &String| matches_name(pattern, name);
    match patterns.iter().any(is_allowed) {
        true => Ok(()),
        false => Err(DestinationError::NotAllowed { name: name.to_string() }),
    }
}

/// `host/path:tag` with the patterns of [`pattern`]. Without a tag it is for each.
fn matches_name(pattern: &str, name: &Reference) -> bool {
    let Some((host, rest)) = pattern.trim().split_once('/') else { return false };
    let host = api_host(host);
    let (path, tag) = rest.split_once(':').unwrap_or((rest, "*"));
    host.eq_ignore_ascii_case(&name.registry)
        && pattern::matches_path(path, &name.repository)
        && pattern::matches_part(tag, &name.version)
}

/// Host and port of the registry `given`, for the kubelet and for Kaniko.
pub(super) fn hosts(registry: &RegistryConfig, given: &str) -> (String, String) {
    let host = api_host(given.split_once('/').map_or(given, |(host, _)| host));
    let port = registry.port.as_ref();
    let push_host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let pull_host = registry
        .pull_host
        .clone()
        .or_else(|| registry.node_port.as_ref().map(|port| format!("localhost:{port}")))
        .unwrap_or_else(|| push_host.clone());
    (pull_host, push_host)
}

impl Destination {
    /// The repository within the registry, and the tag of the image that is built.
    pub fn repository_and_tag(&self) -> (&str, &str) {
        let path = self.push.strip_prefix(&self.push_host).unwrap_or(&self.push);
        path.trim_start_matches('/').rsplit_once(':').unwrap_or((path, "latest"))
    }

    /// The image with this digest, for the kubelet.
    pub fn reference(&self, digest: &str) -> String {
        format!("{}@{digest}", self.pull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(host: &str) -> RegistryConfig {
        let built_images = BuiltImages::Delete;
        RegistryConfig { host: Some(host.to_owned()), built_images, ..RegistryConfig::default() }
    }

    fn at(registry: &RegistryConfig) -> Destination {
        of_tag(registry, "s").unwrap()
    }

    #[test]
    fn the_adrs_three_settings_name_both_ways_to_the_registry() {
        let settings = RegistryConfig {
            port: Some("5000".into()),
            node_port: Some("30500".into()),
            ..registry("docker-registry")
        };
        let destination = at(&settings);
        assert_eq!(destination.push, "docker-registry:5000/hookd/build:s");
        assert_eq!(destination.reference("sha256:0"), "localhost:30500/hookd/build@sha256:0");
        let settings = RegistryConfig { pull_host: Some("node:1".into()), ..settings };
        assert_eq!(at(&settings).pull, "node:1/hookd/build");
    }

    #[test]
    fn a_name_must_be_allowed_and_none_of_built_images() {
        let settings = registry("10.0.0.5:5000");
        let layers = of_layers(&settings, "hookd/cache").unwrap();
        let own = [of_tag(&settings, "latest").unwrap(), layers];
        let allowed = [
            "r.example/team/*",
            "r.example:5000/deep/**",
            "docker.io/org/app:pr-*",
            "10.0.0.5:5000/**",
            "r.example/a*c*/b",
        ]
        .map(str::to_owned);
        let check = |name: &str| check_allowed(&own, &allowed, &name.parse().unwrap());
        for name in [
            "r.example/team/app:1",
            "R.example/team/app",
            "r.example:5000/deep/a/b/c",
            "org/app:pr-7",
            "10.0.0.5:5000/x:1",
            "r.example/abcd/b",
            "r.example/ac/b",
        ] {
            check(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in [
            "r.example/team/app/more:1",
            "r.example/team",
            "r.example/teams/app",
            "other.example/team/app",
            "r.example:5000/deep",
            "r.example.evil/team/app",
            "org/app:1",
            "library/app:pr-1",
            "r.example/ab/b",
        ] {
            let error = check(name).unwrap_err();
            assert!(matches!(error, DestinationError::NotAllowed { .. }), "{name}: {error}");
        }
        // No call can name the tag of a key, by whatever name the registry has.
        let key = format!("key_{}_1", "0".repeat(64));
        for host in ["10.0.0.5:5000", "r.example:5000", "registry.svc"] {
            for name in [format!("hookd/build:{key}"), "hookd/cache:1".to_owned()] {
                let error = check(&format!("{host}/{name}")).unwrap_err();
                assert!(matches!(error, DestinationError::OwnRepository { .. }), "{host}: {error}");
            }
        }
    }

    #[test]
    fn a_remote_registry_has_one_name() {
        let destination = at(&registry("ghcr.io/my-org/"));
        assert_eq!(destination.push, "ghcr.io/my-org/hookd/build:s");
        assert_eq!(destination.pull, "ghcr.io/my-org/hookd/build");
        assert!(!destination.insecure);
    }

    #[test]
    fn the_repository_is_named_by_its_template() {
        let named = |host: &str, template: Option<&str>| {
            let repository = template.map(str::to_owned);
            at(&RegistryConfig { repository, ..registry(host) }).push
        };
        let own = "{path}/ci-images";
        for (host, template, push) in [
            ("docker.io/org", None, "index.docker.io/org/hookd-build:s"),
            ("index.docker.io/org/", None, "index.docker.io/org/hookd-build:s"),
            ("docker.io/org", Some("{path}/ci"), "index.docker.io/org/ci:s"),
            ("ghcr.io/org/team", Some(own), "ghcr.io/org/team/ci-images:s"),
            ("r:5000", Some(own), "r:5000/ci-images:s"),
            (
                "1.dkr.ecr.eu-west-1.amazonaws.com",
                Some("ci"),
                "1.dkr.ecr.eu-west-1.amazonaws.com/ci:s",
            ),
        ] {
            assert_eq!(named(host, template), push);
        }
    }

    #[test]
    fn the_tag_of_an_image_that_is_kept_names_its_dockerfile() {
        let (step, path) = ("s".parse().unwrap(), Path::new("_actions/o/r/v1/Dockerfile"));
        let deleted = of_step(&registry("r"), "7f-1", &step, path).unwrap();
        assert_eq!(deleted.repository_and_tag(), ("hookd/build", "s_7f-1"));
        let kept = RegistryConfig { built_images: BuiltImages::Keep, ..registry("r") };
        let kept = of_step(&kept, "7f-1", &step, path).unwrap();
        let begin = format!("step_s_{}_", built_tags::dockerfile_id(path));
        assert!(kept.repository_and_tag().1.starts_with(&begin), "{}", kept.push);
    }

    #[test]
    fn no_registry_is_an_error_with_the_settings_names() {
        let registry = RegistryConfig { host: None, ..registry("") };
        let step = "s".parse().unwrap();
        let error = of_step(&registry, "u", &step, Path::new("Dockerfile")).unwrap_err();
        assert!(error.remedy.contains("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST"));
    }
}
