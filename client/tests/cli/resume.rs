//! A hookd that goes away in the middle of a step.

use hookd_api::v1::{CleanupJobResponse, Stream};
use tonic::Status;

use crate::support::Place;
use crate::support::hookd::FakeHookd;

/// What hook says of a connection that broke.
const LOST: &str = "Connection to hookd lost; carrying on\n";

#[tokio::test]
async fn a_step_goes_on_where_its_output_stopped() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut step = hookd.step().await;
    step.stdout("one\n").await;
    step.output(Stream::Stderr, b"warn\n").await;
    step.ack(|ack| ack.stdout_offset == 4 && ack.stderr_offset == 5).await;
    let before = step.start.clone();
    hookd.die();

    let mut hookd = place.hookd().await;
    let mut step = hookd.step().await;
    assert_eq!(step.start.step_id, before.step_id);
    assert_eq!(step.start.container, before.container);
    let resume = step.start.resume.clone().unwrap();
    assert_eq!((resume.stdout_offset, resume.stderr_offset), (4, 5));
    assert_eq!(resume.cursor, b"cursor 2");
    step.output_at(Stream::Stdout, 2, b"e\ntwo\n").await;
    step.output_at(Stream::Stdout, 4, b"two\nthree\n").await;
    step.conclude(5).await;

    let finished = hook.finished().await;
    assert_eq!(finished.text(), "one\ntwo\nthree\n");
    assert_eq!((finished.code, finished.own_lines()), (5, format!("warn\n{LOST}")));
}

#[tokio::test]
async fn many_restarts_repeat_and_lose_nothing() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    let mut written = 0;
    for round in 0..5 {
        let mut step = hookd.step().await;
        assert_eq!(step.start.resume.clone().unwrap_or_default().stdout_offset, written);
        let line = format!("round {round}\n");
        step.stdout(&line).await;
        written += line.len() as u64;
        step.ack(|ack| ack.stdout_offset == written).await;
        hookd.die();
        hookd = place.hookd().await;
    }
    hookd.step().await.conclude(0).await;
    let expected: String = (0..5).map(|round| format!("round {round}\n")).collect();
    let finished = hook.finished().await;
    assert_eq!((finished.text(), finished.own_lines()), (expected, LOST.repeat(5)));
}

#[tokio::test]
async fn a_stream_that_ends_without_a_result_is_taken_up_again() {
    for how in ["unavailable", "in order", "dropped"] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let hook = place.step();
        let mut step = hookd.step().await;
        step.stdout("one\n").await;
        step.ack(|ack| ack.stdout_offset == 4).await;
        match how {
            "unavailable" => step.fail(Status::unavailable("hookd is stopping")).await,
            "dropped" => step.fail(Status::cancelled("h2 stream reset")).await,
            _ => {}
        }
        drop(step);
        hookd.step().await.conclude(0).await;
        let finished = hook.finished().await;
        assert_eq!(
            (finished.text().as_str(), finished.own_lines().as_str()),
            ("one\n", LOST),
            "{how}"
        );
    }
}

#[tokio::test]
async fn a_hookd_that_never_comes_back_fails_the_step() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().env("HOOK_CONNECT_TIMEOUT_SECONDS", "2").start(&place.step_input());
    let mut step = hookd.step().await;
    step.stdout("half").await;
    step.ack(|ack| ack.stdout_offset == 4).await;
    hookd.die();

    let socket = place.socket().display().to_string();
    let finished = hook.finished().await;
    assert_eq!(finished.code, 1);
    assert_eq!(
        finished.own_lines(),
        format!(
            "{LOST}hookd is not answering on {socket}; waiting up to 2 s\n\
             ::error title=hookd is not answering::hookd did not answer on {socket} within 2 s: \
             Connection refused (os error 111). Check that the hookd container of the runner pod \
             is running (its log says why not), and that both containers mount the directory of \
             the socket.\n"
        )
    );
    assert!(!place.response_file().exists());
}

#[tokio::test]
async fn a_hookd_that_breaks_every_call_is_given_up_too() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().env("HOOK_CONNECT_TIMEOUT_SECONDS", "2").start(&place.step_input());
    let breaking = tokio::spawn(async move {
        loop {
            hookd.step().await.fail(Status::unavailable("no cluster yet")).await;
        }
    });
    let finished = hook.finished().await;
    breaking.abort();
    let text = finished.own_lines();
    assert_eq!(finished.code, 1);
    assert_eq!(text.matches(LOST).count(), 1, "{text}");
    assert_eq!(text.matches("is not answering on").count(), 1, "{text}");
    assert_eq!(text.matches("is answering;").count(), 1, "{text}");
    assert!(text.contains("within 2 s: no cluster yet. Check"), "{text}");
}

#[tokio::test]
async fn a_clean_up_is_asked_for_again() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&place.input("cleanup_job", serde_json::json!({})));
    drop(hookd.cleanup().await);
    let answer = hookd.cleanup().await;
    hookd.die();
    drop(answer);
    let mut hookd = FakeHookd::start(&place.socket()).await;
    hookd
        .cleanup()
        .await
        .send(Ok(CleanupJobResponse { deleted: 0, ..CleanupJobResponse::default() }))
        .unwrap();
    assert_eq!(hook.finished().await.code, 0);
}
