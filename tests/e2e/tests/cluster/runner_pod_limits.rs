//! What a runner pod runs out of, or cannot run: each ends with words that name it, and the next step works.

use serde_json::json;

use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, RunnerPod, Setup};

/// Containers that other jobs have left in the pod's list.
const LEFT: usize = 58;

fn start() -> RunnerPod {
    RunnerPod::with(&Setup::in_runner_pod())
}

#[test]
fn a_step_there_that_uses_too_much_memory_is_told_so() {
    // That of its two containers bounds the pod, and so all others.
    let runner = RunnerPod::with(&Setup { memory: Some("200Mi"), ..Setup::in_runner_pod() });
    let mut job = JobRun::start(&runner);
    let greedy = "x=0123456789; while :; do x=$x$x$x; done";
    let outcome = job.run(greedy);
    assert_eq!(outcome.code, 137, "{}", outcome.log());
    assert!(outcome.log().contains("OOMKilled"), "{}", outcome.log());
    assert_eq!(job.run("echo next").assert_code(0).text(), "next\n");
    let outcome = runner.run(&runner.script(greedy));
    assert_eq!(outcome.code, 137, "{}", outcome.log());
    assert!(outcome.log().contains("OOMKilled"), "{}", outcome.log());
    runner.run(&runner.script("exit 3")).assert_code(3);
    job.clean_up().assert_code(0);
}

#[test]
fn a_pod_with_sixty_containers_runs_the_next_job() {
    let runner = start();
    let ended = |number: usize| json!({"name": format!("left-{number}"), "image": IMAGE, "command": ["true"]});
    let all: Vec<_> = (0..LEFT).map(ended).collect();
    let patch = json!({"spec": {"ephemeralContainers": all}}).to_string();
    runner.k(&["patch", "pod", "runner", "--subresource", "ephemeralcontainers", "-p", &patch]);
    until("all have ended", s(120), || {
        let pod = runner.object("pod", "runner");
        let statuses = pod["status"]["ephemeralContainerStatuses"].as_array()?.clone();
        let over = statuses.iter().filter(|one| one["state"]["terminated"].is_object()).count();
        (over == LEFT).then_some(())
    });
    let mut job = JobRun::start(&runner);
    assert_eq!(job.run("echo works").assert_code(0).text(), "works\n");
    runner.run(&runner.script("exit 3")).assert_code(3);
    let files = [("Dockerfile", "FROM busybox:1\nENTRYPOINT [\"/bin/echo\", \"built\"]\n")];
    let built = runner.run(&runner.action("built", &files));
    assert_eq!(built.assert_code(0).after_build(), "built\n");
    job.clean_up().assert_code(0);
}

#[test]
fn container_steps_of_one_job_run_there_at_once() {
    let runner = start();
    let mut job = JobRun::start(&runner);
    let waits = |own: &str, other: &str| {
        let script =
            format!("touch {own}; until [ -e {other} ]; do usleep 10000; done; echo {own}");
        runner.call(&runner.script(&script)).start()
    };
    let (one, other) = (waits("one", "other"), waits("other", "one"));
    assert_eq!(one.end_within(s(60)).assert_code(0).text(), "one\n");
    assert_eq!(other.end_within(s(60)).assert_code(0).text(), "other\n");
    assert_eq!(job.run("ls one other").assert_code(0).text(), "one\nother\n");
    job.clean_up().assert_code(0);
}
