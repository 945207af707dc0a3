//! The runner's own inputs, as tests/fixtures has them: each is taken as it is, and does what it says.
//! Only the response's path is another, and the registry of one image that the node has no mirror of.

use serde_json::{Value, json};

use test_support::{Outcome, RunnerPod, Setup, images};

const TEMP: &str = "/home/runner/_work/_temp";
const SHOP: &str = "/home/runner/_work/widget-shop";

/// Prints each argument in brackets.
const ARGUMENTS: &str = "#!/bin/sh\nfor a; do echo \"[$a]\"; done\n";

fn fixture(name: &str) -> Value {
    let path = test_support::cluster::repository(&format!("tests/fixtures/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Calls the hook with a fixture; `edit` may change what this machine cannot have.
fn call(runner: &RunnerPod, name: &str, edit: impl FnOnce(&mut Value)) -> Outcome {
    let mut input = fixture(name);
    edit(&mut input);
    let call = runner.cleanup().edit(move |own| {
        input["responseFile"] = own["responseFile"].clone();
        *own = input;
    });
    call.run()
}

/// Writes what the runner has put into its directories before it calls.
fn prepare_files(runner: &RunnerPod) {
    for name in ["bash", "default_sh", "pwsh", "js_action"] {
        let input = fixture(&format!("run_script_step_{name}"));
        command_files(runner, &input);
        let last = input["args"]["entryPointArgs"].as_array().unwrap().last().unwrap().clone();
        let file = last.as_str().unwrap().trim_matches(['"', '\'']);
        let file = file.replacen("/__w", "/home/runner/_work", 1);
        let script = match name {
            "js_action" => {
                "console.log(process.env['INPUT_FETCH-DEPTH'], process.env.ACTIONS_CACHE_SERVICE_V2)"
            }
            _ => {
                "echo \"$0\"; pwd; echo \"$BUILD_MODE $GREETING\"; printf '%s' \"$MULTI\"; \
                  echo \"$PATH\"; echo \"by=$BUILD_MODE\" >> \"$GITHUB_OUTPUT\"; echo \"[$EMPTY]\" $HOME\n"
            }
        };
        runner.write(&file, script);
    }
    runner.write(&format!("{SHOP}/widget-shop/packages/app/file"), "");
    runner.write(&format!("{SHOP}/cache/cached"), "from the runner\n");
    let actions = "/home/runner/_work/_actions/octo-org";
    runner.write(
        &format!("{actions}/lint-action/v2/Dockerfile"),
        "FROM busybox:1\nENTRYPOINT [\"/bin/sh\", \"-c\", \"echo lint $INPUT_PATHS; pwd\"]\n",
    );
    let report = "FROM busybox:1\nCOPY entrypoint.sh /\n";
    runner.write(&format!("{actions}/report-action/v3/docker/Dockerfile"), report);
    runner.write(&format!("{actions}/report-action/v3/docker/entrypoint.sh"), ARGUMENTS);
}

fn command_files(runner: &RunnerPod, input: &Value) {
    for value in input["args"]["environmentVariables"].as_object().unwrap().values() {
        let name = value.as_str().unwrap().rsplit_once("/_runner_file_commands/");
        if let Some((_, name)) = name {
            runner.write(&format!("{TEMP}/_runner_file_commands/{name}"), "");
        }
    }
}

fn publish_images() {
    let sleeps = ["--entrypoint", "sleep,1000"];
    let cli = [("bin/redis-cli", "#!/bin/sh\necho \"$@\" > /tmp/asked\n")];
    images::publish("library/redis:7-alpine", "busybox:1", &cli, &sleeps);
    images::publish("octoorg/private-postgres:16", "busybox:1", &[("x", "")], &sleeps);
    images::publish("library/alpine:3.20", "busybox:1", &[("x", "")], &[]);
    let pwsh = [("usr/local/bin/pwsh", ARGUMENTS)];
    images::publish("octo-org/build-image:1.4", "debian:bookworm-slim", &pwsh, &[]);
}

#[test]
fn every_input_of_the_runner_is_taken_and_does_what_it_says() {
    publish_images();
    // The job container of the runner's own example has `--user root`.
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_ALLOW_ROOT_USER", "true"));
    assert_taken(&runner, "runner-workflow");
}

#[test]
fn every_input_of_the_runner_is_taken_in_the_runner_pod_too() {
    publish_images();
    let setup = Setup::in_runner_pod().with_registry().set("HOOKD_ALLOW_ROOT_USER", "true");
    assert_taken(&RunnerPod::with(&setup), "runner");
}

/// Calls the hook with each input; the containers of a job are in this pod.
fn assert_taken(runner: &RunnerPod, pod: &str) {
    prepare_files(runner);

    let prepared = call(runner, "prepare_job_container_services", |input| {
        input["args"]["container"]["image"] = "octo-org/build-image:1.4".into();
    });
    let log = prepared.assert_code(0).log();
    assert!(log.contains("the host port of 8080:80/tcp is not published"), "{log}");
    let response = prepared.read_back.response.clone().unwrap();
    assert_eq!(response["isAlpine"], false);
    let context = &response["context"];
    assert_eq!(
        context["container"],
        json!({"id": "job", "network": pod,
        "ports": {"80": "80", "9229": "9229"}})
    );
    let ids = ["redis", "private-postgres"];
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(context["services"][at]["id"], *id);
    }
    assert_eq!(context["services"][0]["ports"], json!({"6379": "6379"}));
    assert_eq!(context["services"][1]["ports"], json!({"5432": "5432", "8081": "8081"}));
    if pod != "runner" {
        assert_pod(runner);
    }

    let outcome = call(runner, "run_script_step_bash", |_| {});
    let lines = outcome.assert_code(0).lines();
    assert!(lines[0].starts_with("/__w/_temp/") && lines[0].ends_with(".sh"), "{lines:?}");
    let greeting = "release héllo \"wörld\" $HOME \\ 'q' `tick`";
    let expected = ["/__w/widget-shop/widget-shop", greeting, "line one", "line two"];
    assert_eq!(lines[1..5], expected);
    let path = "/opt/tools/bin:/__w/_tool/node/20.11.1/x64/bin:/usr/local/sbin:";
    assert!(lines[5].starts_with(path), "{}", lines[5]);
    assert_eq!(lines[6], "[] /github/home");
    let output = fixture("run_script_step_bash")["args"]["environmentVariables"]["GITHUB_OUTPUT"]
        .as_str()
        .unwrap()
        .replacen("/__w", "/home/runner/_work", 1);
    assert_eq!(std::fs::read_to_string(runner.local(&output)).unwrap(), "by=release\n");

    let outcome = call(runner, "run_script_step_default_sh", |_| {});
    assert_eq!(outcome.assert_code(0).lines()[1], "/__w/widget-shop/widget-shop/packages/app");
    let outcome = call(runner, "run_script_step_pwsh", |_| {});
    let lines = outcome.assert_code(0).lines();
    assert_eq!(lines[0], "[-command]");
    assert!(lines[1].starts_with("[. '/__w/_temp/") && lines[1].ends_with(".ps1']"), "{lines:?}");
    assert_eq!(call(runner, "run_script_step_js_action", |_| {}).assert_code(0).text(), "0 True\n");

    let outcome = call(runner, "run_container_step_image_args", |_| {});
    // The runner has cut three spaces to one; INPUT_ARGS has them.
    let text = "hello   world\nhéllo \"wörld\" $HOME \\ 'q' `tick`\n";
    assert_eq!(outcome.assert_code(0).text(), text);
    let outcome = call(runner, "run_container_step_dockerfile_no_entrypoint", |_| {});
    assert_eq!(outcome.assert_code(0).after_build(), "lint src/**/*.ts\n/github/workspace\n");
    let outcome = call(runner, "run_container_step_dockerfile_entrypoint_args", |_| {});
    let expected = "[--title]\n[hello world]\n[say \"hi\"]\n[]\n[src/**/*.ts]\n";
    assert_eq!(outcome.assert_code(0).after_build(), expected);

    call(runner, "cleanup_job", |_| {}).assert_code(0);
    runner.assert_nothing_left();
    let outcome = call(runner, "prepare_job_services_only", |_| {});
    let response = outcome.assert_code(0).read_back.response.clone().unwrap();
    assert_eq!(response["context"]["services"][0]["ports"], json!({"6379": "6379"}));
    assert_eq!(response["context"].get("container"), None);
    call(runner, "cleanup_job", |_| {}).assert_code(0);
    let outcome = call(runner, "prepare_job_empty", |_| {});
    assert!(outcome.assert_code(0).read_back.response.as_ref().unwrap().is_object());
    call(runner, "cleanup_job", |_| {}).assert_code(0);
    runner.assert_nothing_left();
}

/// What the fixture's job makes of the pod.
fn assert_pod(runner: &RunnerPod) {
    let pod = runner.object("pod", "runner-workflow");
    let job = &pod["spec"]["containers"][0];
    assert_eq!(job["resources"]["limits"]["cpu"], "1");
    assert_eq!(job["securityContext"]["runAsUser"], 0);
    let at = |target: &str| {
        let mounts = job["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["mountPath"] == target).cloned().unwrap_or_default()
    };
    for target in [
        "/__w",
        "/__e",
        "/__w/_temp",
        "/__w/_actions",
        "/__w/_tool",
        "/github/home",
        "/github/workflow",
        "/volume_mount",
        "/scratch",
    ] {
        assert!(at(target).is_object(), "{target} is not mounted");
    }
    assert!(at("/var/run/docker.sock").is_null());
    assert_eq!(
        (&at("/cache")["readOnly"], &at("/cache")["subPath"]),
        (&json!(true), &json!("widget-shop/cache"))
    );
    let service = &pod["spec"]["containers"][2];
    assert_eq!(service["volumeMounts"][0]["mountPath"], "/var/lib/postgresql/data");
    let names: Vec<_> =
        service["env"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["CI", "GITHUB_ACTIONS", "POSTGRES_DB", "POSTGRES_PASSWORD"]);
    assert!(!pod.to_string().contains("hostPort"), "a port of the node is taken");
    let secrets = runner.objects("secrets", &["-l", "runner-pod=runner"]);
    let pull = secrets.iter().find(|one| one["type"] == "kubernetes.io/dockerconfigjson").unwrap();
    let name = pull["metadata"]["name"].as_str().unwrap();
    assert!(pod["spec"]["imagePullSecrets"].to_string().contains(name));
}
