//! The API as others than hook use it: a Python client without generated code.

use std::process::Command;

use serde_json::{Value, json};

use test_support::cluster::{cluster, run};
use test_support::python::client;
use test_support::wait::{s, until};
use test_support::{RunnerPod, WORK};

/// User and group of the runner.
const RUNNER: (u32, u32) = (1001, 1001);

fn call(runner: &RunnerPod, method: &str, request: &Value) -> Value {
    client(
        runner,
        RUNNER,
        &["call", &format!("hookd.v1.HookService/{method}"), &request.to_string()],
    )
}

fn build(runner: &RunnerPod, step: &str, dockerfile: &str) -> Value {
    let request = json!({"start": {"step_id": step, "dockerfile": dockerfile, "auto_ack": true}});
    client(runner, RUNNER, &["stream", "hookd.v1.HookService/BuildImage", &request.to_string()])
}

#[test]
fn a_python_client_lists_the_services_by_reflection() {
    let runner = RunnerPod::start();
    let services = client(&runner, RUNNER, &["services"])["services"].clone();
    for service in ["hookd.v1.HookService", "grpc.health.v1.Health"] {
        assert!(services.as_array().unwrap().contains(&service.into()), "{services}");
    }
    let health = ["call", "grpc.health.v1.Health/Check", r#"{"service":"hookd.v1.HookService"}"#];
    assert_eq!(client(&runner, RUNNER, &health), json!({"status": "SERVING"}));
}

#[test]
fn a_python_client_builds_an_image_and_gets_its_digest() {
    let runner = RunnerPod::start();
    runner.action("api", &[("Dockerfile", "FROM busybox:1\nRUN echo in the build\n")]);
    let dockerfile = format!("{WORK}/_actions/test/api/v1/Dockerfile");
    let reply = build(&runner, "py-1", &dockerfile);
    let events = reply["events"].as_array().unwrap_or_else(|| panic!("no events, but {reply}"));
    let result = &events.last().unwrap()["result"];
    let digest = result["digest"].as_str().unwrap_or_else(|| panic!("no digest in {result}"));
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    let reference = result["reference"].as_str().unwrap();
    let port = &cluster().registry_node_port;
    assert_eq!(reference, format!("localhost:{port}/hookd/build@{digest}"));
    let pushed = run(Command::new("crane").args(["digest", reference]), None);
    assert_eq!(pushed.unwrap().trim(), digest);
    let cursors = events.iter().filter(|event| event["event"]["cursor"].is_string()).count();
    assert!(cursors > 0 && events.iter().any(|event| event["event"]["output"]["data"].is_string()));
    runner.assert_nothing_left();
}

#[test]
fn a_failure_has_a_reason_for_programs_and_a_remedy_for_people() {
    let runner = RunnerPod::start();
    let error = build(&runner, "py-2", &format!("{WORK}/nowhere/Dockerfile"))["error"].clone();
    assert_eq!(error["code"], "INVALID_ARGUMENT", "{error}");
    assert_eq!((&error["domain"], &error["reason"]), (&"hookd".into(), &"CONTEXT_INVALID".into()));
    assert!(error["message"].as_str().unwrap().contains("/nowhere\""), "{error}");
    assert!(!error["metadata"]["remedy"].as_str().unwrap().is_empty(), "{error}");
    for id in ["", "Upper", "-dash", "a_b", &"x".repeat(41)] {
        let error = build(&runner, id, "/x/Dockerfile")["error"].clone();
        assert_eq!(error["reason"], "INVALID_INPUT", "{id:?}: {error}");
    }
    runner.assert_nothing_left();
}

#[test]
fn a_step_is_seen_in_the_status_and_cancelled_by_its_id() {
    let runner = RunnerPod::start();
    let status = call(&runner, "GetStatus", &json!({}));
    assert_eq!(
        (&status["namespace"], &status["runner_pod"]),
        (&runner.namespace.as_str().into(), &"runner".into())
    );
    assert!(status["cluster_version"].as_str().unwrap().starts_with("v1."), "{status}");
    assert_eq!(status.get("missing_permissions"), None);
    assert_eq!(status.get("running_steps"), None);

    let step = runner.script("trap '' TERM; echo started; while :; do usleep 100000; done");
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let status = call(&runner, "GetStatus", &json!({}));
    let id = status["running_steps"][0].as_str().unwrap_or_else(|| panic!("no step in {status}"));
    assert_eq!(call(&runner, "CancelStep", &json!({"step_id": id})), json!({"found": true}));
    let outcome = hook.end_within(s(10));
    outcome.assert_failed_with(60, &["cancelled"]);
    assert_eq!(call(&runner, "CancelStep", &json!({"step_id": "unknown"})), json!({}));
    runner.assert_nothing_left();
}

#[test]
fn a_detached_step_runs_on_and_can_be_resumed() {
    let runner = RunnerPod::start();
    let spec = json!({
        "image": "busybox:1",
        "entry_point": "/bin/sh",
        "entry_point_args": ["-c", "\"echo begun; while [ ! -e /mnt/go ]; do usleep 50000; done; echo over; exit 3\""],
        "system_mount_volumes":
            [{"source_volume_path": format!("{WORK}/shared"), "target_volume_path": "/mnt"}],
    });
    let start = json!({"start": {"step_id": "away", "container": spec, "auto_ack": true}});
    let method = "hookd.v1.HookService/RunContainerStep";
    // "begun\n" in base64.
    let begun = client(&runner, RUNNER, &["leave", method, "YmVndW4K", &start.to_string()]);
    let outputs = |reply: &Value| -> Vec<_> {
        let events = reply["events"].as_array().unwrap_or_else(|| panic!("no events, but {reply}"));
        events.iter().filter(|event| event["event"]["output"].is_object()).cloned().collect()
    };
    let cursor = outputs(&begun).pop().unwrap()["event"]["cursor"].clone();
    let attached = || call(&runner, "GetStatus", &json!({}))["running_steps"].is_array();
    until("no client is attached", s(5), || (!attached()).then_some(()));
    assert_eq!(runner.objects("jobs", &[]).len(), 1);
    runner.write(&format!("{WORK}/shared/go"), "");
    let mut again = start.clone();
    again["start"]["resume"] = json!({"cursor": cursor, "stdout_offset": 6});
    let rest = client(&runner, RUNNER, &["stream", method, &again.to_string()]);
    // "over\n" in base64.
    let data: Vec<_> =
        outputs(&rest).iter().map(|event| event["event"]["output"]["data"].clone()).collect();
    assert_eq!(data, ["b3Zlcgo="], "{rest}");
    let events = rest["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["result"], json!({"exit_code": 3}));
    runner.assert_nothing_left();
}

#[test]
fn a_second_caller_of_a_step_is_refused() {
    let runner = RunnerPod::start();
    let step = runner.script("echo started; while [ ! -e go ]; do usleep 50000; done");
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let status = call(&runner, "GetStatus", &json!({}));
    let id = status["running_steps"][0].as_str().unwrap();
    let error = build(&runner, id, "/x/Dockerfile")["error"].clone();
    assert_eq!(error["reason"], "INVALID_INPUT", "{error}");
    assert!(error["message"].as_str().unwrap().contains(id), "{error}");
    runner.write(&format!("{WORK}/demo/demo/go"), "");
    hook.end().assert_code(0);
}

#[test]
fn cleanup_deletes_only_objects_with_the_runners_label() {
    let runner = RunnerPod::start();
    for (name, label) in [("ours", "runner"), ("other", "runner-2")] {
        let metadata =
            json!({"name": name, "namespace": runner.namespace, "labels": {"runner-pod": label}});
        let container = json!({"name": "c", "image": "busybox:1"});
        // The Secret of a container step has the name of its Job.
        test_support::cluster::create(&[
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {
                "suspend": true,
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            }}),
        ]);
    }
    assert_eq!(call(&runner, "CleanupJob", &json!({})), json!({"deleted": 2}));
    assert_eq!(call(&runner, "CleanupJob", &json!({})), json!({}));
    let left = runner.objects("secrets,jobs", &[]);
    let names: Vec<_> = left.iter().map(|object| &object["metadata"]["name"]).collect();
    assert_eq!(names, ["other", "other"]);
}

