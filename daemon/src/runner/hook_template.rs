//! The hook template that the runner container's environment names: users of the reference hooks set
//! it there, since those run in that container.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::{Runner, that_mounts};
use crate::config::Config;

const VARIABLE: &str = "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE";

/// What the runner container's environment says of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HookTemplate {
    /// Nothing.
    #[default]
    None,
    /// This file, at its path in the hookd container.
    File(PathBuf),
    /// A file that the hookd container has not: what to do, for the user.
    OutOfReach(String),
}

impl HookTemplate {
    /// The file that the sidecar's setting names, or the one that the runner container's names, as the
    /// reference hooks have it.
    pub fn of(config: &Config, runner: Option<&Runner>) -> Self {
        match &config.hook_template {
            Some(path) => Self::File(path.clone()),
            None => runner.map(|runner| runner.hook_template.clone()).unwrap_or_default(),
        }
    }
}

/// Looks for the variable, and for the file in a volume that both containers mount.
pub(super) fn find(pod: &Pod, config: &Config) -> HookTemplate {
    let Some(runner) = that_mounts(pod, config, true) else { return HookTemplate::None };
    let mut variables = runner.env.iter().flatten();
    let Some(variable) = variables.find(|variable| variable.name == VARIABLE) else {
        return HookTemplate::None;
    };
    let value = variable.value.as_deref().unwrap_or_default().trim();
    if value.is_empty() && variable.value_from.is_none() {
        return HookTemplate::None;
    }
    let hookd = that_mounts(pod, config, false);
    let path = hookd.and_then(|hookd| at_hookd(Path::new(value), runner, hookd));
    path.map_or_else(|| HookTemplate::OutOfReach(out_of_reach(value, runner)), HookTemplate::File)
}

/// The path in the hookd container of what the runner container calls `path`.
fn at_hookd(path: &Path, runner: &Container, hookd: &Container) -> Option<PathBuf> {
    let (mount, inside) = mount_of(path, runner)?;
    let in_volume = Path::new(mount.sub_path.as_deref().unwrap_or_default()).join(inside);
    hookd.volume_mounts.iter().flatten().filter(|other| other.name == mount.name).find_map(
        |other| {
            let sub_path = Path::new(other.sub_path.as_deref().unwrap_or_default());
            let inside = in_volume.strip_prefix(sub_path).ok()?;
            // Another mount may lie over it.
            let top = Path::new(&other.mount_path);
            // Joined to nothing, a file's path would end as that of a directory.
            let is_whole = inside.as_os_str().is_empty();
            let found = if is_whole { top.to_owned() } else { top.join(inside) };
            mount_of(&found, hookd).filter(|(top, _)| *top == other).map(|_| found)
        },
    )
}

/// The mount that has this path, and the path within it.
fn mount_of<'a>(path: &Path, container: &'a Container) -> Option<(&'a VolumeMount, PathBuf)> {
    let mounts = container.volume_mounts.iter().flatten();
    let inside = mounts.filter_map(|mount| {
        let inside = path.strip_prefix(&mount.mount_path).ok()?;
        Some((mount, inside.to_owned()))
    });
    inside.min_by_key(|(_, inside)| inside.components().count())
}

fn out_of_reach(value: &str, runner: &Container) -> String {
    let volume = mount_of(Path::new(value), runner).map(|(mount, _)| mount.name.as_str());
    let how = match volume {
        Some(volume) => {
            format!("mount the volume {volume} in the hookd container at the same path")
        }
        None => "mount the file in the hookd container".to_owned(),
    };
    format!(
        "The hook template {value} is not used: {VARIABLE} of the runner container names it, and the \
         hookd container does not have the file; {how}, or set {VARIABLE} there"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(value: &Value, runner: &Value, hookd: &Value) -> HookTemplate {
        let socket = |read_only: bool| json!({"name": "s", "mountPath": "/run/hookd", "readOnly": read_only});
        let mounts = |mounts: &Value, socket: Value| {
            let mut mounts = mounts.as_array().unwrap().clone();
            mounts.push(socket);
            mounts
        };
        let mut variable = value.clone();
        variable["name"] = VARIABLE.into();
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "hookd", "volumeMounts": mounts(hookd, socket(false))}],
            "containers": [{"name": "runner", "env": [variable],
                "volumeMounts": mounts(runner, socket(true))}],
        }}))
        .unwrap();
        find(&pod, &Config::of(&[]))
    }

    #[test]
    fn a_template_in_a_volume_of_both_containers_is_found() {
        let value = json!({"value": "/home/runner/pod-templates/default.yml"});
        let at = |path: &str| json!([{"name": "t", "mountPath": path}]);
        let runner = at("/home/runner/pod-templates");
        assert_eq!(
            found(&value, &runner, &at("/etc/templates/")),
            HookTemplate::File("/etc/templates/default.yml".into())
        );
        let of_file = json!([{"name": "t", "subPath": "default.yml", "mountPath": "/t.yml"}]);
        let HookTemplate::File(file) = found(&value, &runner, &of_file) else { panic!("found") };
        assert_eq!(file.as_os_str(), "/t.yml");
        let other_part = json!([{"name": "t", "subPath": "other", "mountPath": "/t"}]);
        assert!(matches!(found(&value, &runner, &other_part), HookTemplate::OutOfReach(_)));
    }

    #[test]
    fn a_template_that_only_the_runner_has_is_named_with_what_to_do() {
        let value = json!({"value": "/home/runner/pod-templates/default.yml"});
        let runner = json!([{"name": "pod-templates", "mountPath": "/home/runner/pod-templates"}]);
        let HookTemplate::OutOfReach(warning) = found(&value, &runner, &json!([])) else {
            panic!("it cannot be reached");
        };
        for word in ["/default.yml", "volume pod-templates", VARIABLE, "hookd container"] {
            assert!(warning.contains(word), "{word} is not in {warning}");
        }
        assert_eq!(found(&json!({"value": ""}), &runner, &json!([])), HookTemplate::None);
    }
}
