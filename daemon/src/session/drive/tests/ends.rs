//! How a call ends when its client, its runner or its daemon goes.

use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;
use crate::cluster::scripted::{ApiServer, End, get};
use crate::error::{Failure, Reason};

/// A call under way.
struct Call {
    sessions: Sessions,
    messages: Messages<u8>,
    controls: UnboundedSender<Control>,
    calls: Arc<std::sync::Mutex<Vec<&'static str>>>,
    _directory: tempfile::TempDir,
}

impl Call {
    /// Of an operation with this result; without one it does not end. Its client acknowledges what
    /// it has acted on.
    fn of(run: Option<fn() -> Result<u8, Failure>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sessions = sessions(directory.path());
        Self::on(sessions, run, directory)
    }

    fn on(
        sessions: Sessions,
        run: Option<fn() -> Result<u8, Failure>>,
        directory: tempfile::TempDir,
    ) -> Self {
        let operation = Scripted { run, creates: false, calls: Arc::default() };
        let calls = operation.calls.clone();
        let (controls, received) = mpsc::unbounded_channel();
        let start = Start { auto_ack: false, ..start(Cursor::default()) };
        let received = UnboundedReceiverStream::new(received);
        let messages = sessions.drive(start, received, operation, ());
        Self { sessions, messages, controls, calls, _directory: directory }
    }

    fn says(&self, control: Control) {
        self.controls.send(control).unwrap();
    }

    /// Everything that can happen now has happened, on the paused clock.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// What was done by now.
    fn done(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }

    /// What is done once the client's connection is closed.
    async fn closed(self) -> (Vec<&'static str>, Sessions) {
        self.settled().await;
        drop(self.messages);
        self.sessions.tasks.close();
        self.sessions.tasks.wait().await;
        let calls = self.calls.lock().unwrap().clone();
        (calls, self.sessions)
    }

    /// Why the call fails.
    async fn fails(&mut self) -> Reason {
        loop {
            match self.messages.next().await.expect("a last message") {
                Err(failure) => return failure.reason,
                Ok(Message::Event(_)) => {}
                Ok(Message::Result(result)) => panic!("it returned {result}"),
            }
        }
    }
}

fn attach(sessions: &Sessions) -> Result<Attached, Failure> {
    sessions.steps.attach(&"abc".parse().unwrap(), CancellationToken::new())
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_client_detached_goes_on_without_it() {
    let call = Call::of(None);
    call.says(Control::Detach);
    let (done, sessions) = call.closed().await;
    assert!(done.is_empty(), "{done:?}");
    // Its client comes back.
    attach(&sessions).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_client_died_is_rolled_back_and_not_run_again() {
    let (done, sessions) = Call::of(None).closed().await;
    assert_eq!(done, ["roll_back"]);
    assert_eq!(attach(&sessions).unwrap_err().reason, Reason::StepLost);
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_finished_when_its_result_is_acknowledged() {
    let mut call = Call::of(Some(|| Ok(7)));
    let result = call.messages.next().await;
    assert!(matches!(result, Some(Ok(Message::Result(7)))), "{result:?}");
    call.settled().await;
    assert!(call.done().is_empty());
    call.says(Control::Ack(Acked { result: true, ..Acked::default() }));
    assert!(call.messages.next().await.is_none());
    call.settled().await;
    assert_eq!(call.done(), ["finish"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_after_the_result_has_acted_on_it() {
    for closes_its_half_only in [false, true] {
        let mut call = Call::of(Some(|| Ok(7)));
        let result = call.messages.next().await;
        assert!(matches!(result, Some(Ok(Message::Result(7)))), "{result:?}");
        if closes_its_half_only {
            call.controls = mpsc::unbounded_channel().0;
            assert!(call.messages.next().await.is_none());
        }
        assert_eq!(call.closed().await.0, ["finish"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_no_step_can_get_is_reported_and_ends_nothing() {
    let mut call = Call::of(None);
    call.says(Control::Signal(1));
    let Some(Ok(Message::Event(event))) = call.messages.next().await else { panic!("no event") };
    let EventKind::Progress { message, .. } = event.kind else { panic!("{event:?}") };
    assert_eq!(message, "Signal 1 cannot be sent to a step");
    // The client keeps the cursor that it has.
    assert!(event.cursor.is_empty());
    call.settled().await;
    assert!(call.done().is_empty());
    call.says(Control::Signal(2));
    assert_eq!(call.fails().await, Reason::Cancelled);
    assert_eq!(call.done(), ["roll_back"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_client_of_a_step_is_refused_and_the_first_one_stays() {
    let call = Call::of(None);
    let second = Scripted { run: Some(|| Ok(1)), creates: false, calls: Arc::default() };
    let calls = second.calls.clone();
    let controls = futures::stream::pending();
    let refused = call.sessions.drive(start(Cursor::default()), controls, second, ());
    let refused: Vec<_> = refused.collect().await;
    let [Err(failure)] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(failure.reason, Reason::InvalidInput);
    assert!(failure.message.contains("step abc"), "{failure}");
    assert!(calls.lock().unwrap().is_empty() && call.done().is_empty());
    assert_eq!(call.sessions.steps.ids(), ["abc"]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_cancels_its_steps() {
    let mut call = Call::of(None);
    call.settled().await;
    call.sessions.stopping.cancel();
    assert_eq!(call.fails().await, Reason::Cancelled);
    assert_eq!(call.done(), ["roll_back"]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_pod_that_is_deleted_cancels_its_steps() {
    let pods = "/api/v1/namespaces/ns/pods";
    let runner = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r", "uid": "u",
        "resourceVersion": "1"}});
    let mut going = runner.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let list = json!({"metadata": {"resourceVersion": "1"}, "items": [runner]});
    let by_name = || get(pods).with_query("fieldSelector=metadata.name=r");
    let deletion = json!({"type": "MODIFIED", "object": going});
    let api = ApiServer::expecting([
        by_name().answers(200, list),
        by_name().with_query("watch=true").streams([deletion], End::Open),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let mut sessions = sessions(directory.path());
    let steps = sessions.steps.clone();
    sessions.runner_deletion = RunnerDeletion::new(api.cluster(), "r".to_owned(), steps);
    let mut call = Call::on(sessions, None, directory);
    assert_eq!(api.during(call.fails()).await, Reason::Cancelled);
    assert_eq!(call.done(), ["roll_back"]);
}
