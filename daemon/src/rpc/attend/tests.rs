//! Calls that end in an unusual way, against an API server that knows the runner's pod only.

use std::path::Path;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use kube::Client;
use serde_json::{Value, json};
use tonic_types::StatusExt;

use super::super::limits::Limits;
use super::*;
use crate::config::Config;
use crate::step::cursor::BuildPosition;

fn api(path: &str) -> (u16, Value) {
    if path.ends_with("selfsubjectrulesreviews") {
        let status = json!({"incomplete": true, "resourceRules": [], "nonResourceRules": []});
        return (201, json!({"metadata": {}, "spec": {}, "status": status}));
    }
    if path == "/version" {
        let names = [
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ];
        return (200, names.into_iter().map(|name| (name, "1")).collect());
    }
    if path.ends_with("/pods/r") {
        return (200, json!({"metadata": {"name": "r"}, "spec": {"containers": []}}));
    }
    (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}))
}

fn context(socket_dir: &Path) -> Arc<Context> {
    let service = tower::service_fn(|request: Request<kube::client::Body>| {
        let (code, body) = api(request.uri().path());
        let body = Full::<Bytes>::from(body.to_string());
        std::future::ready(Response::builder().status(code).body(body))
    });
    let config = Config::of(&["--socket-dir", socket_dir.to_str().unwrap()]);
    Arc::new(Context::new(config, Client::new(service, "ns"), "ns".to_owned()))
}

fn token() -> String {
    "0123456789abcdef".repeat(2)
}

fn defect() -> Failure {
    panic!("a defect")
}

/// What the caller reads of a call: its output, and the reason of its failure.
async fn heard(context: Arc<Context>, cursor: Cursor) -> (String, String) {
    let step = "abc".parse().unwrap();
    let session = Session { step, cursor, offsets: (5, 0), auto_ack: true };
    let who = (context, (session, Limits::default().share(0).unwrap()), Leaves::Jobs);
    let events = attend::<(), _>(who, futures::stream::pending(), |_, _, caller| {
        Box::pin(async move {
            let build = BuildPosition { token: Some(token()), ..BuildPosition::default() };
            caller.cursor.build = Some(build);
            Err(defect())
        })
    });
    let events: Vec<_> = events.unwrap().collect().await;
    let (mut output, mut reason) = (String::new(), String::new());
    for event in events {
        match event {
            Ok(Message::Event(Event { kind: EventKind::Output { data, offset, .. }, .. })) => {
                assert_eq!(offset, 5);
                output.push_str(std::str::from_utf8(&data).unwrap());
            }
            Ok(_) => {}
            Err(status) => reason = status.get_details_error_info().unwrap().reason,
        }
    }
    (output, reason)
}

#[tokio::test]
async fn a_panic_in_a_build_leaves_no_commands_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let (output, reason) = heard(context(directory.path()), Cursor::default()).await;
    assert_eq!(output, format!("::{}::\n##[endgroup]\n", token()));
    assert_eq!(reason, "INTERNAL");
}

#[tokio::test]
async fn a_call_that_killed_two_daemons_is_refused_with_commands_on() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        std::mem::forget(context(directory.path()).crashes.begin(&"abc".parse().unwrap()));
    }
    let build = BuildPosition { token: Some(token()), ..BuildPosition::default() };
    let cursor = Cursor { build: Some(build), ..Cursor::default() };
    let (output, reason) = heard(context(directory.path()), cursor).await;
    assert_eq!(output, format!("::{}::\n##[endgroup]\n", token()));
    assert_eq!(reason, "DAEMON_CRASHED");
}
