use super::*;
use crate::error::{Explain, Reason};

/// A Job that may run for 60 s.
fn job(seconds: i64, reason: &str) -> Job {
    let began = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
    let conditions = [serde_json::json!({"type": "Failed", "status": "True", "reason": reason})];
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": "j"},
        "spec": {"activeDeadlineSeconds": 60, "template": {}},
        "status": {"startTime": began.to_string(), "conditions": conditions},
    }))
    .unwrap()
}

#[test]
fn a_job_is_late_by_its_condition_or_by_its_time() {
    assert!(is_late(&job(61, "")) && is_late(&job(1, "DeadlineExceeded")));
    assert!(!is_late(&job(30, "BackoffLimitExceeded")) && !is_late(&Job::default()));
}

#[test]
fn a_lost_step_keeps_its_message_unless_its_job_is_late() {
    let own = Failure::undone();
    for in_time in [None, Some(&job(30, ""))] {
        let failure = unless_late(in_time, Failure::undone());
        assert_eq!((failure.reason, failure.message), (own.reason, own.message.clone()));
    }
    let failure = unless_late(Some(&job(61, "")), Failure::undone());
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
    assert!(failure.message.contains("Job j ran longer"), "{failure}");
}

#[test]
fn a_late_pod_names_the_reason_and_the_setting() {
    let why = "no node can take the pod: 1 Insufficient cpu.".to_owned();
    let failure = Failure::from(late("Job j".to_owned(), Duration::from_secs(600), why));
    assert_eq!(failure.reason, Reason::PodUnschedulable);
    assert!(failure.message.contains("600 s") && failure.message.contains("Insufficient cpu"));
    assert!(failure.remedy.contains("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS"));
    assert_eq!(
        late("the job".to_owned(), Duration::from_secs(1), String::new()).reason(),
        Reason::DeadlineExceeded
    );
}

#[test]
fn a_step_without_a_pod_reports_the_refusal_at_its_deadline() {
    let (deadline, timeout) = (Instant::now(), Duration::from_secs(600));
    let awaited = Awaited { job: None, container: "c", phase: Phase::RunPending };
    let quota = Failure::new(Reason::QuotaExceeded, "exceeded quota: q", "Raise it");
    let wait = Wait { refusal: Some(quota), ..Wait::default() };
    assert_eq!(wait.until(deadline), deadline);
    let failure = wait.failure(&awaited, deadline, timeout);
    assert_eq!(failure.reason, Reason::QuotaExceeded);
    assert!(failure.message.contains("600 s: exceeded quota: q"), "{failure}");
    assert!(failure.remedy.starts_with("Raise it; to wait longer"), "{}", failure.remedy);
    let failure = Wait::default().failure(&awaited, deadline, timeout);
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
}

// The kubelet waits for a Secret that does not exist as long as the pod lives.
#[tokio::test(start_paused = true)]
async fn a_secret_that_stays_missing_is_not_waited_for() {
    let (timeout, now) = (Duration::from_secs(600), Instant::now());
    let mut wait = Wait::default();
    for event in [
        "MountVolume.SetUp failed for volume \"x\" : failed to sync secret cache: timed out",
        "MountVolume.SetUp failed for volume \"x\" : rpc error: image \"y\" not found",
        "Pulling image \"x\"",
    ] {
        wait.heed(event);
        assert_eq!(wait.until(now + timeout), now + timeout, "{event}");
    }
    for event in [
        "MountVolume.SetUp failed for volume \"x\" : secret \"registry\" not found",
        "MountVolume.SetUp failed for volume \"x\" : configmap \"registry\" not found",
        "MountVolume.SetUp failed for volume \"x\" : references non-existent secret key: registry",
    ] {
        let mut wait = Wait::default();
        wait.heed(event);
        assert_eq!(wait.until(now + timeout), now + MOUNT_GRACE_PERIOD, "{event}");
        let awaited = Awaited { job: None, container: "c", phase: Phase::RunPending };
        let failure = wait.failure(&awaited, now + timeout, timeout);
        assert_eq!(failure.reason, Reason::StartFailed);
        assert!(failure.message.contains("registry"), "{failure}");
    }
}

// Events come in any order, and those of the past come again.
#[tokio::test(start_paused = true)]
async fn a_secret_that_came_late_fails_no_pod() {
    let missing = "MountVolume.SetUp failed for volume \"x\" : secret \"registry\" not found";
    let pulling = "Pulling image \"busybox:1\"";
    let deadline = Instant::now() + Duration::from_secs(600);
    for events in [[missing, pulling], [pulling, missing]] {
        let mut wait = Wait::default();
        events.into_iter().for_each(|event| wait.heed(event));
        assert_eq!(wait.until(deadline), deadline, "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_trouble_whose_time_is_up_is_reported() {
    let now = Instant::now();
    let (timeout, later) = (Duration::from_secs(600), now + Duration::from_secs(60));
    let failure = |message: &str| Failure::new(Reason::StartFailed, message, "");
    let wait = Wait {
        trouble: Some((now, later, failure("the pull"))),
        mount: Some((now + MOUNT_GRACE_PERIOD, failure("the mount"))),
        ..Wait::default()
    };
    let awaited = Awaited { job: None, container: "c", phase: Phase::RunPending };
    assert_eq!(wait.failure(&awaited, now + timeout, timeout).message, "the mount");
}
