//! The cluster that the tests run on.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::manifests::TEST_LABEL;
use crate::volume;

/// Seconds; no program that the tests start takes longer.
const LONGEST_RUN: &str = "240";
/// How timeout(1) says that it ended the program.
const TIMED_OUT: i32 = 124;

/// Where the cluster is and what it is made of.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The devcluster's folder.
    pub state: PathBuf,
    /// Image with hookd, by digest: a tag that moves is not pulled again.
    pub hookd_image: String,
    /// Image of the runner.
    pub runner_image: String,
    /// Image of the Kaniko executor.
    pub kaniko_image: String,
    /// The registry as pods reach it.
    pub registry_host: String,
    /// Its port.
    pub registry_port: String,
    /// The port of the node that the kubelet reaches it at.
    pub registry_node_port: String,
}

/// The cluster; fails the test if there is none.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let found = CLUSTER.get_or_init(find);
    found.as_ref().unwrap_or_else(|error| {
        panic!("there is no cluster to test on: {error}. `make test-cluster` starts one and runs these tests")
    })
}

impl Cluster {
    /// Image of BuildKit, which `deploy/devcluster/buildkit.sh` makes.
    ///
    /// # Panics
    /// If it has not been made.
    pub fn buildkit_image(&self) -> String {
        let name = format!("localhost:{}/moby/buildkit:rootless", self.registry_node_port);
        by_digest(&name).unwrap_or_else(|error| {
            panic!("there is no BuildKit: {error}. deploy/devcluster/buildkit.sh makes its image")
        })
    }
}

fn find() -> Result<Cluster, String> {
    let setting = |name: &str| {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("{name} is not set (. /var/lib/hookd-devcluster/env sets it)"))
    };
    setting("KUBECONFIG")?;
    let found = Cluster {
        state: setting("HOOKD_DEVCLUSTER_DIR")?.into(),
        hookd_image: by_digest(&setting("HOOKD_IMAGE")?)?,
        runner_image: setting("HOOKD_RUNNER_IMAGE")?,
        kaniko_image: setting("HOOKD_KANIKO_IMAGE")?,
        registry_host: setting("HOOKD_REGISTRY_HOST")?,
        registry_port: setting("HOOKD_REGISTRY_PORT")?,
        registry_node_port: setting("HOOKD_REGISTRY_NODE_PORT")?,
    };
    if !rustix::process::geteuid().is_root() {
        return Err("the tests read /proc of their pods and so have to run as root".to_owned());
    }
    try_kubectl(&["get", "--raw", "/readyz"], None)
        .map_err(|error| format!("the API server is not ready ({})", error.trim()))?;
    sweep(&found)?;
    Ok(found)
}

/// Deletes what a run left that was killed, or that had `HOOKD_KEEP` set.
fn sweep(cluster: &Cluster) -> Result<(), String> {
    let list = try_kubectl(&["get", "namespaces", "-l", TEST_LABEL, "-o", "json"], None)?;
    let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
    for namespace in list["items"].as_array().into_iter().flatten() {
        let metadata = &namespace["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let process = PathBuf::from("/proc").join(text(&metadata["labels"][TEST_LABEL]));
        if !process.exists() {
            cluster.delete(&text(&metadata["name"]));
        }
    }
    Ok(())
}

impl Cluster {
    /// The work volume of the runner in a namespace.
    pub fn volume(&self, namespace: &str) -> PathBuf {
        self.state.join("volumes").join(namespace)
    }

    /// Deletes a namespace of a test and its work volume, without waiting for the end of it.
    pub fn delete(&self, namespace: &str) {
        let volume = format!("{namespace}-work");
        for (kind, name) in [("namespace", namespace), ("persistentvolume", &volume)] {
            // What is gone already need not be deleted.
            let _ = try_kubectl(&["delete", kind, name, "--wait=false"], None);
        }
        // Whatever still writes there loses it.
        let folder = self.volume(namespace);
        volume::unmount(&folder);
        let remove = ["-rf", "--one-file-system"];
        let _ = Command::new("rm").args(remove).arg(folder).status();
    }
}

fn by_digest(image: &str) -> Result<String, String> {
    if image.contains('@') {
        return Ok(image.to_owned());
    }
    let digest = run(Command::new("crane").args(["digest", image]), None)
        .map_err(|error| format!("the image {image} is not in the registry ({})", error.trim()))?;
    let (name, _tag) = image.rsplit_once(':').unwrap_or((image, ""));
    Ok(format!("{name}@{}", digest.trim()))
}

/// Runs kubectl; what it prints.
///
/// # Errors
/// What it printed on standard error.
pub fn try_kubectl(arguments: &[&str], input: Option<&str>) -> Result<String, String> {
    run(Command::new("kubectl").args(arguments), input)
}

/// Runs kubectl, which must succeed.
pub fn kubectl(arguments: &[&str]) -> String {
    try_kubectl(arguments, None).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}

/// What `kubectl get <arguments> -o json` returns.
pub fn get(arguments: &[&str]) -> Value {
    let text = kubectl(&[&["get", "-o", "json"], arguments].concat());
    serde_json::from_str(&text).unwrap()
}

/// Creates objects, in order.
pub fn create(objects: &[Value]) {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let created = try_kubectl(&["create", "-f", "-"], Some(&list.to_string()));
    created.unwrap_or_else(|error| panic!("kubectl create: {error}"));
}

/// Posts an object to a path of the API.
pub fn post(path: &str, object: &Value) {
    let posted = try_kubectl(&["create", "--raw", path, "-f", "-"], Some(&object.to_string()));
    posted.unwrap_or_else(|error| panic!("POST {path}: {error}"));
}

/// A script of deploy/.
pub fn script(name: &str, arguments: &[&str]) -> String {
    let path = repository("deploy").join(name);
    let ran = run(Command::new(&path).args(arguments), None);
    ran.unwrap_or_else(|error| panic!("{} {arguments:?}: {error}", path.display()))
}

/// A file of this repository. Checkouts share their build directory: the path is that of the run, not
/// of the build.
pub fn repository(name: &str) -> PathBuf {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    package.ancestors().find(|path| path.join("Cargo.lock").exists()).unwrap().join(name)
}

/// Runs a program to its end; its standard output, or its standard error if it fails. One that hangs
/// is ended, so that it fails its test and not the whole run.
pub fn run(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut bounded = bounded(command);
    let mut child =
        bounded.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(
            |error| format!("{} cannot be run: {error}", command.get_program().display()),
        )?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(TIMED_OUT) => {
            Err(format!("not ended after {LONGEST_RUN} s; {}", text(&output.stderr)))
        }
        _ => Err(text(&output.stderr)),
    }
}

/// The same program with at most [`LONGEST_RUN`] seconds, after which it is killed.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", LONGEST_RUN]).arg(command.get_program());
    bounded.args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        bounded.current_dir(directory);
    }
    bounded
}
