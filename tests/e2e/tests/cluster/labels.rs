//! Objects are found by the labels that name the job they are made for.

use serde_json::{Value, json};

use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, RunnerPod, Setup, container, job_container};

/// As the fake runner's job is called.
const SELECTOR: &str = "hookd.dev/repository=octo.demo,hookd.dev/workflow=CI,\
                        hookd.dev/run-id=9000000001,hookd.dev/run-attempt=1,hookd.dev/job=build";

/// The objects of the job, once there is one of each kind and component: "Pod job".
fn wait_for(runner: &RunnerPod, kinds: &[&str]) -> Vec<Value> {
    until("the objects are found by label", s(90), || {
        let found = runner.objects("pods,jobs,secrets", &["-l", SELECTOR]);
        let of = |object: &Value| {
            let component = object["metadata"]["labels"]["hookd.dev/component"].as_str().unwrap();
            format!("{} {component}", object["kind"].as_str().unwrap())
        };
        let all: Vec<_> = found.iter().map(of).collect();
        kinds.iter().all(|kind| all.iter().any(|found| found == kind)).then_some(found)
    })
}

fn assert_annotated(objects: &[Value]) {
    for object in objects {
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["hookd.dev/repository"], "octo/demo", "{object}");
        assert_eq!(annotations["hookd.dev/job"], "build", "{object}");
    }
}

/// A build and a program, each as long as it must be to be seen.
const SLOW: &str = "FROM busybox:1\nRUN sleep 5\nCMD [\"sleep\", \"5\"]\n";

#[test]
fn each_object_of_a_job_in_own_pods_is_found_by_its_labels() {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"));
    let mut job = JobRun::of(&runner);
    let fields = json!({"environmentVariables": {"A": "b"}, "entryPoint": "/bin/sleep",
        "entryPointArgs": ["600"]});
    let services = json!([container("busybox:1", &fields)]);
    job.prepare(&job_container(IMAGE, &json!({})), &services).assert_code(0);
    assert_annotated(&wait_for(&runner, &["Pod job", "Secret job"]));
    let step = runner.action("slow", &[("Dockerfile", SLOW)]);
    let hook = runner.call(&step).start();
    assert_annotated(&wait_for(&runner, &["Job build", "Pod build"]));
    assert_annotated(&wait_for(&runner, &["Job step", "Pod step", "Secret step"]));
    hook.end_within(s(120)).assert_code(0);
    job.clean_up().assert_code(0);
}

#[test]
fn a_build_for_the_runner_pod_is_found_by_its_labels() {
    let runner = RunnerPod::with(&Setup::in_runner_pod().with_registry());
    let step = runner.action("slow", &[("Dockerfile", SLOW)]);
    let hook = runner.call(&step).start();
    assert_annotated(&wait_for(&runner, &["Job build", "Pod build"]));
    hook.end_within(s(120)).assert_code(0);
}
