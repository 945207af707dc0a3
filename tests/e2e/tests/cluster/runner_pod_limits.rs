//! What a runner pod runs out of, or cannot run: each ends with words that name it, and the next step works.

use std::os::unix::fs::PermissionsExt;

use fake_runner::layout::guid;
use serde_json::{Value, json};

use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, Outcome, Program, RunnerPod, Setup, images};

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

/// The first bytes of a program for a machine that does not exist: of some others an emulator may be known.
const FOREIGN: [u8; 20] =
    [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xed, 0xfe];

#[test]
fn a_program_for_another_platform_is_named() {
    let runner = start();
    let folder = std::env::temp_dir().join(format!("hookd-{}", guid().unwrap()));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("foreign");
    std::fs::write(&file, [&FOREIGN[..], &[0; 44]].concat()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let image = images::of_one_file(&file, Some("/foreign"));
    std::fs::remove_dir_all(folder).unwrap();
    // hookd must reach its registry, and does by the map for Docker Hub's images.
    let image = image.split_once('/').unwrap().1;
    let action = format!("runs: {{using: docker, image: 'docker://{image}'}}\n");
    let outcome = runner.run(&runner.action("foreign", &[("action.yml", &action)]));
    assert_eq!(outcome.code, 126, "{}", outcome.printed());
    for word in ["/foreign", "platform"] {
        assert!(outcome.printed().contains(word), "{}", outcome.printed());
    }
    runner.run(&runner.script("exit 3")).assert_code(3);
}

#[test]
fn exit_codes_arrive_from_the_runner_pod_as_they_are() {
    let runner = start();
    let mut job = JobRun::start(&runner);
    for code in [0, 1, 3, 126, 127, 255] {
        job.run(&format!("exit {code}")).assert_code(code);
        runner.run(&runner.script(&format!("exit {code}"))).assert_code(code);
    }
    job.run("kill -KILL $$").assert_code(137);
    runner.run(&runner.script("kill -KILL $$")).assert_code(137);
    let outcome = job.run_program(&Program::new("no-such-shell", "x"));
    let text = outcome.assert_code(127).log();
    assert!(text.contains("\"no-such-shell\" is not on the PATH of the container"), "{text}");
    job.clean_up().assert_code(0);
}

#[test]
fn a_step_that_fills_its_jobs_volume_costs_that_job_alone() {
    let small = json!({"medium": "Memory", "sizeLimit": "4Mi"});
    let runner =
        RunnerPod::with(&Setup { empty_dir: Some(("hookd-job", small)), ..Setup::in_runner_pod() });
    let mut job = JobRun::start(&runner);
    job.run("dd if=/dev/zero of=$(echo /__hookd_run/*/)filler bs=4096");
    assert_full(&job.run("echo x"));
    runner.run(&runner.script("exit 3")).assert_code(3);
    job.clean_up().assert_code(0);
    let mut next = JobRun::start(&runner);
    assert_eq!(next.run("echo works").assert_code(0).text(), "works\n");
    next.clean_up().assert_code(0);
}

#[test]
fn a_container_step_that_fills_their_volume_is_told_to_others() {
    let small = json!({"medium": "Memory", "sizeLimit": "4Mi"});
    let setup = Setup { empty_dir: Some(("hookd-steps", small)), ..Setup::in_runner_pod() };
    let runner = RunnerPod::with(&setup);
    let mut job = JobRun::start(&runner);
    let fills = "dd if=/dev/zero of=$(echo /__hookd_run/*/)filler bs=4096 2>/dev/null; touch full; \
                 until [ -e go ]; do usleep 100000; done";
    let first = runner.call(&runner.script(fills)).start();
    job.run("until [ -e full ]; do sleep 0.1; done").assert_code(0);
    assert_full(&runner.run(&runner.script("echo x")));
    job.run("touch go").assert_code(0);
    first.end_within(s(60));
    runner.run(&runner.script("exit 3")).assert_code(3);
    job.clean_up().assert_code(0);
}

/// It says what is full, what is lost, and what helps.
fn assert_full(outcome: &Outcome) {
    assert_eq!(outcome.code, 1, "{}", outcome.printed());
    for words in ["kept in /__hookd_run/", "No space left on device", "output is missing", "room"] {
        assert!(outcome.printed().contains(words), "{}", outcome.printed());
    }
}

#[test]
fn a_job_cannot_fill_the_nodes_disk_past_its_volumes_limit() {
    let small = json!({"sizeLimit": "16Mi"});
    let runner =
        RunnerPod::with(&Setup { empty_dir: Some(("work", small)), ..Setup::in_runner_pod() });
    let mut job = JobRun::start(&runner);
    job.run("dd if=/dev/zero of=filler bs=1M count=64 conv=fsync").assert_code(0);
    // Its status need not keep the reason: the event does.
    until("the kubelet evicts the pod", s(180), || {
        let is_it = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "Evicted" && message.contains("exceeds the limit")
        };
        runner.objects("events", &[]).iter().any(is_it).then_some(())
    });
    until("its containers are stopped", s(60), || {
        let phase = runner.object("pod", "runner")["status"]["phase"].clone();
        (phase != "Running").then_some(())
    });
}
