//! The chart in deploy/chart: helm installs it, and jobs run with what it made.

use std::fs;

use serde_json::{Value, json};
use test_support::chart::{chart, rollback, try_chart, try_helm};
use test_support::cluster::{repository, try_kubectl};
use test_support::manifests::{PULL_SECRET, documents};
use test_support::{IMAGE, JobRun, Placement, RunnerPod, Setup, Values, job_container};

use crate::policies::assert_work_runs;

/// All that belongs to a namespace of runners, for jobs in the runner pod.
const RUNNER_POD: &[&str] = &[
    "rbac.pullSecret.enabled=true",
    "policy.enabled=true",
    "policy.file.options.memory=1Gi",
    "limits.quota.enabled=true",
    "limits.range.enabled=true",
    "networkPolicies.enabled=true",
    "networkPolicies.metricsFrom[0].podSelector.matchLabels.app=prometheus",
    "monitoring.dashboard.enabled=true",
    "arc.env.HOOKD_SUMMARY=true",
];
const OWN_POD: &[&str] = &["rbac.runnerPod=false", "rbac.ownPod=true"];
/// What hookd writes into its pull Secret; `{"auths":{"a":{}}}` in base64.
const WRITTEN: &str = "eyJhdXRocyI6eyJhIjp7fX19";
/// Names in ci/all-values.yaml that other tests may have on the cluster.
const PLACES: [&str; 3] = ["registry", "seccompProfile", "buildkitd"];

/// A job with a step, a container step and a build; and nothing that hookd may not do.
fn assert_jobs_run(runner: &RunnerPod) {
    assert_work_runs(runner, &json!([]));
    let doctor = runner.k(&["exec", &runner.name, "-c", "hookd", "--", "hookd", "doctor"]);
    assert!(doctor.contains(" 0 failures"), "{doctor}");
}

fn pull_secret(runner: &RunnerPod) -> Value {
    runner.object("secret", PULL_SECRET)["data"][".dockerconfigjson"].clone()
}

/// The pod is that of the values for ARC which the chart made: with its policy, Secret and variable.
#[test]
fn the_chart_serves_jobs_in_the_runner_pod() {
    let setup = Setup { chart: Some(RUNNER_POD), ..Setup::in_runner_pod() };
    let runner = RunnerPod::with(&setup.from(Values::Chart));
    let pod = runner.object("pod", &runner.name);
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": PULL_SECRET}]));
    let environment = runner.k(&["get", "pod", &runner.name, "-o", "yaml"]);
    for name in ["HOOKD_PULL_SECRET", "HOOKD_SUMMARY", "HOOKD_POLICY"] {
        assert!(environment.contains(name), "{name}");
    }
    assert_jobs_run(&runner);
    let mut job = JobRun::of(&runner);
    let fields = json!({"createOptions": "-m 2g"});
    let refused = job.prepare(&job_container(IMAGE, &fields), &json!([]));
    refused.assert_failed_with(10, &["options.memory", "1Gi"]);
}

#[test]
fn the_chart_serves_jobs_in_pods_of_their_own() {
    let setup = Setup { placement: Placement::OwnPod, chart: Some(OWN_POD), ..Setup::default() };
    let runner = RunnerPod::with(&setup);
    assert_jobs_run(&runner);
    let roles = runner.k(&["get", "roles", "-o", "name"]);
    assert_eq!(roles, "role.rbac.authorization.k8s.io/hookd\n");
}

#[test]
fn helm_leaves_the_pull_secret_to_hookd() {
    let setup = Setup { chart: Some(RUNNER_POD), ..Setup::in_runner_pod() };
    let runner = RunnerPod::with(&setup);
    let written = json!({"data": {".dockerconfigjson": WRITTEN}}).to_string();
    runner.k(&["patch", "secret", PULL_SECRET, "-p", &written]);
    let without = [RUNNER_POD, &["rbac.pullSecret.enabled=false"]].concat();
    for values in [RUNNER_POD, RUNNER_POD, &without, RUNNER_POD] {
        chart("upgrade", &runner.namespace, values);
        assert_eq!(pull_secret(&runner), WRITTEN, "{values:?}");
    }
    // In the first revision helm has made it.
    rollback(&runner.namespace, 1);
    assert_eq!(pull_secret(&runner), WRITTEN);
}

#[test]
fn the_chart_takes_over_what_kubectl_has_made() {
    let runner = RunnerPod::with(&Setup::in_runner_pod());
    let mut job = JobRun::start(&runner);
    let refused = try_chart("install", &runner.namespace, &[]).unwrap_err();
    assert!(refused.contains("exists and cannot be imported"), "{refused}");
    let arguments = ["--take-ownership".to_owned()];
    try_helm("install", &runner.namespace, &arguments).unwrap();
    assert_eq!(job.run("echo here").assert_code(0).text(), "here\n");
    assert_eq!(runner.run(&runner.script("echo there")).assert_code(0).text(), "there\n");
    job.clean_up().assert_code(0);
}

#[test]
fn the_api_server_takes_every_object_of_the_chart() {
    let runner = RunnerPod::with(&Setup::in_runner_pod());
    let file = repository("deploy/chart/hookd/ci/all-values.yaml").display().to_string();
    let mut arguments = vec!["--values".to_owned(), file];
    for part in PLACES {
        let namespace = &runner.namespace;
        let value = format!("{part}.namespace={namespace},{part}.createNamespace=false");
        arguments.extend(["--set".to_owned(), value]);
    }
    let rendered = try_helm("template", &runner.namespace, &arguments).unwrap();
    let (theirs, ours): (Vec<_>, Vec<_>) = documents(&rendered)
        .into_iter()
        .filter(|object| !object.is_null())
        .partition(|object| object["apiVersion"] == "monitoring.coreos.com/v1");
    assert!(ours.len() > 35, "{}", ours.len());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": ours});
    // Some are there, made by this test's own runner.
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
    try_kubectl(&arguments, Some(&list.to_string())).unwrap();
    // The cluster does not know the kinds of the Prometheus operator.
    let specs: Vec<_> = theirs.iter().map(|object| object["spec"].clone()).collect();
    let manifest = |name: &str| {
        let text = fs::read_to_string(repository("deploy/monitoring").join(name)).unwrap();
        documents(&text).remove(0)["spec"].clone()
    };
    assert_eq!(specs, [manifest("pod-monitor.yaml"), manifest("rules.yaml")]);
    assert!(theirs.iter().all(|object| object["metadata"]["labels"]["release"] == "prometheus"));
}

#[test]
fn helm_refuses_a_misspelt_value() {
    let refused = try_chart("install", "default", &["rbac.runerPod=true"]).unwrap_err();
    assert!(refused.contains("additional properties 'runerPod' not allowed"), "{refused}");
    let refused = try_chart("install", "default", &["policy.file.imags.allowed=x"]).unwrap_err();
    assert!(refused.contains("'imags' not allowed"), "{refused}");
    let refused = try_chart("install", "default", &["registry.enabled=true"]).unwrap_err();
    assert!(refused.contains("/registry/nodeNetworks"), "{refused}");
}
