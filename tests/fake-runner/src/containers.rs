//! A job's container and its services, as prepare_job has them.

use serde::Serialize;

use crate::context::Job;
use crate::layout::WorkDir;
use crate::variables::Variables;
use crate::workflow::ContainerDefinition;

/// A container in a hook's input.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub(crate) image: Option<String>,
    pub(crate) dockerfile: Option<String>,
    pub(crate) entry_point_args: Vec<String>,
    pub(crate) entry_point: Option<String>,
    pub(crate) working_directory: Option<String>,
    pub(crate) create_options: Option<String>,
    pub(crate) registry: Option<Registry>,
    pub(crate) environment_variables: Variables,
    pub(crate) port_mappings: Vec<String>,
    pub(crate) system_mount_volumes: Vec<Mount>,
    pub(crate) user_mount_volumes: Vec<Mount>,
}

/// One mount.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    user_provided_value: Option<String>,
    source_volume_path: Option<String>,
    target_volume_path: String,
    read_only: bool,
}

/// Credentials of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    username: String,
    password: Option<String>,
    server_url: String,
}

impl Mount {
    /// One that the runner adds itself.
    pub(crate) fn of_runner(source: String, target: &str, read_only: bool) -> Self {
        Self {
            user_provided_value: None,
            source_volume_path: Some(source),
            target_volume_path: target.to_owned(),
            read_only,
        }
    }

    /// One of `volumes:`, taken apart as the runner does.
    fn of_user(text: &str) -> Self {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match parts.as_slice() {
            [target, mode] if mode.eq_ignore_ascii_case("ro") => (None, *target, true),
            [source, target] => (Some(*source), *target, false),
            [source, target, mode] => (Some(*source), *target, mode.eq_ignore_ascii_case("ro")),
            _ => (None, text, false),
        };
        Self {
            user_provided_value: Some(text.to_owned()),
            source_volume_path: source.map(str::to_owned),
            target_volume_path: target.to_owned(),
            read_only,
        }
    }
}

impl Container {
    /// The job container.
    pub(crate) fn of_job(definition: &ContainerDefinition, job: &Job, work: &WorkDir) -> Self {
        let mut container = Self::new(definition, job);
        container.environment_variables.set("HOME", "/github/home");
        container.working_directory =
            Some(work.workspace(&job.repository).replacen(work.root(), "/__w", 1));
        let own = |name: &str, target: &str| Mount::of_runner(work.path(name), target, false);
        container.system_mount_volumes = vec![
            Mount::of_runner("/var/run/docker.sock".to_owned(), "/var/run/docker.sock", false),
            Mount::of_runner(work.root().to_owned(), "/__w", false),
            Mount::of_runner(job.externals.clone(), "/__e", true),
            own("_temp", "/__w/_temp"),
            own("_actions", "/__w/_actions"),
            own("_tool", "/__w/_tool"),
            own("_temp/_github_home", "/github/home"),
            own("_temp/_github_workflow", "/github/workflow"),
        ];
        container
    }

    /// A service.
    pub(crate) fn of_service(definition: &ContainerDefinition, job: &Job) -> Self {
        let mut container = Self::new(definition, job);
        container.entry_point.clone_from(&definition.entrypoint);
        let command = definition.command.as_deref().unwrap_or_default();
        container.entry_point_args = crate::arguments::split(command);
        container
    }

    fn new(definition: &ContainerDefinition, job: &Job) -> Self {
        let image = definition.image.trim_start_matches("docker://");
        let mut environment = Variables::from_iter(definition.env.clone());
        for (name, value) in job.proxy.iter() {
            environment.set_default(name, value);
        }
        let mut ports = definition.ports.clone();
        let mut seen = std::collections::HashSet::new();
        ports.retain(|port| seen.insert(port.clone()));
        Self {
            image: Some(image.to_owned()),
            dockerfile: None,
            entry_point_args: Vec::new(),
            entry_point: None,
            working_directory: None,
            create_options: definition.options.clone(),
            registry: definition.credentials.as_ref().map(|credentials| Registry {
                username: credentials.username.clone(),
                password: Some(credentials.password.clone()),
                server_url: server(image).to_owned(),
            }),
            environment_variables: environment,
            port_mappings: ports,
            system_mount_volumes: Vec::new(),
            user_mount_volumes: definition
                .volumes
                .iter()
                .map(|text| Mount::of_user(text))
                .collect(),
        }
    }
}

/// The host of an image; empty: Docker Hub.
fn server(image: &str) -> &str {
    let parts: Vec<_> = image.split('/').collect();
    match parts.as_slice() {
        [first, _] if first.contains(['.', ':']) => first,
        [first, _, _, ..] => first,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_taken_apart_as_the_runner_does() {
        for (text, source, target, read_only) in [
            ("a:/b", Some("a"), "/b", false),
            ("/a:/b:RO", Some("/a"), "/b", true),
            ("/a:/b:rw", Some("/a"), "/b", false),
            ("/b:ro", None, "/b", true),
            ("/b", None, "/b", false),
            ("a:b:c:d", None, "a:b:c:d", false),
        ] {
            let mount = Mount::of_user(text);
            assert_eq!(mount.source_volume_path.as_deref(), source, "{text}");
            assert_eq!((mount.target_volume_path.as_str(), mount.read_only), (target, read_only));
            assert_eq!(mount.user_provided_value.as_deref(), Some(text));
        }
    }

    #[test]
    fn the_server_of_an_image_is_its_host_or_nothing() {
        for (image, expected) in [
            ("redis", ""),
            ("octo/redis", ""),
            ("ghcr.io/redis", "ghcr.io"),
            ("ghcr.io/octo/redis:1", "ghcr.io"),
        ] {
            assert_eq!(server(image), expected, "{image}");
        }
    }
}
