//! The buildkitd of deploy/buildkitd, in a namespace of its own.

use std::fs;
use std::thread;

use fake_runner::layout::guid;
use serde_json::{Value, json};
use test_support::cluster::{self, cluster, repository};
use test_support::manifests::{self, TEST_LABEL};
use test_support::{RunnerPod, Setup};

use crate::authority::{Authority, Pair};
use crate::parity::buildkit;

/// It goes when this is dropped.
#[derive(Debug)]
pub struct Buildkitd {
    namespace: String,
    /// For `HOOKD_BUILDKIT_ADDRESS`.
    pub address: String,
    authority: Authority,
}

impl Buildkitd {
    /// With these further lines of its configuration, and these files beside it.
    pub fn start(registries: &str, files: &[(&str, String)]) -> Self {
        let namespace = format!("hookd-test-{}", &guid().unwrap()[..8]);
        let labels = json!({TEST_LABEL: std::process::id().to_string()});
        let objects = objects();
        let (services, others): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| object["kind"] == "Service");
        cluster::create(&[json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": labels}})]);
        cluster::create(&within(&namespace, services));
        let service = cluster::get(&["-n", &namespace, "service", "buildkitd"]);
        let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let authority = Authority::generate();
        let certificate = authority.sign_for(&address);
        let toml = configuration(registries);
        let config: serde_json::Map<_, _> = [("buildkitd.toml", toml)]
            .into_iter()
            .chain(files.iter().map(|(name, text)| (*name, text.clone())))
            .map(|(name, text)| (name.to_owned(), Value::from(text)))
            .collect();
        let own = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "buildkitd"},
                "data": config}),
            tls("buildkitd-tls", &authority, &certificate),
        ];
        cluster::create(&within(&namespace, own.into_iter().chain(others)));
        let started = Self { namespace, address: format!("tcp://{address}:1234"), authority };
        started.wait();
        started
    }

    fn wait(&self) {
        let rollout = ["rollout", "status", "deployment/buildkitd", "--timeout=120s"];
        cluster::kubectl(&[&["-n", &self.namespace], &rollout[..]].concat());
    }

    /// Ends it; the next one has no layers.
    pub fn delete_pod(&self) {
        let delete = ["delete", "pod", "-l", "app.kubernetes.io/name=buildkitd", "--now"];
        cluster::kubectl(&[&["-n", &self.namespace], &delete[..]].concat());
    }

    /// Settings of a hookd that builds with it.
    pub fn setting(&self, setup: Setup) -> Setup {
        buildkit(setup)
            .set("HOOKD_BUILDKIT_ADDRESS", self.address.as_str())
            .set("HOOKD_BUILDKIT_TLS_SECRET", "buildkit-client")
    }

    /// A runner pod whose hookd builds with it.
    pub fn runner(&self, setup: Setup) -> RunnerPod {
        let runner = RunnerPod::with(&self.setting(setup));
        self.admit(&runner);
        runner
    }

    /// A certificate of its authority for the builds of this runner.
    pub fn admit(&self, runner: &RunnerPod) {
        give_certificate(runner, &self.authority);
    }
}

/// A certificate that an authority has signed, with that authority.
pub fn give_certificate(runner: &RunnerPod, authority: &Authority) {
    let secret = tls("buildkit-client", authority, &authority.sign_for("hookd"));
    cluster::create(&within(&runner.namespace, [secret]));
}

fn tls(name: &str, authority: &Authority, pair: &Pair) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {
        "ca.crt": authority.pem(), "tls.crt": pair.certificate(), "tls.key": pair.key(),
    }})
}

/// All but the namespace and the ConfigMap, with the image that the devcluster has.
fn objects() -> Vec<Value> {
    let files = ["deploy/buildkitd/buildkitd.yaml", "deploy/buildkitd/network.yaml"];
    let read = |file: &str| fs::read_to_string(repository(file)).unwrap();
    let mut objects: Vec<Value> =
        files.iter().flat_map(|file| manifests::documents(&read(file))).collect();
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        let pod = &mut object["spec"]["template"]["spec"];
        let container = &mut pod["containers"][0];
        container["image"] = cluster().buildkit_image().into();
        // Its own command and user are those of a rootless one.
        container["command"] = json!(["buildkitd"]);
        container["securityContext"]["runAsUser"] = 0.into();
        // The node of the tests is small.
        container["resources"] = json!({});
        container["readinessProbe"]["periodSeconds"] = 1.into();
        pod["terminationGracePeriodSeconds"] = 1.into();
    }
    objects
}

/// The cluster's registry speaks plain HTTP.
fn configuration(registries: &str) -> String {
    let text = fs::read_to_string(repository("deploy/buildkitd/buildkitd.toml")).unwrap();
    let (host, port) = (&cluster().registry_host, &cluster().registry_port);
    format!("{text}\n[registry.\"{host}:{port}\"]\n  http = true\n{registries}")
}

fn within(namespace: &str, objects: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let placed = objects.into_iter().map(|mut object| {
        object["metadata"]["namespace"] = namespace.into();
        object
    });
    placed.collect()
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = ["logs", "-l", "app.kubernetes.io/name=buildkitd", "--tail=60"];
            let log = cluster::try_kubectl(&[&["-n", &*self.namespace], &logs[..]].concat(), None);
            eprintln!("--- buildkitd\n{}", log.unwrap_or_else(|error| error));
        }
        cluster().delete(&self.namespace);
    }
}
