//! Calls that end in an unusual way.

use std::path::Path;

use bytes::Bytes;
use futures::future::BoxFuture;
use hookd_api::v1::Stream as StdStream;
use http::{Request, Response};
use http_body_util::Full;
use kube::Client;

use super::*;
use crate::cluster::Cluster;
use crate::error::Reason;
use crate::session::cursor::BuildPosition;

mod ends;

/// Sessions on a cluster that answers nothing but 404.
fn sessions(socket_dir: &Path) -> Sessions {
    let service = tower::service_fn(|_: Request<kube::client::Body>| {
        let body = r#"{"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}"#;
        std::future::ready(Response::builder().status(404).body(Full::<Bytes>::from(body)))
    });
    let cluster = Cluster::of(Client::new(service, "ns"));
    let steps = Steps::default();
    Sessions {
        crashes: Crashes::load(socket_dir),
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
        runner_deletion: RunnerDeletion::new(cluster, "r".to_owned(), steps.clone()),
        origin: watch::Sender::default(),
        steps,
    }
}

/// What the operation of a test does, and whether it was rolled back or finished.
struct Scripted {
    /// None: it never ends by itself.
    run: Option<fn() -> Result<u8, Failure>>,
    creates: bool,
    calls: Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl Operation for Scripted {
    type Output = u8;
    const CALL: crate::metrics::Call = crate::metrics::Call::RunScriptStep;

    async fn run(&mut self, session: &mut Session) -> Result<u8, Failure> {
        let build = BuildPosition { token: Some(token()), ..BuildPosition::default() };
        session.cursor.build = Some(build);
        match self.run {
            Some(run) => run(),
            None => std::future::pending().await,
        }
    }

    fn roll_back(&self, _: Option<&Cursor>) -> BoxFuture<'static, ()> {
        let calls = self.calls.clone();
        async move { calls.lock().unwrap().push("roll_back") }.boxed()
    }

    async fn finish(&self, _: &Cursor) {
        self.calls.lock().unwrap().push("finish");
    }

    fn creates_objects(&self) -> bool {
        self.creates
    }
}

fn token() -> String {
    "0123456789abcdef".repeat(2)
}

fn defect() -> Result<u8, Failure> {
    panic!("a defect")
}

/// What the client of one call hears, and what was done in the end.
struct Heard {
    output: String,
    result: Result<u8, Reason>,
    calls: Vec<&'static str>,
}

fn start(cursor: Cursor) -> Start {
    let offsets = Offsets { stdout: 0, stderr: 5 };
    let (step, span) = ("abc".parse().unwrap(), Span::none());
    Start { step, cursor, offsets, auto_ack: true, span, origin: None }
}

async fn heard(sessions: Sessions, run: fn() -> Result<u8, Failure>, cursor: Cursor) -> Heard {
    let start = start(cursor);
    let operation = Scripted { run: Some(run), creates: true, calls: Arc::default() };
    let calls = operation.calls.clone();
    let messages = sessions.drive(start, futures::stream::pending(), operation, ());
    let messages: Vec<_> = messages.collect().await;
    let (mut output, mut result) = (String::new(), None);
    for message in messages {
        match message {
            Ok(Message::Event(Event {
                kind: EventKind::Output { data, offset, stream }, ..
            })) => {
                assert_eq!((offset, stream), (5, StdStream::Stderr));
                output.push_str(std::str::from_utf8(&data).unwrap());
            }
            Ok(Message::Event(_)) => {}
            Ok(Message::Result(value)) => result = Some(Ok(value)),
            Err(failure) => result = Some(Err(failure.reason)),
        }
    }
    sessions.tasks.close();
    sessions.tasks.wait().await;
    let calls = calls.lock().unwrap().clone();
    Heard { output, result: result.unwrap(), calls }
}

#[tokio::test]
async fn an_operation_with_a_result_is_finished_and_not_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let heard = heard(sessions(directory.path()), || Ok(7), Cursor::default()).await;
    assert_eq!((heard.result, heard.calls), (Ok(7), vec!["finish"]));
}

#[tokio::test]
async fn an_operation_that_fails_is_rolled_back_and_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let fail = || Err(Failure::new(Reason::BuildFailed, "It failed", "Mend it"));
    let heard = heard(sessions(directory.path()), fail, Cursor::default()).await;
    assert_eq!((heard.result, heard.calls), (Err(Reason::BuildFailed), vec!["roll_back"]));
}

#[tokio::test]
async fn a_panic_in_a_build_leaves_no_commands_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let heard = heard(sessions(directory.path()), defect, Cursor::default()).await;
    assert_eq!(heard.output, format!("::{}::\n##[endgroup]\n", token()));
    assert_eq!((heard.result, heard.calls), (Err(Reason::Internal), vec!["roll_back"]));
}

#[tokio::test]
async fn a_call_that_killed_two_daemons_is_refused_with_commands_on() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        std::mem::forget(sessions(directory.path()).crashes.begin(&"abc".parse().unwrap()));
    }
    let build = BuildPosition { token: Some(token()), ..BuildPosition::default() };
    let cursor = Cursor { build: Some(build), ..Cursor::default() };
    let heard = heard(sessions(directory.path()), || Ok(7), cursor).await;
    assert_eq!(heard.output, format!("::{}::\n##[endgroup]\n", token()));
    assert_eq!((heard.result, heard.calls), (Err(Reason::DaemonCrashed), Vec::new()));
}

/// What is done in the end of a step that its client cancels.
async fn cancelled(creates: bool) -> Vec<&'static str> {
    let directory = tempfile::tempdir().unwrap();
    let sessions = sessions(directory.path());
    let operation = Scripted { run: None, creates, calls: Arc::default() };
    let calls = operation.calls.clone();
    let controls = futures::stream::iter([Control::Signal(15)]);
    let messages = sessions.drive(start(Cursor::default()), controls, operation, ());
    let messages: Vec<_> = messages.collect().await;
    let last = messages.into_iter().next_back().unwrap();
    assert_eq!(last.err().unwrap().reason, Reason::Cancelled);
    sessions.tasks.close();
    sessions.tasks.wait().await;
    calls.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_operation_is_rolled_back_again_for_late_creates() {
    assert_eq!(cancelled(true).await, ["roll_back", "roll_back"]);
    assert_eq!(cancelled(false).await, ["roll_back"]);
}
