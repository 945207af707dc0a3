//! The administrator's template and what hookd needs itself: both hold.

use serde_json::json;

use test_support::{IMAGE, JobRun, RunnerPod, Setup, container, job_container};

const PATH: &str = "/home/runner/_work/template.yaml";

/// A runner with this template.
fn with_template(template: &str) -> RunnerPod {
    let setup = Setup::default().set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", PATH);
    let runner = RunnerPod::with(&setup);
    runner.write(PATH, template);
    runner
}

// ARC#265 (hostAliases), rch#208 and ARC#2434 (pull Secrets, affinity), ARC#2890 (security context)
#[test]
fn what_the_template_adds_takes_nothing_from_the_job() {
    let runner = with_template(
        "spec:\n  hostAliases: [{ip: 10.20.30.40, hostnames: [git.corp.example]}]\n  \
         imagePullSecrets: [{name: corp-mirror}]\n  affinity:\n    podAntiAffinity:\n      \
         preferredDuringSchedulingIgnoredDuringExecution:\n      - weight: 1\n        \
         podAffinityTerm:\n          topologyKey: kubernetes.io/hostname\n          \
         labelSelector: {matchLabels: {app: noisy}}\n  securityContext: {fsGroup: 1001}\n  \
         containers:\n  - name: $job\n    env:\n    \
         securityContext: {allowPrivilegeEscalation: false}\n    \
         resources: {requests: {cpu: 100m}, limits: }\n",
    );
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "--user 1001:1001 --memory 1g",
        "registry": {"username": "u", "password": "p", "serverUrl": "ghcr.io"}});
    let service = json!({"createOptions": "--network-alias cache", "entryPoint": "/bin/sleep",
        "entryPointArgs": ["1000"]});
    let services = json!([container("busybox:1", &service)]);
    job.prepare(&job_container(IMAGE, &fields), &services).assert_code(0);
    let outcome =
        job.run("for h in git.corp.example busybox cache; do getent hosts $h; done; id -u");
    let text = outcome.assert_code(0).text();
    let words: Vec<_> = text.split_whitespace().collect();
    assert!(words.contains(&"10.20.30.40") && words.last() == Some(&"1001"), "{text}");
    assert_eq!(words.iter().filter(|word| **word == "127.0.0.1").count(), 2, "{text}");
    let pod = runner.object("pod", "runner-workflow");
    let spec = &pod["spec"];
    let secrets = spec["imagePullSecrets"].to_string();
    assert!(secrets.contains("corp-mirror") && secrets.contains("runner-pull"), "{secrets}");
    assert!(spec["affinity"]["podAntiAffinity"].is_object(), "{spec}");
    assert!(spec["affinity"].to_string().contains("metadata.name"), "{spec}");
    assert_eq!(spec["securityContext"]["fsGroup"], 1001);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let containers = spec["containers"].as_array().unwrap();
    let job_spec = containers.iter().find(|one| one["name"] == "job").unwrap();
    assert!(job_spec["resources"]["limits"]["memory"].is_string(), "{job_spec}");
    assert_eq!(job_spec["resources"]["requests"]["cpu"], "100m");
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

#[test]
fn a_conflicting_template_warns_and_a_breaking_one_is_refused() {
    let runner = with_template(
        "spec:\n  nodeSelektor: {a: b}\n  containers:\n  - {name: $job, securityContext: {runAsUser: 0}}\n",
    );
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "--user 1001:1001"});
    let outcome = job.prepare(&job_container(IMAGE, &fields), &json!([]));
    let log = outcome.assert_code(0).log();
    assert!(log.contains("runAsUser to 0; the workflow's 1001 is not used"), "{log}");
    assert!(log.contains("spec.nodeSelektor"), "{log}");
    assert_eq!(job.run("id -u").assert_code(0).text(), "0\n");
    job.clean_up().assert_code(0);
    for (template, field) in [
        ("spec: {containers: [{name: $job, command: [sleep, '1000']}]}", "[$job].command"),
        ("spec: {shareProcessNamespace: true}", "spec.shareProcessNamespace"),
        ("spec: {containers: [{name: $job, env: [{name: A, value: 1}]}]}", "env[0].value"),
    ] {
        runner.write(PATH, template);
        let outcome = JobRun::of(&runner).prepare(&job_container(IMAGE, &json!({})), &json!([]));
        outcome.assert_failed_with(10, &["Template invalid", field, PATH]);
        runner.assert_nothing_left();
    }
}
