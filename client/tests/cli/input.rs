//! What hook does with its input, and with inputs that it cannot use.

use hookd_api::v1::CleanupJobResponse;
use serde_json::json;

use crate::support::process::{Finished, HookCommand};
use crate::support::{Place, fixture};

/// The remedy for an input that the runner did not write.
const WRITTEN_BY_RUNNER: &str = "The runner writes this input: start hook through the runner's \
     ACTIONS_RUNNER_CONTAINER_HOOKS, or give it the JSON that the runner would send.";

async fn run(input: &str) -> Finished {
    HookCommand::new().start_raw(input.as_bytes().to_vec()).finished().await
}

#[tokio::test]
async fn the_container_steps_of_the_runner_reach_hookd() {
    for name in [
        "run_container_step_image_args",
        "run_container_step_dockerfile_no_entrypoint",
        "run_container_step_dockerfile_entrypoint_args",
    ] {
        let place = Place::new();
        let mut hookd = place.hookd().await;
        let mut input = fixture(name);
        input["responseFile"] = json!(place.response_file());
        let hook = place.command().start(&input);

        let step = hookd.step().await;
        let container = step.start.container.clone().unwrap();
        let args = &input["args"];
        assert_eq!(container.image, args["image"].as_str().unwrap_or_default());
        assert_eq!(container.dockerfile, args["dockerfile"].as_str().unwrap_or_default());
        assert_eq!(json!(container.entry_point_args), args["entryPointArgs"]);
        assert_eq!(json!(container.environment_variables), args["environmentVariables"]);
        assert_eq!(container.system_mount_volumes.len(), 6);
        assert!(!step.start.auto_ack);
        assert_eq!(step.start.resume, None);
        assert!((16..=40).contains(&step.start.step_id.len()), "{}", step.start.step_id);
        step.conclude(0).await;
        assert_eq!(hook.finished().await.code, 0, "{name}");
    }
}

#[tokio::test]
async fn a_clean_up_counts_its_objects_for_debuggers_only() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let mut input = fixture("cleanup_job");
    input["responseFile"] = json!(place.response_file());
    let hook = place.command().start(&input);
    hookd
        .cleanup()
        .await
        .send(Ok(CleanupJobResponse { deleted: 3, ..CleanupJobResponse::default() }))
        .unwrap();
    let finished = hook.finished().await;
    assert_eq!(
        (finished.code, finished.own_lines().as_str()),
        (0, "::debug::hookd deleted 3 objects\n")
    );
    assert_eq!(std::fs::read(place.response_file()).unwrap(), b"{}");
}

#[tokio::test]
async fn an_environment_of_several_megabytes_passes() {
    let place = Place::new();
    let mut hookd = place.hookd().await;
    let args = json!({"image": "a", "environmentVariables": {"BIG": "x".repeat(3 << 20)}});
    let hook = place.command().start(&place.input("run_container_step", args));
    let step = hookd.step().await;
    assert_eq!(step.start.container.clone().unwrap().environment_variables["BIG"].len(), 3 << 20);
    step.conclude(0).await;
    assert_eq!(hook.finished().await.code, 0);
}

#[tokio::test]
async fn an_unusable_input_is_reported_in_one_line() {
    let step = |args: &str| format!(r#"{{"command":"run_container_step","args":{args}}}"#);
    let written = WRITTEN_BY_RUNNER;
    let one = "Exactly one of the two must be set: check `runs.image` of the action.";
    let known = "This version of hook knows prepare_job, run_script_step, run_container_step and cleanup_job: use a version of \
                 hookd that knows what this runner sends.";
    for (input, text) in [
        (String::new(), format!("Standard input is empty. {written}")),
        (" \n".to_owned(), format!("Standard input is empty. {written}")),
        (
            "{]".to_owned(),
            format!(
                "Standard input is not one JSON object: it goes wrong at line 1, column 2. {written}"
            ),
        ),
        (
            "[]".to_owned(),
            format!(
                "Standard input is not one JSON object: it goes wrong at line 1, column 0. {written}"
            ),
        ),
        ("{}".to_owned(), format!("The hook input has no `command`. {written}")),
        (r#"{"command":null}"#.to_owned(), format!("The hook input has no `command`. {written}")),
        (
            r#"{"command":"a\nb%"}"#.to_owned(),
            format!(r#"The hook command "a\nb%25" is not known. {known}"#),
        ),
        (step("null"), format!("The hook input of run_container_step has no `args`. {written}")),
        (
            step(r#"{"image":5}"#),
            format!(
                "`image` in the `args` of run_container_step is not of the type that the runner \
             sends. {written}"
            ),
        ),
        (
            step("{}"),
            format!(
                "The `args` of run_container_step name neither an `image` nor a `dockerfile`. {one}"
            ),
        ),
        (
            step(r#"{"image":"a","dockerfile":"/b"}"#),
            format!(
                "The `args` of run_container_step name both an `image` and a `dockerfile`. {one}"
            ),
        ),
    ] {
        let line = format!("::error title=The hook input cannot be used::{text}");
        run(&input).await.assert_error(&line);
    }
}

#[tokio::test]
async fn the_command_line_is_for_people() {
    let version = HookCommand::new().arg("--version").start_raw(Vec::new()).finished().await;
    assert_eq!(version.code, 0);
    assert_eq!(version.text(), format!("hook {}\n", env!("CARGO_PKG_VERSION")));
    let help = HookCommand::new().arg("--help").start_raw(Vec::new()).finished().await;
    assert_eq!(help.code, 0);
    assert!(help.text().contains("usage: hook"), "{}", help.text());
    let hook = HookCommand::new().arg("--colour").start_raw(Vec::new());
    hook.complained("usage: hook").await;
    assert_eq!(hook.finished().await.code, 2);
}
