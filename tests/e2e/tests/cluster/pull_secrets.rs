//! Credentials of the workflow for a job in the runner pod, whose pull Secrets are fixed.

use fake_runner::layout::guid;
use serde_json::{Value, json};

use crate::build_credentials::{Guarded, PASSWORD, USER};
use test_support::manifests::PULL_SECRET;
use test_support::{JobRun, RunnerPod, Setup, images, job_container};

/// A job container whose image the registry gives to its user alone, and the node does not have.
fn private(registry: &Guarded, password: &str) -> Value {
    // Another one each time: the node does not have it, and has not failed to pull it.
    let label = format!("private={}", guid().unwrap());
    let image = images::derived("busybox:1", &["--label", &label]);
    let (_, path) = image.split_once('/').unwrap();
    let host = format!("localhost:{}", registry.node_port);
    let login = json!({"username": USER, "password": password, "serverUrl": host});
    job_container(&format!("{host}/{path}"), &json!({"registry": login}))
}

fn with_pull_secret() -> Setup {
    let setup = Setup { has_pull_secret: true, ..Setup::in_runner_pod() };
    setup.set("HOOKD_PULL_SECRET", PULL_SECRET)
}

/// The Secret's annotations and entries are those of its manifest.
fn assert_empty(runner: &RunnerPod) {
    let secret = runner.object("secret", PULL_SECRET);
    let config = secret["data"][".dockerconfigjson"].as_str().unwrap();
    // {"auths":{}}
    assert_eq!(config, "eyJhdXRocyI6e319");
    assert_eq!(secret["metadata"]["annotations"].get("hookd.dev/runners"), None);
}

#[test]
fn a_node_gets_a_jobs_credentials_while_it_pulls_and_no_longer() {
    let registry = Guarded::start();
    registry.show_to_node();
    let runner = RunnerPod::with(&with_pull_secret());
    let mut job = JobRun::of(&runner);
    let wrong = private(&registry, "wrong");
    let image = wrong["image"].as_str().unwrap();
    job.prepare(&wrong, &json!([])).assert_failed_with(60, &[image]);
    assert_empty(&runner);
    let mut job = JobRun::of(&runner);
    let prepared = job.prepare(&private(&registry, PASSWORD), &json!([]));
    prepared.assert_code(0);
    assert!(!prepared.printed().contains("credentials"), "{}", prepared.printed());
    assert_empty(&runner);
    assert_eq!(job.run("echo private").assert_code(0).text(), "private\n");
    job.clean_up().assert_code(0);
}

#[test]
fn credentials_that_cannot_be_given_are_a_warning() {
    let registry = Guarded::start();
    registry.show_to_node();
    let runner = RunnerPod::with(&with_pull_secret());
    runner.k(&["delete", "secret", PULL_SECRET]);
    let mut job = JobRun::of(&runner);
    let container = private(&registry, PASSWORD);
    let image = container["image"].as_str().unwrap();
    let outcome = job.prepare(&container, &json!([]));
    outcome.assert_failed_with(60, &[image]);
    let missing = format!("Secret {PULL_SECRET} does not exist");
    assert!(outcome.printed().contains(&missing), "{}", outcome.printed());
    // An image that anyone may have starts with the same warning.
    let login = json!({"username": "u", "password": "p", "serverUrl": ""});
    let mut job = JobRun::of(&runner);
    let public = job.prepare(&job_container("busybox:1", &json!({"registry": login})), &json!([]));
    assert!(public.assert_code(0).printed().contains(&missing), "{}", public.printed());
}
