//! The response file.

use crate::support::Place;

#[tokio::test]
async fn a_step_that_succeeds_replaces_the_runner_s_empty_file() {
    let place = Place::new();
    std::fs::write(place.response_file(), "").unwrap();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    hookd.step().await.conclude(0).await;
    assert_eq!(hook.finished().await.code, 0);
    assert_eq!(std::fs::read(place.response_file()).unwrap(), b"{}");
}

#[tokio::test]
async fn a_step_that_fails_writes_no_response() {
    let place = Place::new();
    std::fs::write(place.response_file(), "").unwrap();
    let mut hookd = place.hookd().await;
    let hook = place.step();
    hookd.step().await.conclude(3).await;
    assert_eq!(hook.finished().await.code, 3);
    assert_eq!(std::fs::read(place.response_file()).unwrap(), b"");
}

#[tokio::test]
async fn a_response_that_cannot_be_written_is_told_before_all_else() {
    let place = Place::new();
    let mut input = place.step_input();
    input["responseFile"] = "/nonexistent/response.json".into();
    // No hookd answers: it is not even asked.
    let hook = place.command().start(&input);
    hook.finished().await.assert_error(
        "::error title=The response file cannot be written::The response file \
         /nonexistent/response.json cannot be written: No such file or directory (os error 2). \
         Check that the runner's temporary directory exists, has space left and is writable for the \
         user of the runner.",
    );
}

#[tokio::test]
async fn a_response_file_that_goes_during_the_step_fails_it() {
    let place = Place::new();
    let folder = place.response_file().with_file_name("gone");
    std::fs::create_dir(&folder).unwrap();
    let mut input = place.step_input();
    input["responseFile"] = folder.join("r.json").to_str().unwrap().into();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&input);
    let step = hookd.step().await;
    std::fs::remove_dir_all(&folder).unwrap();
    step.conclude(0).await;
    let finished = hook.finished().await;
    assert_eq!(finished.code, 1);
    assert!(finished.own_lines().contains("title=The response file cannot be written::"));
}

#[tokio::test]
async fn without_a_response_file_nothing_is_written() {
    let place = Place::new();
    let mut input = place.step_input();
    input["responseFile"] = serde_json::Value::Null;
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&input);
    hookd.step().await.conclude(0).await;
    assert_eq!(hook.finished().await.code, 0);
    assert!(!place.response_file().exists());
}
