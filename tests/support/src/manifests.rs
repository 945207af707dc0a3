//! The objects of a runner: the files of deploy/ as their users apply them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{cluster, repository};
use crate::runner::{CLAIM, Placement, RUNNER, Setup};

/// Name of the Secret in deploy/rbac-pull-secret.yaml.
pub const PULL_SECRET: &str = "hookd-pull";
/// Name of the ConfigMap with a policy.
const POLICY: &str = "hookd-policy";
/// Kinds of objects that say what hookd may do.
const RBAC: [&str; 3] = ["ServiceAccount", "Role", "RoleBinding"];
/// On the namespaces of tests: the id of the process that makes them.
pub const TEST_LABEL: &str = "hookd.dev/test";

/// All objects of a runner in `namespace` with its work volume in `volume`, in order of creation; but for what
/// the chart makes, where it is installed.
pub fn of_runner(namespace: &str, volume: &Path, setup: &Setup) -> Vec<Value> {
    let read = |name: &str| documents(&filled(name, namespace, volume));
    let files = match setup.placement {
        Placement::OwnPod => {
            ["deploy/rbac-own-pod.yaml", "deploy/work-claim.yaml", "deploy/runner-own-pod.yaml"]
                .as_slice()
        }
        Placement::RunnerPod => {
            &["deploy/rbac.yaml", "deploy/rbac-own-pod.yaml", "deploy/runner-pod.yaml"]
        }
    };
    let mut objects: Vec<_> = files.iter().flat_map(|name| read(name)).collect();
    if setup.placement == Placement::RunnerPod {
        only_needed(&mut objects, setup);
    }
    if setup.chart.is_some() {
        objects.retain(|object| !RBAC.contains(&object["kind"].as_str().unwrap()));
    }
    if let Some(values) = setup.values {
        objects.retain(|object| object["kind"] != "Pod");
        objects.extend(values.rendered(namespace));
    }
    if setup.has_pull_secret {
        objects.splice(0..0, read("deploy/rbac-pull-secret.yaml"));
    }
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.into();
        match object["kind"].as_str() {
            Some("Role") => forbid(object, setup),
            Some("Pod") => {
                set_environment(object, setup);
                set_sub_path(object, setup);
                set_memory(object, setup);
                set_empty_dir(object, setup);
                mount_policy(object, setup);
                if setup.has_pull_secret {
                    object["spec"]["imagePullSecrets"] = json!([{"name": PULL_SECRET}]);
                }
            }
            _ => {}
        }
    }
    let volume = match setup.placement {
        Placement::OwnPod => read("deploy/demo/devcluster-volume.yaml"),
        Placement::RunnerPod => Vec::new(),
    };
    let policy = setup.policy.map(|text| policy(namespace, text)).into_iter().collect();
    [policy, volume, objects].concat()
}

/// The namespace of a runner.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                "pod-security.kubernetes.io/enforce": "baseline",
                TEST_LABEL: std::process::id().to_string(),
            },
        },
    })
}

/// The CronJob of deploy/registry-gc.yaml.
pub fn of_registry_gc(namespace: &str) -> Vec<Value> {
    let mut objects = documents(&filled("deploy/registry-gc.yaml", namespace, Path::new("")));
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.into();
    }
    objects
}

/// Builds are Jobs and need the other Role too; both files have the account.
fn only_needed(objects: &mut Vec<Value>, setup: &Setup) {
    let builds = setup.environment.iter().any(|(name, _)| name.ends_with("_REGISTRY_HOST"));
    let (mut accounts, name) = (0, |object: &Value| object["metadata"]["name"].clone());
    objects.retain(|object| match object["kind"].as_str() {
        Some("ServiceAccount") => std::mem::replace(&mut accounts, 1) == 0,
        Some("Role" | "RoleBinding") => builds || name(object) == "hookd-runner-pod",
        _ => true,
    });
}

/// The documents of a YAML file.
pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

