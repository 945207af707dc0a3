//! Layers of earlier builds, and builds that need more memory.

use fake_runner::Step;
use fake_runner::layout::guid;
use serde_json::json;
use test_support::cluster::{self, cluster};
use test_support::wait::{s, until};
use test_support::{JobRun, Outcome, RunnerPod, Setup};

use crate::build_reuse::{FOUND, keeping};

/// As Kaniko's log says it.
const FROM_CACHE: &str = "Using caching version of cmd: RUN";

fn setup(repository: &str) -> Setup {
    Setup::default().set("HOOKD_BUILD_CACHE_REPOSITORY", repository)
}

fn caching(repository: &str) -> RunnerPod {
    RunnerPod::with(&setup(repository))
}

fn believing(repository: &str) -> RunnerPod {
    RunnerPod::with(&setup(repository).believing_events())
}

fn own_repository() -> String {
    format!("{}/cache", &guid().unwrap()[..8])
}

fn action(runner: &RunnerPod, dockerfile: &str, file: &str) -> Step {
    runner.action("cached", &[("Dockerfile", dockerfile), ("file", file)])
}

fn run_for(event: &str, runner: &RunnerPod, step: &Step) -> Outcome {
    runner.call(step).set("GITHUB_EVENT_NAME", event).run()
}

fn is_cached(outcome: &Outcome) -> bool {
    outcome.assert_code(0).log().contains(FROM_CACHE)
}

/// Tags of a repository of the cluster's registry.
fn tags(repository: &str) -> usize {
    let name = format!("localhost:{}/{repository}", cluster().registry_node_port);
    let mut list = std::process::Command::new("crane");
    let listed = cluster::run(list.args(["ls", &name]), None);
    listed.unwrap_or_default().lines().filter(|tag| tag.starts_with("layer_")).count()
}

#[test]
fn a_layer_is_taken_from_an_earlier_build_of_another_runner() {
    let repository = own_repository();
    let dockerfile = format!(
        "FROM busybox:1\nRUN date +%N >/built; echo {}\nCOPY file /file\nCMD [\"cat\", \"/file\", \"/built\"]\n",
        guid().unwrap()
    );
    let built = |file: &str| {
        let runner = believing(&repository);
        let outcome = run_for("push", &runner, &action(&runner, &dockerfile, file));
        runner.assert_nothing_left();
        outcome
    };
    let (first, second) = (built("one\n"), built("two\n"));
    assert!(!is_cached(&first) && is_cached(&second), "{}", second.log());
    let (first, second) = (first.after_build(), second.after_build());
    assert_eq!(second, first.replace("one", "two"));
    assert!(tags(&repository) > 0);
    assert_eq!(tags(&format!("{repository}-untrusted")), 0);
    // The file's name is a part of what layers are known by.
    let renamed = {
        let runner = believing(&repository);
        let files = [("Dockerfile", &*dockerfile), ("file", ""), ("more", "")];
        run_for("push", &runner, &runner.action("cached", &files))
    };
    assert!(!is_cached(&renamed), "{}", renamed.log());
}

#[test]
fn a_prebuild_takes_and_leaves_layers_by_its_jobs_event() {
    let repository = own_repository();
    let runner = keeping(setup(&repository).believing_events());
    let dockerfile =
        format!("FROM busybox:1\nRUN echo {} >/a\nCMD [\"cat\", \"/a\"]\n", guid().unwrap());
    let definition = "runs: {using: docker, image: Dockerfile}";
    let step = runner.action("ahead", &[("action.yml", definition), ("Dockerfile", &dockerfile)]);
    // The event of a job that says nothing else is a push.
    let job = JobRun::start(&runner);
    until("it is built", s(90), || runner.log().contains("outcome=Built").then_some(()));
    // Its flags are those of the step's own build: they are a part of the key.
    let outcome = run_for("push", &runner, &step);
    assert!(outcome.assert_code(0).log().contains(FOUND), "{}", outcome.log());
    assert!(tags(&repository) > 0);
    assert_eq!(tags(&format!("{repository}-untrusted")), 0);
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}

