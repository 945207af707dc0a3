//! Jobs that cannot start: reported in seconds, with what to do, and nothing left behind.

use serde_json::{Value, json};

use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, Outcome, RunnerPod, Setup, cluster, container, job_container};

/// Seconds until what waiting cannot cure is reported.
const SOON: u64 = 20;

/// Prepares a job that must fail.
fn prepared(runner: &RunnerPod, container: &Value, services: &Value) -> Outcome {
    let outcome = JobRun::of(runner).prepare(container, services);
    runner.assert_nothing_left();
    outcome
}

#[test]
fn a_misspelt_image_fails_in_seconds_with_the_registrys_words() {
    let runner = RunnerPod::start();
    let outcome = prepared(&runner, &job_container("debiann:12", &json!({})), &json!([]));
    outcome.assert_failed_with(SOON, &["debiann:12", "not found", "misspelling"]);
    let services = json!([container("rediss:7", &json!({}))]);
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &services);
    outcome.assert_failed_with(SOON, &["rediss:7", "not found", "misspelling"]);
}

#[test]
fn wrong_options_and_ports_are_told_before_anything_is_made() {
    let runner = RunnerPod::start();
    for (fields, words) in [
        (json!({"createOptions": "--helth-cmd x"}), ["`--helth-cmd`", "options:"]),
        (json!({"createOptions": "--memory lots"}), ["--memory lots", "no size"]),
        (json!({"portMappings": ["eighty"]}), ["eighty", "ports:"]),
    ] {
        let outcome = prepared(&runner, &job_container(IMAGE, &fields), &json!([]));
        outcome.assert_failed_with(10, &words);
    }
    let twice = json!([
        container("busybox:1", &json!({"portMappings": ["6379"]})),
        container("busybox:1", &json!({"portMappings": ["16379:6379"]})),
    ]);
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &twice);
    outcome.assert_failed_with(10, &["6379", "busybox-0", "busybox-1"]);
    let mount =
        json!({"userMountVolumes": [{"sourceVolumePath": "/etc", "targetVolumePath": "/e"}]});
    let outcome = prepared(&runner, &job_container(IMAGE, &mount), &json!([]));
    outcome.assert_failed_with(10, &["/etc", "/home/runner/_work"]);
}

#[test]
fn options_without_an_equivalent_are_named_and_the_job_runs() {
    let runner = RunnerPod::start();
    let fields =
        json!({"createOptions": "--ulimit nofile=1024 --init", "portMappings": ["8080:80"]});
    let outcome = JobRun::of(&runner).prepare(&job_container(IMAGE, &fields), &json!([]));
    let text = outcome.assert_code(0).log();
    assert!(text.contains("`--ulimit`") && text.contains("8080:80"), "{text}");
    assert!(!text.contains("--init"), "{text}");
}

#[test]
fn a_service_that_crashes_ends_the_job_with_its_last_lines() {
    let runner = RunnerPod::start();
    let crash = json!({"entryPoint": "/bin/sh", "entryPointArgs":
        ["-c", "\"echo", "no", "config;", "sleep", "1;", "exit", "4\""],
        "createOptions": "--health-cmd false --health-retries 10"});
    let services = json!([container("busybox:1", &crash)]);
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &services);
    outcome.assert_failed_with(40, &["Container busybox", "exit code 4"]);
    assert!(outcome.log().contains("busybox: no config"), "{}", outcome.log());
}

/// A busybox service that runs a script.
fn service(script: &str) -> Value {
    let words: Vec<_> = format!("\"{script}\"").split(' ').map(str::to_owned).collect();
    let args = [&["-c".to_owned()][..], &words].concat();
    json!([container("busybox:1", &json!({"entryPoint": "/bin/sh", "entryPointArgs": args}))])
}

// shipit-engine#1028, temboard#694: the kubelet still called a dead service running.
#[test]
fn a_service_that_crashes_at_once_ends_the_job_each_time() {
    let runner = RunnerPod::start();
    for code in [1, 0] {
        let services = service(&format!("echo no password >&2; exit {code}"));
        for _ in 0..2 {
            let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &services);
            let words = ["Start failed", "Container busybox", &format!("exit code {code}")];
            outcome.assert_failed_with(SOON, &words);
            assert!(outcome.log().contains("busybox: no password"), "{}", outcome.log());
        }
    }
}

#[test]
fn a_service_that_ends_is_reported_by_the_next_step_and_cleanup() {
    let runner = RunnerPod::start();
    let mut job = JobRun::of(&runner);
    let services = service("echo out of words; sleep 6; exit 3");
    job.prepare(&job_container(IMAGE, &json!({})), &services).assert_code(0);
    until("the service has ended", s(30), || {
        let pod = runner.object("pod", "runner-workflow");
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
        statuses.iter().any(|one| one["state"]["terminated"]["exitCode"] == 3).then_some(())
    });
    let words = "service busybox ended with exit code 3";
    let outcome = job.run("echo goes on");
    assert_eq!(outcome.assert_code(0).text(), "goes on\n");
    let log = outcome.log();
    assert!(log.contains(words) && log.contains("busybox: out of words"), "{log}");
    let log = job.run("echo goes on").assert_code(0).log();
    assert!(!log.contains(words), "{log}");
    let end = job.clean_up();
    assert!(end.assert_code(0).printed().contains(words), "{}", end.printed());
}

#[test]
fn a_template_that_is_wrong_is_told_with_its_file() {
    let setup = Setup::default()
        .set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", "/home/runner/_work/template.yaml");
    let runner = RunnerPod::with(&setup);
    let file = "/home/runner/_work/template.yaml";
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &json!([]));
    outcome.assert_failed_with(
        10,
        &[file, "cannot be read", "ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE"],
    );
    runner.write(file, "spec: [no, object]\n");
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &json!([]));
    outcome.assert_failed_with(10, &[file, "`spec`"]);
    runner.write(
        file,
        "metadata: {labels: {team: a}}\nspec:\n  containers:\n  - name: $job\n    \
         env: [{name: FROM_TEMPLATE, value: yes it is}]\n",
    );
    let mut job = JobRun::start(&runner);
    assert_eq!(job.run("echo $FROM_TEMPLATE").assert_code(0).text(), "yes it is\n");
    assert_eq!(runner.object("pod", "runner-workflow")["metadata"]["labels"]["team"], "a");
}

#[test]
fn a_job_waits_for_an_exceeded_quota_and_then_starts() {
    let setup = Setup::default().set("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", "8");
    let runner = RunnerPod::with(&setup);
    let quota = |pods: &str| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "pods", "namespace": runner.namespace},
            "spec": {"hard": {"pods": pods}},
        });
        cluster::try_kubectl(&["apply", "-f", "-"], Some(&quota.to_string())).unwrap();
    };
    quota("1");
    let outcome = prepared(&runner, &job_container(IMAGE, &json!({})), &json!([]));
    outcome
        .assert_failed_with(SOON, &["exceeded quota", "used: pods=1", "Raise the ResourceQuota"]);
    let job = JobRun::of(&runner);
    let hook = job.prepare_call(&job_container(IMAGE, &json!({})), &json!([])).start();
    hook.wait_for("exceeded quota");
    quota("5");
    hook.end().assert_code(0);
}