fn filled(name: &str, namespace: &str, volume: &Path) -> String {
    let cluster = cluster();
    let registry = format!("{}:{}", cluster.registry_host, cluster.registry_port);
    let map = format!("index.docker.io={registry}");
    let mut text = fs::read_to_string(repository(name)).unwrap();
    for (placeholder, value) in [
        ("NAMESPACE", namespace),
        ("RUNNER_NAME", RUNNER),
        ("CLAIM_NAME", CLAIM),
        ("LOCAL_NAMES", "busybox, cache, other, queue"),
        ("VOLUME_PATH", volume.to_str().unwrap()),
        ("HOOKD_IMAGE", &cluster.hookd_image),
        ("RUNNER_IMAGE", &cluster.runner_image),
        ("KANIKO_IMAGE", &cluster.kaniko_image),
        ("REGISTRY_HOST", &cluster.registry_host),
        ("REGISTRY_PORT", &cluster.registry_port),
        ("REGISTRY_NODE_PORT", &cluster.registry_node_port),
        ("REGISTRY_PULL_HOST", ""),
        ("REGISTRY_MAP", &map),
        ("INSECURE_REGISTRIES", &registry),
    ] {
        text = text.replace(&format!("${{{placeholder}}}"), value);
    }
    text
}

/// Takes a verb out of the Role.
fn forbid(role: &mut Value, setup: &Setup) {
    let Some((verb, resource)) = setup.forbidden else { return };
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"].as_array().unwrap().contains(&resource.into()) {
            rule["verbs"].as_array_mut().unwrap().retain(|given| given != verb);
        }
    }
}

/// Mounts a part of the claim only.
fn set_sub_path(pod: &mut Value, setup: &Setup) {
    let Some(part) = setup.sub_path else { return };
    for containers in ["initContainers", "containers"] {
        let all = pod["spec"][containers].as_array_mut().unwrap().iter_mut();
        let mounts = all.flat_map(|container| container["volumeMounts"].as_array_mut().unwrap());
        for mount in mounts.filter(|mount| mount["name"] == "work") {
            mount["subPath"] = part.into();
        }
    }
}

/// Bounds the memory of both containers.
fn set_memory(pod: &mut Value, setup: &Setup) {
    let Some(memory) = setup.memory else { return };
    for containers in ["initContainers", "containers"] {
        for container in pod["spec"][containers].as_array_mut().unwrap() {
            container["resources"]["limits"] = json!({"memory": memory});
        }
    }
}

/// A ConfigMap with the text of a policy.
pub fn policy(namespace: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": POLICY, "namespace": namespace},
        "data": {"policy.yaml": text},
    })
}

/// Mounts that ConfigMap in the sidecar, which reads it.
fn mount_policy(pod: &mut Value, setup: &Setup) {
    if setup.policy.is_none() {
        return;
    }
    let volume = json!({"name": "policy", "configMap": {"name": POLICY}});
    pod["spec"]["volumes"].as_array_mut().unwrap().push(volume);
    let sidecar = &mut pod["spec"]["initContainers"][0];
    let mount = json!({"name": "policy", "mountPath": "/etc/hookd", "readOnly": true});
    sidecar["volumeMounts"].as_array_mut().unwrap().push(mount);
    let variable = json!({"name": "HOOKD_POLICY", "value": "/etc/hookd/policy.yaml"});
    sidecar["env"].as_array_mut().unwrap().push(variable);
}

/// Changes an empty volume.
fn set_empty_dir(pod: &mut Value, setup: &Setup) {
    let Some((name, fields)) = &setup.empty_dir else { return };
    let all = pod["spec"]["volumes"].as_array_mut().unwrap();
    let volume = all.iter_mut().find(|volume| volume["name"] == *name).unwrap();
    volume["emptyDir"] = fields.clone();
}

/// Sets variables of both containers, in place of those that are there.
fn set_environment(pod: &mut Value, setup: &Setup) {
    // A test builds its images itself, and leaves none.
    let deleted = ("HOOKD_BUILT_IMAGES", "delete".to_owned());
    let of_sidecar = [&deleted].into_iter().chain(&setup.environment);
    set_variables(&mut pod["spec"]["initContainers"][0]["env"], of_sidecar);
    set_variables(&mut pod["spec"]["containers"][0]["env"], &setup.of_runner);
}

fn set_variables<'a>(
    variables: &mut Value,
    values: impl IntoIterator<Item = &'a (&'static str, String)>,
) {
    let variables = variables.as_array_mut().unwrap();
    for (name, value) in values {
        variables.retain(|variable| variable["name"] != *name);
        variables.push(json!({"name": name, "value": value}));
    }
}
