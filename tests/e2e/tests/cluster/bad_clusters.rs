//! What the cluster does not allow, does not have, or cannot start.

use serde_json::json;

use test_support::wait::s;
use test_support::{IMAGE, JobRun, Outcome, RunnerPod, Setup, cluster, job_container};

/// Seconds until what waiting cannot cure is reported.
const SOON: u64 = 20;

/// A runner whose container steps are started by the kubelet.
fn natively() -> RunnerPod {
    RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"))
}

fn image_step(runner: &RunnerPod, image: &str, entrypoint: &str) -> Outcome {
    let action = format!(
        "runs:\n  using: docker\n  image: docker://{image}\n  entrypoint: {entrypoint}\n  \
         args: [must, not, run]\n"
    );
    let outcome = runner.run(&runner.action("bad", &[("action.yml", &action)]));
    runner.assert_nothing_left();
    outcome
}

#[test]
fn a_missing_permission_is_named_by_its_verb() {
    let runner =
        RunnerPod::with(&Setup { forbidden: Some(("create", "jobs")), ..Setup::default() });
    let outcome = image_step(&runner, "busybox:1", "/bin/echo");
    outcome.assert_failed_with(
        SOON,
        &["create jobs.batch", &runner.namespace, "deploy/rbac-own-pod.yaml"],
    );
    let outcome = runner.run(&runner.action("build", &[("Dockerfile", "FROM busybox:1\n")]));
    outcome.assert_failed_with(SOON, &["create jobs.batch", "deploy/rbac-own-pod.yaml"]);
    assert!(runner.log().contains("create jobs.batch"), "{}", runner.log());
}

#[test]
fn a_permission_that_is_given_later_is_noticed() {
    let runner =
        RunnerPod::with(&Setup { forbidden: Some(("create", "jobs")), ..Setup::default() });
    image_step(&runner, "busybox:1", "/bin/echo").assert_failed_with(SOON, &["create jobs.batch"]);
    let rules = cluster::repository("deploy/rbac-own-pod.yaml");
    runner.k(&["apply", "-f", rules.to_str().unwrap()]);
    assert_eq!(runner.run(&runner.script("echo allowed")).assert_code(0).text(), "allowed\n");
}

#[test]
fn a_pod_that_pod_security_refuses_is_told_in_its_words() {
    let runner = RunnerPod::start();
    let strict = "pod-security.kubernetes.io/enforce=restricted";
    cluster::kubectl(&["label", "--overwrite", "namespace", &runner.namespace, strict]);
    let outcome = image_step(&runner, "busybox:1", "/bin/echo");
    outcome.assert_failed_with(
        SOON,
        &["violates PodSecurity", "restricted", "runAsNonRoot", "Pod Security level"],
    );
    let outcome = runner.run(&runner.action("build", &[("Dockerfile", "FROM busybox:1\n")]));
    outcome.assert_failed_with(SOON, &["violates PodSecurity", "restricted", "Pod Security level"]);
    runner.assert_nothing_left();
}

#[test]
fn a_timeout_of_a_step_or_build_names_the_setting() {
    /// Seconds in which a pod starts on a slow machine, too, and in which a build comes to its RUN.
    const STEP: u64 = 10;
    const BUILD: u64 = 15;
    let (for_steps, for_builds) = ("HOOKD_STEP_TIMEOUT_SECONDS", "HOOKD_BUILD_TIMEOUT_SECONDS");
    let setup =
        Setup::default().set(for_steps, STEP.to_string()).set(for_builds, BUILD.to_string());
    let runner = RunnerPod::with(&setup);
    let step = runner.script("echo started; sleep 1000");
    let files = [("Dockerfile", "FROM busybox:1\nRUN echo started; sleep 1000\n")];
    let build = runner.action("build", &files);
    for (step, limit, setting) in [(step, STEP, for_steps), (build, BUILD, for_builds)] {
        let outcome = runner.run(&step);
        outcome.assert_failed_with(SOON + limit, &["title=Deadline exceeded", setting]);
        assert!(outcome.printed().lines().any(|line| line == "started"), "{}", outcome.printed());
        // The cluster counts from the second in which the Job began.
        assert!(outcome.time > s(limit - 1), "it ended after {:?}", outcome.time);
    }
    runner.assert_nothing_left();
}

#[test]
fn a_quota_that_is_used_up_is_waited_for_and_named() {
    let setup = Setup::default().set("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", "8");
    let runner = RunnerPod::with(&setup);
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-pod", "namespace": runner.namespace},
        "spec": {"hard": {"pods": "1"}},
    })]);
    let outcome = image_step(&runner, "busybox:1", "/bin/echo");
    outcome.assert_failed_with(SOON, &["exceeded quota", "one-pod"]);
}

