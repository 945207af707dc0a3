//! The commands of jobs with a job container: prepare_job and run_script_step.

use hookd_api::v1::{
    CleanupJobResponse, JobPrepared, Output, PrepareJobResponse, PreparedContainer,
    RunScriptStepResponse, ServiceLog, StepEvent, StepResult, Stream, prepare_job_response,
    run_script_step_response, step_event,
};
use serde_json::{Value, json};

use crate::support::hookd::Call;
use crate::support::{Place, fixture};

/// A fixture whose response goes to `place`.
fn input(place: &Place, name: &str) -> Value {
    let mut input = fixture(name);
    input["responseFile"] = json!(place.response_file());
    input
}

fn response(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(place.response_file()).unwrap()).unwrap()
}

/// The end of a script step.
fn ended(exit_code: i32) -> RunScriptStepResponse {
    let result = run_script_step_response::Message::Result(StepResult { exit_code });
    RunScriptStepResponse { message: Some(result) }
}

fn prepared(container: Option<PreparedContainer>) -> PrepareJobResponse {
    let redis = PreparedContainer {
        id: "redis".to_owned(),
        network: "r-workflow".to_owned(),
        ports: [("6379".to_owned(), "6379".to_owned())].into(),
    };
    let job = JobPrepared {
        job_pod: "r-workflow".to_owned(),
        is_alpine: true,
        container,
        services: vec![redis],
    };
    PrepareJobResponse { message: Some(prepare_job_response::Message::Result(job)) }
}

#[tokio::test]
async fn a_prepared_job_is_answered_in_the_form_that_the_runner_reads() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&input(&place, "prepare_job_container_services"));
    let Call::Prepare(start, events) = hookd.call().await else { panic!("another call") };
    let container = start.container.unwrap();
    assert_eq!(container.image, "ghcr.io/octo-org/build-image:1.4");
    assert_eq!(container.create_options, "--cpus 1 --user root");
    assert_eq!(container.registry.unwrap().username, "octocat");
    assert_eq!(container.user_mount_volumes[2].source_volume_path, "");
    assert_eq!(start.services.len(), 2);
    let job = PreparedContainer {
        id: "job".to_owned(),
        network: "r-workflow".to_owned(),
        ..PreparedContainer::default()
    };
    events.send(Ok(prepared(Some(job)))).await.unwrap();
    drop(events);
    assert_eq!(hook.finished().await.code, 0);
    let services = json!([{"id": "redis", "network": "r-workflow", "ports": {"6379": "6379"}}]);
    let container = json!({"id": "job", "network": "r-workflow", "ports": {}});
    assert_eq!(
        response(&place),
        json!({"state": {"jobPod": "r-workflow"}, "isAlpine": true,
            "context": {"container": container, "services": services}})
    );
}

#[tokio::test]
async fn a_job_without_a_container_gets_none_in_its_response() {
    for name in ["prepare_job_services_only", "prepare_job_empty"] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let hook = place.command().start(&input(&place, name));
        let Call::Prepare(start, events) = hookd.call().await else { panic!("another call") };
        assert!(start.container.is_none());
        events.send(Ok(prepared(None))).await.unwrap();
        drop(events);
        assert_eq!(hook.finished().await.code, 0);
        let response = response(&place);
        assert!(response["context"].get("container").is_none(), "{response}");
        assert!(response.get("isAlpine").is_none(), "{response}");
    }
}

#[tokio::test]
async fn a_job_whose_response_cannot_be_written_is_deleted() {
    let place = Place::new();
    let folder = place.socket().with_file_name("responses");
    std::fs::create_dir(&folder).unwrap();
    let mut given = fixture("prepare_job_services_only");
    given["responseFile"] = json!(folder.join("r.json"));
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&given);
    let Call::Prepare(_, events) = hookd.call().await else { panic!("another call") };
    // As on a volume that became full or read-only: what was writable at the start is not any more.
    std::fs::remove_dir(&folder).unwrap();
    events.send(Ok(prepared(None))).await.unwrap();
    drop(events);
    let cleaned = CleanupJobResponse { deleted: 1, service_logs: Vec::new() };
    hookd.cleanup().await.send(Ok(cleaned)).unwrap();
    let finished = hook.finished().await;
    assert_eq!(finished.code, 1);
    let error = String::from_utf8_lossy(&finished.stderr).into_owned();
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with("::error title=The response file cannot be written::"), "{error}");
    assert!(last.contains("responses/r.json"), "{error}");
}

#[tokio::test]
async fn a_script_step_keeps_its_streams_apart_and_its_programs_code() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&input(&place, "run_script_step_bash"));
    let Call::Script(start, events) = hookd.call().await else { panic!("another call") };
    let script = start.script.unwrap();
    assert_eq!(script.entry_point, "bash");
    assert_eq!(script.entry_point_args[..2], ["--noprofile", "--norc"]);
    for (stream, data) in [(Stream::Stdout, "out\n"), (Stream::Stderr, "err\n")] {
        let output = Output { stream: stream.into(), offset: 0, data: data.into() };
        let event = StepEvent { cursor: Vec::new(), kind: Some(step_event::Kind::Output(output)) };
        let message = Some(run_script_step_response::Message::Event(event));
        events.send(Ok(RunScriptStepResponse { message })).await.unwrap();
    }
    events.send(Ok(ended(3))).await.unwrap();
    drop(events);
    let finished = hook.finished().await;
    assert_eq!((finished.code, finished.text().as_str()), (3, "out\n"));
    assert_eq!(finished.stderr, b"err\n");
    assert!(!place.response_file().exists());
}

#[tokio::test]
async fn every_script_step_of_the_runner_is_passed_on() {
    for (name, program) in [
        ("run_script_step_default_sh", "sh"),
        ("run_script_step_pwsh", "pwsh"),
        ("run_script_step_js_action", "/__e/node20/bin/node"),
    ] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let given = input(&place, name);
        let hook = place.command().start(&given);
        let Call::Script(start, events) = hookd.call().await else { panic!("another call") };
        let script = start.script.unwrap();
        assert_eq!(script.entry_point, program);
        let variables = given["args"]["environmentVariables"].as_object().unwrap();
        assert_eq!(script.environment_variables.len(), variables.len());
        events.send(Ok(ended(0))).await.unwrap();
        drop(events);
        assert_eq!(hook.finished().await.code, 0);
        assert_eq!(response(&place), json!({}));
    }
}

#[tokio::test]
async fn nothing_in_the_logs_of_services_is_a_command() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let hook = place.command().start(&place.input("cleanup_job", json!({})));
    let text = "ready\n::set-output name=x::y\n##[error]z\n".to_owned();
    let service_logs = vec![ServiceLog { name: "redis".to_owned(), text }];
    let response = CleanupJobResponse { deleted: 2, service_logs };
    hookd.cleanup().await.send(Ok(response)).unwrap();
    let finished = hook.finished().await;
    assert_eq!(finished.code, 0);
    assert_eq!(
        finished.own_lines(),
        "##[group]Log of service redis\nready\n: :set-output name=x::y\n## [error]z\n\
         ##[endgroup]\n::debug::hookd deleted 2 objects\n"
    );
}
