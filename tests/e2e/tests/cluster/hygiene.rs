//! What hookd leaves, may do, does, and shows.

use std::collections::BTreeSet;
use std::fs;

use fake_runner::layout::guid;
use serde_json::{Value, json};

use test_support::cluster::{self, cluster, kubectl, repository};
use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, RunnerPod, Setup, container, job_container, manifests};

const SECRET: &str = "s3cret-value-of-the-environment";

/// Group and resource, verb: "batch/jobs create".
type Rules = BTreeSet<String>;

fn dockerfile_and_image_step(runner: &RunnerPod) {
    // One that was not built before.
    let dockerfile = format!(
        "FROM busybox:1\nRUN true\nENTRYPOINT [\"/bin/echo\", \"built\"]\nLABEL test={}\n",
        guid().unwrap()
    );
    let mut step = runner.action("clean", &[("Dockerfile", &dockerfile)]);
    step.env.set("PASSWORD", SECRET);
    step.with = vec![("token".to_owned(), format!("{SECRET}-input"))];
    runner.run(&step).assert_code(0);
    let mut step = runner.script("test -n \"$PASSWORD\"");
    step.env.set("PASSWORD", SECRET);
    runner.run(&step).assert_code(0);
    runner.cleanup().run().assert_code(0);
}

#[test]
fn after_a_run_no_object_of_any_kind_is_ours() {
    let runner = RunnerPod::start();
    dockerfile_and_image_step(&runner);
    runner.assert_nothing_left();
    for scope in ["--namespaced=true", "--namespaced=false"] {
        for object in listable(&runner, scope) {
            assert_not_ours(&runner, &object);
        }
    }
}

/// All objects of every kind that can be listed: of the namespace, or of the cluster.
fn listable(runner: &RunnerPod, scope: &str) -> Vec<Value> {
    let kinds = kubectl(&["api-resources", "--verbs=list", scope, "-o", "name"]);
    let kinds: Vec<_> = kinds.lines().collect();
    let known = if scope.ends_with("true") { "jobs.batch" } else { "persistentvolumes" };
    assert!(kinds.contains(&known), "{kinds:?}");
    runner.objects(&kinds.join(","), &[])
}

fn assert_not_ours(runner: &RunnerPod, object: &Value) {
    let metadata = &object["metadata"];
    let name = format!("{}/{}", object["kind"], metadata["name"]);
    assert_eq!(metadata["labels"].get("runner-pod"), None, "{name} carries our label");
    assert_eq!(metadata["labels"].get("hookd.dev/step"), None, "{name} carries our label");
    let owners = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
    let owned = owners.iter().any(|owner| owner["uid"] == runner.uid.as_str());
    assert!(!owned, "{name} is owned by the runner pod");
}

#[test]
fn values_of_the_environment_are_only_in_the_steps_secret() {
    let setup = Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet");
    let runner = RunnerPod::with(&setup);
    let mut step = runner.script(
        "echo \"$PASSWORD\" > /dev/null; echo started; while [ ! -e go ]; do usleep 50000; done",
    );
    step.env.set("PASSWORD", SECRET);
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let seen = serde_json::to_string(&runner.objects("jobs,pods,events", &[])).unwrap();
    assert!(seen.contains("PASSWORD"), "the variable's name stands in the pod");
    let secrets = serde_json::to_string(&runner.objects("secrets", &[])).unwrap();
    runner.write("/home/runner/_work/demo/demo/go", "");
    hook.end().assert_code(0);
    dockerfile_and_image_step(&runner);
    let later = serde_json::to_string(&runner.objects("events", &[])).unwrap();
    let audit = fs::read_to_string(cluster().state.join("logs/audit.log")).unwrap();
    for (what, text) in [
        ("objects", &seen),
        ("events", &later),
        ("hookd's log", &runner.log()),
        ("the audit log", &audit),
    ] {
        assert!(!text.contains(SECRET), "the value stands in {what}");
    }
    // The base64 of its first letters.
    assert!(secrets.contains("czNjcmV0LXZhbHVl"), "the value travels in a Secret");
}

#[test]
fn hookd_uses_no_verb_that_its_role_does_not_have() {
    let runner = RunnerPod::start();
    dockerfile_and_image_step(&runner);
    runner.assert_nothing_left();
    let user = format!("system:serviceaccount:{}:hookd", runner.namespace);
    let used = until("the audit log names hookd", s(10), || {
        let used = used_by(&user);
        used.contains("batch/jobs create").then_some(used)
    });
    let role = role();
    let own = |rule: &&String| !rule.starts_with("authorization.k8s.io/selfsubject");
    let beyond: Vec<_> = used.iter().filter(own).filter(|rule| !role.contains(*rule)).collect();
    assert!(beyond.is_empty(), "used beyond the Role: {beyond:?}");
}

/// The Role is as small as its use: what no work at all needs is not in it.
#[test]
fn the_role_has_no_verb_that_hookd_does_not_use() {
    // A WebSocket is a GET in the audit log, though it takes `create` as well; events are watched for
    // pods that wait; a Lease is read where two need one image.
    let unseen = [
        "/pods/exec create",
        "/pods/exec get",
        "/pods/attach create",
        "/pods/attach get",
        "/events list",
        "/events watch",
        "coordination.k8s.io/leases get",
    ];
    let setup = Setup::default()
        .set("HOOKD_REATTACH_TIMEOUT_SECONDS", "2")
        .set("HOOKD_BUILT_IMAGES", "keep");
    let runner = RunnerPod::with(&setup);
    let mut job = JobRun::of(&runner);
    let service = container(
        "busybox:1",
        &json!({"entryPoint": "sleep", "entryPointArgs": ["1000"],
            "environmentVariables": {"PASSWORD": SECRET}}),
    );
    job.prepare(&job_container(IMAGE, &json!({})), &json!([service])).assert_code(0);
    job.run("true").assert_code(0);
    dockerfile_and_image_step(&runner);
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
    let user = format!("system:serviceaccount:{}:hookd", runner.namespace);
    until("the audit log names all that the Role grants", s(30), || {
        let used = used_by(&user);
        let unused: Vec<_> = role()
            .into_iter()
            .filter(|rule| !used.contains(rule) && !unseen.contains(&rule.as_str()))
            .collect();
        unused.is_empty().then_some(())
    });
}

