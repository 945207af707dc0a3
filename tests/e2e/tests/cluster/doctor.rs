//! `hookd doctor` and `hookd status` in the sidecar, on clusters that are well and on such that are not.

use serde_json::{Value, json};

use test_support::wait::{s, until};
use test_support::{Placement, RunnerPod, Setup, cluster};

use report::Report;

mod older;
mod registries;
mod report;
mod walls;

/// Something wrong, and what the check says of it.
struct Fault {
    check: &'static str,
    status: &'static str,
    /// Settings of it.
    flags: &'static [&'static str],
    /// What is found, and what is to do.
    words: &'static [&'static str],
}

const fn failure(
    check: &'static str,
    flags: &'static [&'static str],
    words: &'static [&'static str],
) -> Fault {
    Fault { check, status: "failure", flags, words }
}

const fn warning(
    check: &'static str,
    flags: &'static [&'static str],
    words: &'static [&'static str],
) -> Fault {
    Fault { check, status: "warning", flags, words }
}

impl Fault {
    /// Fails the test unless the check finds it; permissions and quotas take effect within seconds.
    fn is_found(&self, runner: &RunnerPod) {
        let mut last = Value::Null;
        let what = format!("{} says {:?}", self.check, self.words);
        let seen = test_support::wait::eventually(s(10), || {
            let report = Report::of(runner, self.flags);
            last = report.check(self.check).clone();
            let fits = last["status"] == self.status && report.says(self.check, self.words);
            // Nothing else is wrong with the runner: see is_well.
            let code = i32::from(self.status == "failure");
            (fits && report.code == Some(code)).then_some(())
        });
        assert!(seen.is_some(), "{what}: {last:#}");
        assert_ne!(last["remedy"], "", "{last}");
    }
}

/// Fails the test unless no check finds anything soon, so that exit codes are those of faults.
fn is_well(runner: &RunnerPod) {
    until("the runner is well", s(10), || {
        let report = Report::of(runner, &[]);
        (report.json["status"] == "ok" && report.code == Some(0)).then_some(())
    });
}

const TEMPLATE: &str = "/home/runner/_work/template.yaml";
const POLICY: &str = "/home/runner/_work/policy.yaml";

/// Faults of settings.
const SETTINGS: [Fault; 16] = [
    failure("policy", &["--policy", "/nowhere/p.yaml"], &["/nowhere/p.yaml", "HOOKD_POLICY"]),
    failure("daemon", &["--socket-dir", "/nowhere"], &["/nowhere/hookd.sock", "kubectl logs"]),
    failure("runner-pod", &["--pod-name", "nope"], &["nope", "not found"]),
    failure("runner-pod", &["--namespace", "default"], &["default", "rbac"]),
    failure(
        "placement",
        &["--job-placement", "runner-pod"],
        &["/run/hookd-agents/tools", "values.yaml"],
    ),
    failure("work-directory", &["--work-dir", "/nowhere"], &["/nowhere", "No such file"]),
    failure(
        "work-directory",
        &["--work-dir", "/usr"],
        &["/usr cannot be written to", "hookd runs as 1001"],
    ),
    failure("claim", &["--claim-name", "nope"], &["'nope' not found", "ACTIONS_RUNNER_CLAIM_NAME"]),
    failure(
        "secrets",
        &["--registry-secret", "nope"],
        &["Secret nope", "does not exist", "REGISTRY_SECRET"],
    ),
    failure("secrets", &["--registry-tls", "r.example=nope"], &["HOOKD_REGISTRY_TLS", "nope"]),
    failure(
        "registry-push",
        &["--registry-host", "10.96.0.99"],
        &["10.96.0.99:5000", "_REGISTRY_HOST"],
    ),
    failure("registry-pull", &["--registry-port", "5999"], &[":5999", "_REGISTRY_PORT"]),
    failure(
        "registry-push",
        &["--registry-node-port=", "--insecure-registries="],
        &["plain HTTP", "HOOKD_INSECURE_REGISTRIES"],
    ),
    failure(
        "registry-node",
        &["--registry-node-port", "30999"],
        &[":30999", "_NODE_PORT", "nodePort"],
    ),
    failure(
        "builder-image",
        &["--kaniko-image", "localhost:30500/nope:1"],
        &["nope:1", "HOOKD_KANIKO_IMAGE"],
    ),
    warning(
        "base-images",
        &["--registry-map", "index.docker.io=127.0.0.1:1"],
        &["127.0.0.1:1", "_REGISTRY_MAP"],
    ),
];

