//! The operations under the real client, against an API server that expects their requests.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::cluster::scripted::{ApiServer, Expected, get, post};
use crate::config::Config;
use crate::context::Context;
use crate::ids::StepId;
use crate::names::{RUNNER_LABEL, STEP_LABEL};
use crate::session::cursor::{Cursor, Offsets};
use crate::session::events::{Acked, Event, EventKind, Session};

mod cleanup_job;
mod deletion;
mod orphans;
mod policy_file;
mod prebuild;
mod prepare_job;
mod run_container_step;

const JOBS: &str = "/apis/batch/v1/namespaces/ns/jobs";
const PODS: &str = "/api/v1/namespaces/ns/pods";
const SECRETS: &str = "/api/v1/namespaces/ns/secrets";

/// hookd in the runner pod "r", which has asked for nothing yet.
struct Hookd {
    context: Arc<Context>,
    api: ApiServer,
    directory: TempDir,
}

impl Hookd {
    fn expecting(script: impl IntoIterator<Item = Expected>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let config = Config::of(&[
            "--socket-dir",
            path,
            "--work-dir",
            path,
            "--container-step-launcher",
            "kubelet",
            "--api-timeout",
            "60",
            "--start-timeout",
            "120",
        ]);
        let api = ApiServer::expecting(script);
        let context = Arc::new(Context::new(config, api.client(), "ns".to_owned()));
        Self { context, api, directory }
    }

    /// The requests of these words.
    fn requests(&self, words: &str) -> Vec<String> {
        let all = self.api.requests().into_iter();
        all.filter(|request| request.contains(words)).collect()
    }
}

/// A step's client that takes everything.
struct Client {
    session: Session,
    received: mpsc::Receiver<Event>,
    _acks: watch::Sender<Acked>,
}

impl Client {
    fn at(cursor: Cursor) -> Self {
        let (events, received) = mpsc::channel(256);
        let (acks, acked) = watch::channel(Acked::ALL);
        let session = Session::new(cursor, Offsets::default(), events, acked);
        Self { session, received, _acks: acks }
    }

    /// The lines and the output that it has received since.
    fn read(&mut self) -> String {
        let mut text = String::new();
        while let Ok(event) = self.received.try_recv() {
            match event.kind {
                EventKind::Progress { message, .. } if message.is_empty() => {}
                EventKind::Progress { message, .. } => text.push_str(&format!("{message}\n")),
                EventKind::Output { data, .. } => text.push_str(&String::from_utf8_lossy(&data)),
            }
        }
        text
    }
}

fn step() -> StepId {
    "s".parse().unwrap()
}

/// What hookd asks at its start; the runner pod and its account are as they should be.
fn discovery() -> [Expected; 3] {
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let review = json!({"spec": {}, "status": {"resourceRules": all, "nonResourceRules": [],
        "incomplete": false}});
    let runner = json!({"metadata": {"name": "r", "uid": "runner"}, "spec": {"containers": []}});
    let version = json!({"buildDate": "", "compiler": "", "gitCommit": "", "gitTreeState": "",
        "gitVersion": "v1.36.0", "goVersion": "", "major": "1", "minor": "36", "platform": ""});
    [
        post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews").answers(201, review),
        get(format!("{PODS}/r")).answers(200, runner),
        get("/version").answers(200, version),
    ]
}

/// Metadata of an object of this runner's and of a step.
fn metadata(name: &str, runner: &str, step: &str) -> Value {
    let labels = json!({RUNNER_LABEL: runner, STEP_LABEL: step});
    json!({"name": name, "uid": format!("uid of {name}"), "resourceVersion": "5",
        "labels": labels, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "r", "uid": "runner"}]})
}

/// Of an object alone.
fn partial(metadata: Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})
}

fn found(collection: &str, name: &str, runner: &str) -> Expected {
    get(format!("{collection}/{name}")).answers(200, partial(metadata(name, runner, "s")))
}

fn absent(collection: &str, name: &str) -> Expected {
    get(format!("{collection}/{name}")).refuses(404, "NotFound", &format!("\"{name}\" not found"))
}

/// The delete of this very object.
fn deletes(collection: &str, name: &str) -> Expected {
    let options = json!({"propagationPolicy": "Background",
        "preconditions": {"uid": format!("uid of {name}")}});
    crate::cluster::scripted::delete(format!("{collection}/{name}"))
        .with_body(options)
        .answers(200, json!({"kind": "Status", "status": "Success"}))
}

/// The end of a container that the kubelet did not live to "create" or to "start".
fn interrupted_start(what: &str) -> Value {
    json!({"terminated": {"exitCode": 128, "reason": "StartError",
        "message": format!("failed to {what} containerd task: context canceled")}})
}

/// A list, of whole objects or of their metadata.
fn listed(items: &[Value]) -> Value {
    json!({"metadata": {"resourceVersion": "5"}, "items": items})
}