// ARC#1071, ARC#1768, ARC#2612, rch#229: these waited 600 s and were reported as missing permissions.
#[test]
fn a_refusal_by_admission_fails_a_step_with_words_and_remedy() {
    let path = "/home/runner/_work/template.yaml";
    let setup = Setup::default().set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", path);
    let runner = RunnerPod::with(&setup);
    let namespaced = |kind: &str, spec: &serde_json::Value| {
        let metadata = json!({"name": "wall", "namespace": runner.namespace});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
    };
    let build = runner.action("walled", &[("Dockerfile", "FROM busybox:1\n")]);
    let step = || runner.run(&runner.script("echo must not run"));
    let job = || JobRun::of(&runner).prepare(&job_container(IMAGE, &json!({})), &json!([]));
    runner.write(path, "");
    let limits = json!({"limits": [{"type": "Container", "max": {"memory": "1Gi"},
        "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "64Mi"}}]});
    cluster::create(&[namespaced("LimitRange", &limits)]);
    let words =
        ["Admission denied", "maximum memory usage per Container is 1Gi", "HOOKD_BUILD_MEMORY"];
    runner.run(&build).assert_failed_with(SOON, &words);
    runner.k(&["delete", "limitrange", "wall"]);
    cluster::create(&[namespaced("ResourceQuota", &json!({"hard": {"limits.cpu": "64"}}))]);
    for outcome in [job(), step()] {
        outcome
            .assert_failed_with(SOON, &["Admission denied", "must specify limits.cpu", "`--cpus`"]);
    }
    runner.k(&["delete", "resourcequota", "wall"]);
    for (template, words) in [
        (
            "spec: {priorityClassName: ci-high}",
            ["no PriorityClass with name ci-high", "priorityClass"],
        ),
        ("spec: {serviceAccountName: ghost}", ["serviceaccount \"ghost\" not found", "Create the"]),
        ("spec: {runtimeClassName: gvisor}", ["RuntimeClass \"gvisor\" not found", "Create the"]),
    ] {
        runner.write(path, template);
        for outcome in [job(), step()] {
            outcome.assert_failed_with(SOON, &["Admission denied", words[0], words[1]]);
        }
    }
    runner.assert_nothing_left();
}

#[test]
fn a_claim_that_is_missing_is_named() {
    let runner = RunnerPod::with(&Setup::default().set("ACTIONS_RUNNER_CLAIM_NAME", "nope"));
    let outcome = image_step(&runner, "busybox:1", "/bin/echo");
    outcome
        .assert_failed_with(SOON, &["persistentvolumeclaim", "nope", "ACTIONS_RUNNER_CLAIM_NAME"]);
}

#[test]
fn a_step_waits_for_a_node_with_the_reason_until_its_timeout() {
    let setup = Setup::default().set("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", "8");
    let runner = RunnerPod::with(&setup);
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "greedy", "namespace": runner.namespace},
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "640"}}]},
    })]);
    let step = runner.script("echo must not run");
    let hook = runner.call(&step).start();
    hook.wait_for("Insufficient cpu");
    let outcome = hook.end();
    let setting = "ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS";
    outcome.assert_failed_with(SOON + 8, &["within 8 s", "Insufficient cpu", "node", setting]);
    assert!(outcome.time.as_secs() >= 8, "it ended after {:?}", outcome.time);
    runner.assert_nothing_left();
}

/// A node that takes no new pods until this is dropped.
struct Cordon;

impl Cordon {
    fn new() -> Self {
        cluster::kubectl(&["cordon", "devcluster"]);
        Self
    }
}

impl Drop for Cordon {
    fn drop(&mut self) {
        cluster::kubectl(&["uncordon", "devcluster"]);
    }
}

#[test]
fn a_node_that_gets_room_in_time_takes_the_step() {
    let runner = RunnerPod::with(&Setup { alone: true, ..Setup::default() });
    let step = runner.script("echo ran at last");
    let cordon = Cordon::new();
    let hook = runner.call(&step).start();
    hook.wait_for("unschedulable");
    drop(cordon);
    let outcome = hook.end();
    assert_eq!(outcome.assert_code(0).lines().pop().as_deref(), Some("ran at last"));
}

#[test]
fn an_entrypoint_that_is_not_in_the_image_is_named() {
    let outcome = image_step(&natively(), "busybox:1", "/no/such/program");
    outcome.assert_failed_with(SOON, &["/no/such/program", "entrypoint"]);
    let outcome = image_step(&RunnerPod::start(), "busybox:1", "/no/such/program");
    let text = "The step failed: \"/no/such/program\" does not exist in the container\n";
    assert_eq!(outcome.assert_code(127).log(), text);
}

#[test]
fn an_image_that_does_not_exist_is_named() {
    let runner = RunnerPod::start();
    let outcome = image_step(&runner, "busybux:1", "/bin/echo");
    outcome.assert_failed_with(SOON, &["busybux:1", "not found", "misspelling"]);
    let outcome = image_step(&runner, "Busy Box", "/bin/echo");
    outcome.assert_failed_with(SOON, &["Busy Box", "Correct the image"]);
}

#[test]
fn an_oom_kill_is_distinguished_from_another_kill() {
    let runner = natively();
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small", "namespace": runner.namespace},
        "spec": {"limits": [{"type": "Container", "default": {"memory": "32Mi"}}]},
    })]);
    let outcome = runner.run(&runner.script("x=0123456789; while :; do x=$x$x$x; done"));
    outcome.assert_failed_with(40, &["OOMKilled", "32Mi"]);
    runner.assert_nothing_left();
}
