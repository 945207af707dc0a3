//! The runner pods that ARC's charts make of the values in deploy/.

use std::fs;

use serde_json::{Value, json};

use crate::cluster::{cluster, get, repository};
use crate::manifests::documents;
use crate::runner::RUNNER;

/// A file of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `deploy/values.yaml`, for the chart gha-runner-scale-set.
    Stable,
    /// `deploy/values-experimental.yaml`, for gha-runner-scale-set-experimental.
    Experimental,
    /// What the chart of hookd has made for gha-runner-scale-set in the runner's namespace.
    Chart,
}

impl Values {
    /// The pod as ARC's controller makes it, but for the runner's program; and what its account needs.
    pub(crate) fn rendered(self, namespace: &str) -> Vec<Value> {
        let mut spec = match self {
            Self::Stable => file("deploy/values.yaml")["template"]["spec"].clone(),
            Self::Experimental => by_experimental_chart(&file("deploy/values-experimental.yaml")),
            Self::Chart => {
                let map = get(&["-n", namespace, "configmap", "hookd-arc-values"]);
                let file = documents(map["data"]["values.yaml"].as_str().unwrap()).remove(0);
                file["template"]["spec"].clone()
            }
        };
        fill(&mut spec);
        let labels = json!({"actions-ephemeral-runner": "True"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": RUNNER, "labels": labels}, "spec": spec});
        match self {
            Self::Stable | Self::Chart => vec![pod],
            Self::Experimental => account().into_iter().chain([pod]).collect(),
        }
    }
}

fn file(name: &str) -> Value {
    documents(&fs::read_to_string(repository(name)).unwrap()).remove(0)
}

/// The account that the experimental chart makes for runners that are not in its mode "kubernetes".
const ACCOUNT: &str = "scale-set-no-permission";

/// The chart's template in its mode "": `autoscalingrunnserset.yaml`, `_mode_empty.tpl` and the volumes of
/// `_mode_dind.tpl` of version 0.14.2.
fn by_experimental_chart(values: &Value) -> Value {
    let runner = &values["runner"];
    assert_eq!(runner["mode"], "");
    let mut spec = runner["pod"]["spec"].clone();
    assert!(spec.get("serviceAccountName").is_none(), "the chart does not take it");
    let mut container = runner["container"].clone();
    container["name"] = "runner".into();
    spec["containers"] = json!([container]);
    spec["serviceAccountName"] = ACCOUNT.into();
    let volumes = spec["volumes"].as_array_mut().unwrap();
    for own in ["dind-externals", "dind-sock", "work"] {
        volumes.insert(0, json!({"name": own, "emptyDir": {}}));
    }
    spec
}

/// The account, bound to the Role of deploy/rbac.yaml as the head of the values says.
fn account() -> [Value; 2] {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
        "name": "hookd-runner-pod"});
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "scale-set-hookd"}, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT}]}),
    ]
}

/// Images and registries of the cluster, what the controller adds, and a program that waits.
fn fill(spec: &mut Value) {
    let cluster = cluster();
    let hookd = &mut spec["initContainers"][0];
    hookd["image"] = cluster.hookd_image.as_str().into();
    let registry = format!("{}:{}", cluster.registry_host, cluster.registry_port);
    for (name, value) in [
        ("HOOKD_KANIKO_IMAGE", cluster.kaniko_image.clone()),
        ("HOOKD_REGISTRY_MAP", format!("index.docker.io={registry}")),
        ("HOOKD_INSECURE_REGISTRIES", registry),
    ] {
        hookd["env"].as_array_mut().unwrap().push(json!({"name": name, "value": value}));
    }
    let runner = &mut spec["containers"][0];
    assert_eq!(runner["command"], json!(["/home/runner/run.sh"]));
    runner["image"] = cluster.runner_image.as_str().into();
    let waits = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";
    runner["command"] = json!(["/bin/bash", "-c", waits]);
    let variables = runner["env"].as_array_mut().unwrap();
    variables.push(json!({"name": "ACTIONS_RUNNER_INPUT_JITCONFIG", "value": "e30="}));
    spec["restartPolicy"] = "Never".into();
}
