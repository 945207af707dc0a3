//! The registry of deploy/registry.yaml.

use std::fs;

use serde_json::{Value, json};
use test_support::cluster::repository;
use test_support::manifests;

use crate::build_credentials::{HASH, USER};
use e2e::authority::Pair;

/// What its users fill in.
const NETWORK: &str = "<the nodes' network, for instance 10.0.0.0/24>";
/// What the image that the file names has, and that of the devcluster lacks.
const CONFIG: &str = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n\
                      http: {addr: ':5000'}\n";
const CONFIG_FOLDER: &str = "/etc/docker/registry";

/// All objects but its namespace and its Service, with this certificate; the image and the volume are
/// those that the devcluster has.
pub(super) fn objects(namespace: &str, certificate: &Pair) -> Vec<Value> {
    let text = fs::read_to_string(repository("deploy/registry.yaml")).unwrap();
    assert!(text.contains(NETWORK));
    let mut objects = manifests::documents(&text.replace(NETWORK, "10.88.0.0/24"));
    let theirs = ["Namespace", "Service", "PersistentVolumeClaim"];
    objects.retain(|object| !theirs.contains(&object["kind"].as_str().unwrap()));
    for object in &mut objects {
        object["metadata"]["namespace"] = namespace.into();
        if object["kind"] == "Deployment" {
            adapt(&mut object["spec"]["template"]["spec"]);
        }
    }
    let secret = |name: &str, data: Value| {
        json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace}, "stringData": data})
    };
    let tls = json!({"tls.crt": certificate.certificate(), "tls.key": certificate.key()});
    let own = [
        secret("registry-users", json!({"htpasswd": format!("{USER}:{HASH}\n")})),
        secret("registry-tls", tls),
        secret("config", json!({"config.yml": CONFIG})),
    ];
    own.into_iter().chain(objects).collect()
}

fn adapt(pod: &mut Value) {
    let container = &mut pod["containers"][0];
    container["image"] = "localhost/hookd-devcluster/registry:1".into();
    container["args"] = json!(["serve", format!("{CONFIG_FOLDER}/config.yml")]);
    let mount = json!({"name": "config", "mountPath": CONFIG_FOLDER});
    container["volumeMounts"].as_array_mut().unwrap().push(mount);
    let volumes = pod["volumes"].as_array_mut().unwrap();
    volumes.retain(|volume| volume["name"] != "data");
    volumes.push(json!({"name": "data", "emptyDir": {}}));
    volumes.push(json!({"name": "config", "secret": {"secretName": "config"}}));
}