#[test]
fn each_fault_is_named_with_what_to_do() {
    let runner = RunnerPod::start();
    is_well(&runner);
    for fault in &SETTINGS {
        fault.is_found(&runner);
    }
    templates(&runner);
    for part in [objects, permissions, pod_security] {
        is_well(&runner);
        part(&runner);
    }
}

#[test]
fn a_setting_in_the_environment_that_cannot_be_used_is_named() {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_BUILD_CPU", "many"));
    let words = &["HOOKD_BUILD_CPU", "an amount above 0", "docs/config.md"];
    failure("settings", &[], words).is_found(&runner);
}

#[test]
fn a_work_directory_that_is_full_is_a_failure() {
    let runner = RunnerPod::with(&Setup { own_file_system: true, ..Setup::default() });
    // Small as it is, it has room.
    warning("work-directory", &[], &["little room"]).is_found(&runner);
    let mut file = std::fs::File::create(runner.volume.join("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    failure("work-directory", &[], &["cannot be written to", "Free space"]).is_found(&runner);
}

/// Templates that make no pod, or none that is admitted.
fn templates(runner: &RunnerPod) {
    let flags = &["--hook-template", TEMPLATE];
    for (text, fault) in [
        ("spec: [", failure("template", flags, &["template.yaml"])),
        (
            "spec: {serviceAccountName: ghost}",
            failure("job-admission", flags, &["serviceaccount 'ghost' not found", "Create the"]),
        ),
    ] {
        runner.write(TEMPLATE, text);
        fault.is_found(runner);
    }
    runner.write(POLICY, "templates: [{runnerLabels: {}, file: /nowhere/t.yaml}]");
    failure("template", &["--policy", POLICY], &["/nowhere/t.yaml"]).is_found(runner);
    runner.write(POLICY, "image: {}");
    failure("policy", &["--policy", POLICY], &["policy.yaml", "line 1"]).is_found(runner);
}

/// Objects of the namespace that are in the way.
fn objects(runner: &RunnerPod) {
    let make = |version: &str, kind: &str, spec: &Value| {
        let metadata = json!({"name": "wall", "namespace": runner.namespace});
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec});
        cluster::create(&[object]);
    };
    let access = json!({"accessModes": ["ReadOnlyMany"], "storageClassName": "none",
        "resources": {"requests": {"storage": "1Gi"}}});
    make("v1", "PersistentVolumeClaim", &access);
    failure("claim", &["--claim-name", "wall"], &["read-only", "ReadWriteOnce"]).is_found(runner);
    runner.k(&["delete", "--wait=false", "persistentvolumeclaim", "wall"]);
    make("v1", "ResourceQuota", &json!({"hard": {"pods": "1"}}));
    for check in ["job-admission", "build-admission"] {
        failure(check, &[], &["exceeded quota: wall", "Raise the ResourceQuota"]).is_found(runner);
    }
    runner.k(&["delete", "resourcequota", "wall"]);
    make(
        "v1",
        "LimitRange",
        &json!({"limits": [{"type": "Container", "max": {"memory": "1Gi"},
        "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "64Mi"}}]}),
    );
    let words = &["maximum memory usage per Container is 1Gi", "HOOKD_BUILD_MEMORY"];
    failure("build-admission", &[], words).is_found(runner);
    runner.k(&["delete", "limitrange", "wall"]);
}

/// Verbs that the Role lacks.
fn permissions(runner: &RunnerPod) {
    let role = runner.object("role", "hookd");
    let words: [(&str, &str, &'static [&'static str]); 4] = [
        ("jobs", "create", &["create jobs.batch", "deploy/rbac-own-pod.yaml"]),
        ("pods/exec", "get", &["get pods/exec", "deploy/rbac-own-pod.yaml"]),
        ("pods", "get", &["get pods", "deploy/rbac-own-pod.yaml"]),
        ("pods", "watch", &["watch pods", "deploy/rbac-own-pod.yaml"]),
    ];
    for (resource, verb, words) in words {
        let mut lacking = role.clone();
        for rule in lacking["rules"].as_array_mut().unwrap() {
            if rule["resources"].as_array().unwrap().contains(&resource.into()) {
                rule["verbs"].as_array_mut().unwrap().retain(|given| given != verb);
            }
        }
        set_rules(runner, &lacking["rules"]);
        failure("permissions", &[], words).is_found(runner);
    }
    set_rules(runner, &role["rules"]);
    until("the Role is whole again", s(10), || {
        let report = Report::of(runner, &[]);
        (report.check("permissions")["status"] == "ok").then_some(())
    });
}

fn set_rules(runner: &RunnerPod, rules: &Value) {
    let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
    runner.k(&["patch", "role", "hookd", "--type=json", "-p", &patch]);
}

/// Levels that are too strict, or none.
fn pod_security(runner: &RunnerPod) {
    let label = |level: &str| {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        cluster::kubectl(&["label", "--overwrite", "namespace", &runner.namespace, &label]);
    };
    label("restricted");
    let words = &["violates PodSecurity", "restricted", "Pod Security level"];
    failure("build-admission", &[], words).is_found(runner);
    label("privileged");
    warning("pod-security", &[], &["privileged pods", "enforce=baseline"]).is_found(runner);
}

#[test]
fn a_healthy_cluster_is_green_in_both_placements() {
    for setup in [Setup::default(), Setup::in_runner_pod(), Setup::in_runner_pod().with_registry()]
    {
        let runner = RunnerPod::with(&setup);
        let report = Report::of(&runner, &[]);
        assert_eq!(report.json["status"], "ok", "{setup:?}: {:#}", report.json);
        assert_eq!(report.code, Some(0));
        assert!(report.took < s(5), "it took {:?}", report.took);
        let exec = ["exec", &runner.name, "-c", "hookd", "--", "hookd"];
        let text = runner.k(&[&exec[..], &["doctor"]].concat());
        assert!(text.contains(" 0 warnings, 0 failures, "), "{text}");
        let status = runner.k(&[&exec[..], &["status", "--output", "json"]].concat());
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["runner_pod"], runner.name.as_str());
        assert_eq!(status["missing_permissions"], json!([]));
        let table = runner.k(&[&exec[..], &["status"]].concat());
        assert!(table.contains(&runner.namespace), "{table}");
        runner.assert_nothing_left();
    }
}

#[test]
fn a_runner_under_all_policies_of_deploy_is_green() {
    for setup in [Setup::default(), Setup::in_runner_pod()] {
        let runner = RunnerPod::with(&setup);
        crate::policies::enforce(&runner);
        crate::policy_file::check_images(&runner, "");
        let in_own_pod = setup.placement == Placement::OwnPod;
        if in_own_pod {
            // To look at the quota of deploy/policy, too.
            let mut rules = runner.object("role", "hookd")["rules"].clone();
            let list =
                json!({"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["list"]});
            rules.as_array_mut().unwrap().push(list);
            set_rules(&runner, &rules);
        }
        is_well(&runner);
        let quota = Report::of(&runner, &[]).check("quota").clone();
        assert_eq!(quota["status"], if in_own_pod { "ok" } else { "skipped" }, "{quota}");
    }
}

#[test]
fn all_three_programs_say_their_version_and_usage() {
    let runner = RunnerPod::start();
    for program in ["hookd", "hook", "stepd"] {
        let run =
            |flag: &str| runner.k(&["exec", &runner.name, "-c", "hookd", "--", program, flag]);
        let version = run("--version");
        assert!(version.starts_with(&format!("{program} ")), "{version}");
        assert!(run("--help").to_lowercase().contains("usage"), "{program}");
    }
}