#[test]
fn callers_of_other_users_are_refused() {
    let runner = RunnerPod::start();
    // Root may connect to any socket, and so may a member of the socket's group.
    for user in [(0, 0), (1002, 1001)] {
        let reply = client(&runner, user, &["services"]);
        assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{user:?}: {reply}");
        assert!(runner.log().contains(&format!("uid={}", user.0)), "{}", runner.log());
    }
    let reply = client(&runner, (1002, 1002), &["services"]);
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    assert!(client(&runner, RUNNER, &["services"]).get("error").is_none());
}

#[test]
fn a_hook_of_another_user_is_told_which_user_it_must_have() {
    let runner = RunnerPod::start();
    let pid = runner.runner_process().pid.to_string();
    let input = r#"{"command":"cleanup_job","args":{},"state":null,"responseFile":null}"#;
    let printed = run(
        Command::new("nsenter")
            .args(["-t", &pid, "-m", "-p", "-S", "1002", "-G", "1002", "--"])
            .args(["/bin/sh", "-c", "/bin/bash -e /run/hookd/hook.sh 2>&1; echo code $?"]),
        Some(input),
    );
    let printed = printed.unwrap();
    assert!(printed.contains("with the user id of the runner container"), "{printed}");
    assert!(printed.trim_end().ends_with("code 1"), "{printed}");
}