/// Where steps may run beside hooks, as in the demo's runner pods, no event is believed.
#[test]
fn no_step_chooses_the_cache_of_trusted_events() {
    let repository = own_repository();
    let runner = caching(&repository);
    let dockerfile =
        format!("FROM busybox:1\nRUN echo {} >/built\nCMD [\"true\"]\n", guid().unwrap());
    for event in ["push", "pull_request"] {
        run_for(event, &runner, &action(&runner, &dockerfile, event)).assert_code(0);
    }
    assert_eq!(tags(&repository), 0);
    assert!(tags(&format!("{repository}-untrusted")) > 0);
}

#[test]
fn a_run_puts_no_layer_under_another_name_than_kanikos() {
    let repository = own_repository();
    let runner = caching(&repository);
    let untrusted = format!("{repository}-untrusted");
    let put = |name: &str, path: &str| {
        format!(
            "RUN {{ printf 'PUT /v2/cache/{path}/manifests/{name} HTTP/1.1\\r\\nHost: 127.0.0.1:5077\\r\\n\
             Connection: close\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}'; sleep 3; }} | nc 127.0.0.1 5077; true\n"
        )
    };
    let dockerfile = [
        "FROM busybox:1\n".to_owned(),
        put("latest", &untrusted),
        put("key_1_1", &untrusted),
        put(&"a".repeat(64), &repository),
        "CMD [\"true\"]\n".to_owned(),
    ];
    let outcome = runner.run(&action(&runner, &dockerfile.concat(), ""));
    let log = outcome.assert_code(0).log();
    assert_eq!(log.matches("HTTP/1.1 403 Forbidden").count(), 3, "{log}");
    assert_eq!(tags(&repository), 0);
}

/// It takes 300 MiB: all of a block.
const HUNGRY: &str = "FROM busybox:1\nRUN dd if=/dev/zero of=/dev/null bs=300M count=1 && echo fed\n\
                      CMD [\"echo\", \"built\"]\n";

#[test]
fn a_build_that_is_killed_for_its_memory_is_built_once_more() {
    let setup = Setup::default().set("HOOKD_BUILD_MEMORY", "160Mi");
    let runner = RunnerPod::with(&setup.set("HOOKD_BUILD_MEMORY_RETRY", "640Mi"));
    let outcome = runner.run(&runner.action("hungry", &[("Dockerfile", HUNGRY)]));
    assert_eq!(outcome.assert_code(0).after_build(), "built\n");
    let line =
        "The build used more memory than its limit of 160Mi: it is built once more with 640Mi";
    assert_eq!(outcome.log().matches(line).count(), 1, "{}", outcome.log());
    assert!(outcome.log_lines().contains(&"fed".to_owned()), "{}", outcome.log());
    runner.assert_nothing_left();
}

#[test]
fn a_build_that_is_killed_twice_fails_with_its_limit() {
    let setup = Setup::default().set("HOOKD_BUILD_MEMORY", "130Mi");
    let runner = RunnerPod::with(&setup.set("HOOKD_BUILD_MEMORY_RETRY", "160Mi"));
    let outcome = runner.run(&runner.action("hungry", &[("Dockerfile", HUNGRY)]));
    outcome.assert_failed_with(90, &["OOMKilled", "160Mi"]);
    assert_eq!(outcome.log().matches("it is built once more with 160Mi").count(), 1);
    runner.assert_nothing_left();
}

#[test]
fn a_quota_without_more_memory_leaves_the_first_failure() {
    let setup = Setup::default()
        .set("HOOKD_BUILD_MEMORY", "160Mi")
        .set("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", "15");
    let runner = RunnerPod::with(&setup.set("HOOKD_BUILD_MEMORY_RETRY", "640Mi"));
    cluster::create(&[json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": runner.namespace},
        "spec": {"hard": {"limits.memory": "400Mi"}},
    })]);
    let hook = runner.call(&runner.action("hungry", &[("Dockerfile", HUNGRY)])).start();
    let outcome = hook.end_within(s(120));
    outcome.assert_failed_with(120, &["OOMKilled", "160Mi"]);
    runner.assert_nothing_left();
}
