//! What deploy/policy and hook keep a workflow from, on the real API server.

use std::fs;

use serde_json::{Value, json};

use test_support::cluster::{repository, try_kubectl};
use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, RunnerPod, WORK, container, job_container};

/// A runner in a namespace that has all of deploy/policy.
fn with_policy() -> RunnerPod {
    let runner = RunnerPod::start();
    enforce(&runner);
    runner
}

/// Applies all of deploy/policy to the namespace of a runner.
pub(crate) fn enforce(runner: &RunnerPod) {
    let file = |name: &str| repository("deploy/policy").join(name).display().to_string();
    // Of the whole cluster, and bound to labelled namespaces only: other tests do not notice.
    try_kubectl(&["apply", "-f", &file("admission.yaml")], None).unwrap();
    for name in ["limits.yaml", "network.yaml"] {
        runner.k(&["apply", "-f", &file(name)]);
    }
    let namespace = format!("namespace/{}", runner.namespace);
    runner.k(&["label", &namespace, "hookd.dev/policy=enforce"]);
    until("the API server enforces the policy", s(60), || {
        let token = pod(&json!({"spec": {"automountServiceAccountToken": true}}));
        // As the administrator: hookd may not create pods in each placement, and the policy goes by the label.
        let arguments = ["-n", &runner.namespace, "create", "--dry-run=server", "-f", "-"];
        try_kubectl(&arguments, Some(&token.to_string()))
            .err()
            .filter(|error| error.contains("hookd-pods"))
            .map(drop)
    });
}

/// A pod as hookd makes them, with fields of the spec changed.
fn pod(change: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "tried-", "labels": {"runner-pod": "runner"}},
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "containers": [{"name": "job", "image": "busybox:1", "command": ["true"]}],
        },
    });
    for part in ["metadata", "spec"] {
        for (name, value) in change[part].as_object().into_iter().flatten() {
            pod[part][name] = value.clone();
        }
    }
    pod
}

fn container_with(fields: &Value) -> Value {
    let mut container = json!({"name": "job", "image": "busybox:1", "command": ["true"]});
    for (name, value) in fields.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({"spec": {"containers": [container]}})
}

fn unconfined(profile: &str) -> Value {
    container_with(&json!({"securityContext": {profile: {"type": "Unconfined"}}}))
}

/// Asks for the pod as hookd's account, without making it.
fn create(runner: &RunnerPod, pod: &Value) -> Result<String, String> {
    create_as("hookd", runner, pod)
}

fn create_as(account: &str, runner: &RunnerPod, pod: &Value) -> Result<String, String> {
    let user = format!("--as=system:serviceaccount:{}:{account}", runner.namespace);
    let arguments = ["-n", &runner.namespace, "create", "--dry-run=server", &user, "-f", "-"];
    try_kubectl(&arguments, Some(&pod.to_string()))
}

#[test]
fn the_admission_policy_refuses_what_no_pod_of_hookd_needs() {
    let runner = with_policy();
    // Pod Security would refuse most of it first.
    let namespace = format!("namespace/{}", runner.namespace);
    runner.k(&["label", &namespace, "pod-security.kubernetes.io/enforce-"]);
    create(&runner, &pod(&json!({}))).unwrap();
    let of_docker = json!({"securityContext": {"capabilities": {"add": ["CHOWN", "MKNOD"]}}});
    create(&runner, &pod(&container_with(&of_docker))).unwrap();
    let token = json!([{"serviceAccountToken": {"path": "token"}}]);
    for (change, words) in [
        (json!({"spec": {"automountServiceAccountToken": true}}), "no service account token"),
        (json!({"spec": {"automountServiceAccountToken": null}}), "no service account token"),
        // hookd leaves its label out only if it was taken over.
        (json!({"metadata": {"labels": {}}, "spec": {"hostPID": true}}), "its own network"),
        (json!({"spec": {"volumes": [{"name": "t", "projected": {"sources": token}}]}}), "token"),
        (json!({"spec": {"volumes": [{"name": "n", "hostPath": {"path": "/"}}]}}), "the node"),
        (json!({"spec": {"hostNetwork": true}}), "its own network"),
        (json!({"spec": {"shareProcessNamespace": true}}), "its own network"),
        (container_with(&json!({"securityContext": {"privileged": true}})), "privileged"),
        (
            container_with(&json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}})),
            "no capability beyond",
        ),
        (
            container_with(&json!({"ports": [{"containerPort": 80, "hostPort": 80}]})),
            "port of the node",
        ),
        (
            json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}),
            "seccomp",
        ),
        // What `--security-opt` asks for.
        (unconfined("seccompProfile"), "seccomp"),
        (unconfined("appArmorProfile"), "AppArmor"),
        (
            json!({"spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}}),
            "AppArmor",
        ),
        (
            json!({"metadata": {"annotations": {
            "container.apparmor.security.beta.kubernetes.io/job": "unconfined"}}}),
            "AppArmor",
        ),
        (
            json!({"spec": {"hostUsers": false, "containers": [{"name": "job", "image": "busybox:1",
                "securityContext": {"procMount": "Unmasked"}}]}}),
            "/proc",
        ),
    ] {
        let refused = create(&runner, &pod(&change)).expect_err(&change.to_string());
        assert!(refused.contains("hookd-pods"), "{change}: {refused}");
        assert!(refused.contains(words), "{change}: {refused}");
    }
}

