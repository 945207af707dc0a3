//! prepare_job: how stepd gets in, what is waited for, and what is reported meanwhile.

use serde_json::json;

use test_support::{IMAGE, JobRun, Program, RunnerPod, Setup, container, images, job_container};

#[test]
fn without_image_volumes_an_init_container_brings_stepd() {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_AGENT_INJECTION", "init-container"));
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "--user 1000:1000"});
    job.prepare(&job_container(IMAGE, &fields), &json!([])).assert_code(0);
    let pod = runner.object("pod", "runner-workflow");
    assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 1);
    assert!(!pod["spec"]["volumes"].to_string().contains("\"image\""), "{}", pod["spec"]);
    let outcome = job.run("id -u; ls /__e; ! touch /__hookd/x 2>/dev/null");
    assert_eq!(outcome.assert_code(0).text(), "1000\nnode20\nnode24\n");
    let node = Program::new("/__e/node20/bin/node", "--version");
    assert!(job.run_program(&node).assert_code(0).text().starts_with("v20."));
    // Container steps go without stepd then.
    assert_eq!(runner.run(&runner.script("echo $$")).assert_code(0).text(), "1\n");
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn a_health_check_of_a_services_image_is_awaited() {
    let runner = RunnerPod::start();
    let action = "runs: {using: docker, image: Dockerfile, entrypoint: /bin/true}\n";
    // Healthy well after hookd, on a slow machine too, has seen it run: else nothing is reported of it.
    let dockerfile = "FROM busybox:1\nHEALTHCHECK --interval=1s --retries=60 CMD test -e /tmp/ready\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"sleep 6; touch /tmp/ready; sleep 1000\"]\n";
    let built = runner
        .run(&runner.action("healthy", &[("action.yml", action), ("Dockerfile", dockerfile)]));
    let text = built.assert_code(0).log();
    let pushed = text.split_whitespace().find(|word| word.contains("/hookd/build@sha256:"));
    let (_, name) = pushed.expect("the image's name in the log").split_once('/').unwrap();
    let port = &test_support::cluster::cluster().registry_node_port;
    let service = container(&format!("localhost:{port}/{name}"), &json!({}));
    let mut job = JobRun::of(&runner);
    let outcome = job.prepare(&json!(null), &json!([service]));
    let log = outcome.assert_code(0).log();
    assert!(log.contains("is not healthy yet") && log.contains("is healthy after"), "{log}");
    assert!(log.contains("on node "), "{log}");
    let service = container(
        &format!("localhost:{port}/{name}"),
        &json!({"createOptions": "--no-healthcheck"}),
    );
    let log = job.prepare(&json!(null), &json!([service])).assert_code(0).log();
    assert!(!log.contains("healthy"), "{log}");
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn what_a_pod_waits_for_is_told_while_it_waits() {
    let template = "spec:\n  volumes: [{name: late, configMap: {name: late}}]\n  containers:\n  \
                    - {name: $job, volumeMounts: [{name: late, mountPath: /late}]}\n";
    let path = "/home/runner/_work/template.yaml";
    let setup = Setup::default().set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", path);
    let runner = RunnerPod::with(&setup);
    runner.write(path, template);
    let job = JobRun::of(&runner);
    let hook = job.prepare_call(&job_container(IMAGE, &json!({})), &json!([])).start();
    hook.wait_for("configmap \"late\" not found");
    hook.wait_for("Successfully assigned");
    runner.k(&["create", "configmap", "late"]);
    hook.end().assert_code(0);
}

#[test]
fn an_unwritable_response_file_fails_before_anything_is_created() {
    let runner = RunnerPod::start();
    let job = JobRun::of(&runner);
    for command in ["prepare_job", "cleanup_job"] {
        let call = job.prepare_call(&job_container(IMAGE, &json!({})), &json!([]));
        let call = call.edit(|input| {
            input["command"] = command.into();
            input["responseFile"] = "/proc/1/response.json".into();
        });
        call.run().assert_failed_with(10, &["response file", "/proc/1/response.json"]);
        assert_eq!(runner.made(), [""; 0]);
    }
}

#[test]
fn the_runner_is_told_that_an_image_is_alpine() {
    let name = "library/like-alpine:1";
    images::publish(name, "busybox:1", &[("etc/os-release", "NAME=x\nID=alpine\n")], &[]);
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let container = job_container(name.trim_start_matches("library/"), &json!({}));
    let outcome = job.prepare(&container, &json!([]));
    let response = outcome.assert_code(0).read_back.response.as_ref().unwrap();
    assert_eq!(response["isAlpine"], true);
}
