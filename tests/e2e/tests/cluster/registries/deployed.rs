//! The registry of deploy/registry.yaml.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use serde_json::{Value, json};
use test_support::cluster::{cluster, kubectl, repository, run};
use test_support::manifests;
use test_support::wait::{s, until};

use super::secured::Secured;
use crate::build_credentials::{HASH, USER};
use e2e::authority::Pair;

/// What its users fill in.
const NETWORK: &str = "<the nodes' network, for instance 10.0.0.0/24>";
/// What the image that the file names has, and that of the devcluster lacks.
const CONFIG: &str = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n\
                      http: {addr: ':5000'}\n";
const CONFIG_FOLDER: &str = "/etc/docker/registry";
/// What that image has in /bin, too.
const PROGRAMS: &str = "cp /bin/busybox /programs/sh; cp /bin/busybox /programs/timeout; \
    printf '#!/bin/sh\nexec /docker-registry \"$@\"\n' >/programs/registry; chmod +x /programs/registry";
/// User and group of the registry.
const OWNER: u32 = 65534;

/// All objects but its namespace and its Service, with this certificate; the image is that of the
/// devcluster, and so is the volume, a folder.
pub(super) fn objects(namespace: &str, certificate: &Pair) -> Vec<Value> {
    let text = fs::read_to_string(repository("deploy/registry.yaml")).unwrap();
    assert!(text.contains(NETWORK));
    let mut objects = manifests::documents(&text.replace(NETWORK, "10.88.0.0/24"));
    let theirs = ["Namespace", "Service"];
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
    own.into_iter().chain([volume(namespace)]).chain(objects).collect()
}

/// The volume for its claim, which goes with the namespace.
fn volume(namespace: &str) -> Value {
    let folder = cluster().volume(namespace);
    fs::create_dir_all(&folder).unwrap();
    chown(&folder, Some(OWNER), Some(OWNER)).unwrap();
    json!({"apiVersion": "v1", "kind": "PersistentVolume",
    "metadata": {"name": format!("{namespace}-work")},
    "spec": {
        "capacity": {"storage": "50Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": "registry"},
        "hostPath": {"path": folder, "type": "Directory"},
    }})
}

fn adapt(pod: &mut Value) {
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    let collector = &mut pod["initContainers"][0];
    let programs = json!({
        "name": "programs", "image": "busybox:1", "command": ["sh", "-c", PROGRAMS],
        "securityContext": collector["securityContext"],
        "volumeMounts": [mount("programs", "/programs")],
    });
    collector["volumeMounts"].as_array_mut().unwrap().push(mount("programs", "/bin"));
    pod["containers"][0]["args"] = json!(["serve", format!("{CONFIG_FOLDER}/config.yml")]);
    for kind in ["initContainers", "containers"] {
        let container = &mut pod[kind][0];
        container["image"] = "localhost/hookd-devcluster/registry:1".into();
        container["volumeMounts"].as_array_mut().unwrap().push(mount("config", CONFIG_FOLDER));
    }
    pod["initContainers"].as_array_mut().unwrap().insert(0, programs);
    let volumes = pod["volumes"].as_array_mut().unwrap();
    volumes.push(json!({"name": "programs", "emptyDir": {}}));
    volumes.push(json!({"name": "config", "secret": {"secretName": "config"}}));
}

impl Secured {
    /// Bytes on the volume.
    pub(super) fn stored(&self) -> u64 {
        let folder = cluster().volume(&self.namespace);
        let printed = run(Command::new("du").arg("-sb").arg(folder), None).unwrap();
        printed.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// As deploy/registry.yaml says; what its init container prints.
    pub(super) fn restart(&self) -> String {
        let of_registry = ["-n", &self.namespace, "deployment/registry"];
        kubectl(&[&["rollout", "restart"], &of_registry[..]].concat());
        kubectl(&[&["rollout", "status", "--timeout=90s"], &of_registry[..]].concat());
        until("the registry answers", s(60), || self.curl("", &[]).ok());
        kubectl(&["-n", &self.namespace, "logs", "deployment/registry", "-c", "garbage-collect"])
    }

    /// Downloads the blobs of all its images.
    pub(super) fn assert_complete(&self) {
        let tags = self.tags();
        assert!(!tags.is_empty());
        for tag in tags {
            let manifest = self.manifest(&tag);
            let layers = manifest["layers"].as_array().unwrap();
            for blob in layers.iter().chain([&manifest["config"]]) {
                let path = format!("hookd/build/blobs/{}", blob["digest"].as_str().unwrap());
                self.curl(&path, &["-o", "/dev/null"]).unwrap();
            }
        }
    }
}
