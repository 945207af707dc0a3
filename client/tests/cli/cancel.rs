//! Signals of the runner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hookd_api::v1::control::Kind;
use hookd_api::v1::{CancelStepResponse, CleanupJobResponse, Signal as SignalMessage};
use rustix::process::Signal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::Place;
use crate::support::hookd::{Call, StepCall};

/// The runner's SIGTERM comes 7.5 s after its SIGINT.
const BEFORE_TERM: Duration = Duration::from_secs(7);

/// hookd's answer to a cancelled step.
fn cancelled() -> Status {
    let details = ErrorDetails::with_error_info("CANCELLED", "hookd", HashMap::new());
    Status::with_error_details(Code::Cancelled, "the step was cancelled", details)
}

/// Reads up to the signal that hook passes on.
async fn passed_on(step: &mut StepCall) -> i32 {
    loop {
        match step.request().await {
            Some(Kind::Signal(SignalMessage { number })) => return number,
            Some(Kind::Ack(_)) => {}
            other => panic!("not a Signal: {other:?}"),
        }
    }
}

#[tokio::test]
async fn two_interrupts_cancel_the_step_once() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("one\n").await;
    hook.printed("one\n").await;
    hook.signal(Signal::INT);
    hook.complained("Cancelling the step\n").await;
    hook.signal(Signal::INT);
    assert_eq!(passed_on(&mut step).await, 2);
    step.stdout("last words\n").await;
    step.ack(|ack| ack.stdout_offset == 15).await;
    step.fail(cancelled()).await;
    let finished = hook.finished().await;
    assert_eq!(finished.text(), "one\nlast words\n");
    assert_eq!(finished.own_lines(), "Cancelling the step\nThe step was cancelled\n");
    assert_eq!(finished.code, 130);
    assert!(!place.response_file().exists());
}

#[tokio::test]
async fn a_termination_ends_with_its_own_code() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("half").await;
    hook.printed("half").await;
    hook.signal(Signal::TERM);
    assert_eq!(passed_on(&mut step).await, 15);
    step.fail(cancelled()).await;
    let finished = hook.finished().await;
    assert_eq!(finished.text(), "half");
    assert_eq!(finished.own_lines(), "Cancelling the step\nThe step was cancelled\n");
    assert_eq!(finished.code, 143);
}

#[tokio::test]
async fn a_hookd_that_does_not_answer_a_cancellation_is_left_in_time() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("running").await;
    hook.complained("running").await;
    let start = Instant::now();
    hook.signal(Signal::INT);
    assert_eq!(passed_on(&mut step).await, 2);
    let finished = hook.finished().await;
    assert!(start.elapsed() < BEFORE_TERM, "{:?}", start.elapsed());
    assert_eq!(finished.code, 130);
    assert!(
        finished.own_lines().ends_with("The step has not ended yet; hookd goes on ending it\n")
    );
}

#[tokio::test]
async fn a_reader_that_is_stuck_does_not_hold_a_cancelled_hook() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let input = format!("{}\n", place.step_input());
    let (mut child, _unread) = place.command().start_unread(input.into_bytes());
    let mut step = hookd.step().await;
    step.stdout(vec![b'x'; 128 << 10]).await;
    // The pipe takes 64 KiB: the hook is in the middle of its write by now or soon.
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    let start = Instant::now();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(passed_on(&mut step).await, 2);
    step.fail(cancelled()).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert!(start.elapsed() < BEFORE_TERM, "{:?}", start.elapsed());
}

#[tokio::test]
async fn another_failure_after_a_cancellation_is_still_reported() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("running").await;
    hook.complained("running").await;
    hook.signal(Signal::INT);
    passed_on(&mut step).await;
    let details = ErrorDetails::with_error_info("CLUSTER_LOST", "hookd", HashMap::new());
    step.fail(Status::with_error_details(Code::Unavailable, "no API server", details)).await;
    let finished = hook.finished().await;
    assert!(finished.own_lines().ends_with("::error title=Cluster lost::no API server.\n"));
    assert_eq!(finished.code, 130);
}

#[tokio::test]
async fn a_step_that_hookd_never_heard_of_is_cancelled_at_once() {
    let place = Place::new();
    let hook = place.step();
    hook.complained("hookd is not answering").await;
    let start = Instant::now();
    hook.signal(Signal::INT);
    let finished = hook.finished().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(finished.own_lines().ends_with("Cancelling the step\nThe step was cancelled\n"));
    assert_eq!(finished.code, 130);
}

#[tokio::test]
async fn a_step_whose_connection_is_gone_is_cancelled_by_name() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.progress("running").await;
    hook.complained("running").await;
    hookd.die();
    hook.complained("Connection to hookd lost").await;
    hook.signal(Signal::TERM);
    hook.complained("Cancelling the step").await;
    let mut hookd = place.hookd().await;
    let Call::Cancel(id, answer) = hookd.call().await else { panic!("not CancelStep") };
    assert_eq!(id, step.start.step_id);
    answer.send(Ok(CancelStepResponse { found: true })).unwrap();
    let finished = hook.finished().await;
    assert!(finished.own_lines().ends_with("Cancelling the step\nThe step was cancelled\n"));
    assert_eq!(finished.code, 143);
}

#[tokio::test]
async fn a_step_cancelled_elsewhere_is_reported_as_an_error() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    hookd.step().await.fail(cancelled()).await;
    hook.finished().await.assert_error("::error title=Cancelled::the step was cancelled.");
}

#[tokio::test]
async fn a_clean_up_goes_on_after_a_signal() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&place.input("cleanup_job", serde_json::json!({})));
    let answer = hookd.cleanup().await;
    hook.signal(Signal::INT);
    answer.send(Ok(CleanupJobResponse { deleted: 1, ..CleanupJobResponse::default() })).unwrap();
    let finished = hook.finished().await;
    assert_eq!(
        (finished.code, finished.own_lines().as_str()),
        (0, "::debug::hookd deleted 1 objects\n")
    );
}