#[test]
fn the_role_for_jobs_in_the_runner_pod_is_as_small_as_its_use() {
    let runner = RunnerPod::with(&Setup::in_runner_pod());
    let mut job = JobRun::of(&runner);
    let sleeps = json!({"entryPoint": "sleep", "entryPointArgs": ["1000"]});
    let service = container("busybox:1", &sleeps);
    job.prepare(&job_container(IMAGE, &json!({})), &json!([service])).assert_code(0);
    job.run("true").assert_code(0);
    runner.run(&runner.script("true")).assert_code(0);
    job.clean_up().assert_code(0);
    let user = format!("system:serviceaccount:{}:hookd", runner.namespace);
    let role = role_of("deploy/rbac.yaml");
    // Events are watched for containers that wait.
    let unseen = ["/events list", "/events watch"];
    until("the audit log names all that the Role grants, and no more", s(30), || {
        let used = used_by(&user);
        let unused = role.iter().filter(|rule| !used.contains(*rule));
        let unused: Vec<_> = unused.filter(|rule| !unseen.contains(&rule.as_str())).collect();
        let own = |rule: &&String| !rule.starts_with("authorization.k8s.io/selfsubject");
        let beyond: Vec<_> = used.iter().filter(own).filter(|rule| !role.contains(*rule)).collect();
        assert!(beyond.is_empty(), "used beyond the Role: {beyond:?}");
        unused.is_empty().then_some(())
    });
}

/// What the audit log says that the user did.
fn used_by(user: &str) -> Rules {
    let log = fs::read_to_string(cluster().state.join("logs/audit.log")).unwrap();
    let events = log.lines().filter(|line| line.contains(user));
    let events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = events.filter(|event| event["user"]["username"] == user);
    let rule = |event: Value| {
        let object = &event["objectRef"];
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let sub = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let verb = event["verb"].as_str().unwrap_or_default().to_owned();
        (!text("resource").is_empty())
            .then(|| rule_of(&text("apiGroup"), &(text("resource") + &sub), &verb))
    };
    events.filter_map(rule).collect()
}

fn rule_of(group: &str, resource: &str, verb: &str) -> String {
    format!("{group}/{resource} {verb}")
}

/// The rules of deploy/rbac-own-pod.yaml.
fn role() -> Rules {
    role_of("deploy/rbac-own-pod.yaml")
}

fn role_of(file: &str) -> Rules {
    let text = fs::read_to_string(repository(file)).unwrap();
    let role = manifests::documents(&text).into_iter().find(|object| object["kind"] == "Role");
    rules(role.unwrap()["rules"].as_array().unwrap())
}

fn rules(given: &[Value]) -> Rules {
    let list = |rule: &Value, name: &str| -> Vec<String> {
        let values = rule[name].as_array().cloned().unwrap_or_default();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let mut rules = Rules::new();
    for rule in given {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                rules.extend(
                    list(rule, "verbs").iter().map(|verb| rule_of(&group, &resource, verb)),
                );
            }
        }
    }
    rules
}

/// What an account may do according to the API server itself.
fn allowed(namespace: &str, account: &str) -> Rules {
    let review = serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let user = format!("--as=system:serviceaccount:{namespace}:{account}");
    let groups = ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
    let arguments =
        ["create", "--validate=false", "-f", "-", "-o", "json", &user, groups[0], groups[1]];
    let answer = cluster::try_kubectl(&arguments, Some(&review.to_string())).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    rules(answer["status"]["resourceRules"].as_array().unwrap())
}

#[test]
fn hookd_may_do_what_its_role_says_and_no_more() {
    let runner = RunnerPod::start();
    runner.k(&["create", "serviceaccount", "fresh"]);
    let (hookd, fresh) = (allowed(&runner.namespace, "hookd"), allowed(&runner.namespace, "fresh"));
    let own: Rules = hookd.difference(&fresh).cloned().collect();
    assert_eq!(own, role());
}

#[test]
fn the_hook_runs_as_the_runners_user_and_without_a_token() {
    let runner = RunnerPod::start();
    let step = runner.script("echo started; while [ ! -e go ]; do usleep 50000; done");
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let process = hook.process();
    let status = process.read("status");
    let has = |line: &str| status.lines().any(|found| found == line);
    assert!(has("Uid:\t1001\t1001\t1001\t1001") && has("Gid:\t1001\t1001\t1001\t1001"), "{status}");
    assert!(has("CapEff:\t0000000000000000") && has("NoNewPrivs:\t1"), "{status}");
    assert!(process.is_of_pod(&runner.uid), "it runs in the runner pod");
    assert!(!process.path("root/var/run/secrets/kubernetes.io").exists(), "there is a token");
    assert!(runner.daemon().path("root/var/run/secrets/kubernetes.io").exists());
    // Neither has the step's pod.
    let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
    assert_eq!(pods[0]["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pods[0]["spec"]["enableServiceLinks"], false);
    runner.write("/home/runner/_work/demo/demo/go", "");
    hook.end().assert_code(0);
}