/// ARC's experimental chart gives each scale set an account of its own.
#[test]
fn the_admission_policy_checks_each_account_of_the_namespace() {
    let runner = with_policy();
    let namespace = format!("namespace/{}", runner.namespace);
    runner.k(&["label", &namespace, "pod-security.kubernetes.io/enforce-"]);
    runner.k(&["create", "role", "pods", "--verb=create", "--resource=pods"]);
    let account = format!("--serviceaccount={}:linux-no-permission", runner.namespace);
    runner.k(&["create", "rolebinding", "pods", "--role=pods", &account]);
    let host = pod(&json!({"metadata": {"labels": {}}, "spec": {"hostPID": true}}));
    until("the API server refuses the pod of another account", s(60), || {
        let refused = create_as("linux-no-permission", &runner, &host).err();
        refused
            .filter(|error| error.contains("hookd-pods") && error.contains("its own network"))
            .map(drop)
    });
    create_as("linux-no-permission", &runner, &pod(&json!({}))).unwrap();
}

#[test]
fn all_kinds_of_work_run_under_the_policies_of_deploy() {
    let services = json!([container(
        "busybox:1",
        &json!({"entryPoint": "sleep",
        "entryPointArgs": ["1000"]})
    )]);
    assert_work_runs(&with_policy(), &services);
}

/// A job with these services, a step, a container step and a build.
pub(crate) fn assert_work_runs(runner: &RunnerPod, services: &Value) {
    let mut job = JobRun::of(runner);
    job.prepare(&job_container(IMAGE, &json!({})), services).assert_code(0);
    assert_eq!(job.run("echo here").assert_code(0).text(), "here\n");
    assert_eq!(runner.run(&runner.script("echo there")).assert_code(0).text(), "there\n");
    let files = [("Dockerfile", "FROM busybox:1\nRUN true\nENTRYPOINT [\"echo\", \"built\"]\n")];
    assert_eq!(runner.run(&runner.action("b", &files)).assert_code(0).after_build(), "built\n");
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

/// The runner looks for the `bash` that starts hook.sh on a PATH to which steps add.
#[test]
fn a_step_cannot_put_the_runners_work_directory_on_path() {
    let runner = RunnerPod::start();
    let mut job = JobRun::start(&runner);
    let evil = format!("{WORK}/demo/demo/bin");
    let script = format!(
        "mkdir bin; ln -s ../bin bin/link; printf '%s\\n' {evil} /opt/tools /__w/demo/demo/bin \
         /usr/x:{WORK}/_temp relative >> $GITHUB_PATH"
    );
    let outcome = job.run(&script);
    let log = outcome.assert_code(0).log();
    assert_eq!(outcome.read_back.path, ["/opt/tools", "/__w/demo/demo/bin"]);
    assert_eq!(log.matches("::warning title=GITHUB_PATH::hook dropped").count(), 3, "{log}");
    assert!(log.contains(&evil), "{log}");
    job.clean_up().assert_code(0);
}

#[test]
fn the_objects_in_building_md_are_accepted() {
    let runner = RunnerPod::start();
    let docs = fs::read_to_string(repository("docs/building.md")).unwrap();
    let blocks = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let objects: Vec<_> = blocks.filter(|block| block.contains("kind: ")).collect();
    assert_eq!(objects.len(), 2);
    for object in objects {
        let arguments = ["-n", &runner.namespace, "apply", "--dry-run=server", "-f", "-"];
        try_kubectl(&arguments, Some(object)).unwrap_or_else(|error| panic!("{error}: {object}"));
    }
}
