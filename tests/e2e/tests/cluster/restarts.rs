//! The daemon process is killed and started again; a step does not notice.

use std::io::Read;

use rustix::process::Signal;

use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup, WORK};

fn kill_daemon(runner: &RunnerPod) {
    let daemon = runner.daemon();
    assert!(daemon.signal(Signal::KILL));
    until("another daemon runs", s(10), || (runner.daemon().pid != daemon.pid).then_some(()));
}

/// ARC deletes a runner whose sidecar ended with another code than 0.
fn assert_sidecar_never_ended(runner: &RunnerPod) {
    let pod = runner.object("pod", "runner");
    let status = &pod["status"]["initContainerStatuses"][0];
    assert_eq!(status["restartCount"], 0, "{status}");
    assert!(status["state"]["running"].is_object(), "{status}");
    assert_eq!(status["lastState"], serde_json::json!({}), "{status}");
}

fn numbers(lines: Vec<String>) -> Vec<String> {
    let is_number =
        |line: &String| line.strip_prefix('n').is_some_and(|rest| rest.parse::<u32>().is_ok());
    lines.into_iter().filter(is_number).collect()
}

fn expected(last: u32) -> Vec<String> {
    (1..=last).map(|number| format!("n{number}")).collect()
}

#[test]
fn a_daemon_killed_during_a_run_is_not_noticed_by_the_step() {
    for starter in ["auto", "kubelet"] {
        let runner =
            RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", starter));
        let step = runner.script(
            "i=1; while [ $i -le 800 ]; do echo n$i; i=$((i+1)); usleep 10000; done; exit 9",
        );
        let hook = runner.call(&step).start();
        for mark in ["n100", "n400"] {
            hook.wait_for(&format!("\n{mark}\n"));
            kill_daemon(&runner);
        }
        let outcome = hook.end();
        outcome.assert_code(9);
        assert!(numbers(outcome.lines()) == expected(800), "{starter}: {}", outcome.text());
        assert_sidecar_never_ended(&runner);
        runner.assert_nothing_left();
    }
}

#[test]
fn a_daemon_killed_during_a_build_is_not_noticed_by_the_step() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\n\
                      RUN i=1; while [ $i -le 300 ]; do echo n$i; i=$((i+1)); usleep 20000; done\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo built; exit 4\"]\n";
    let step = runner.action("slow", &[("Dockerfile", dockerfile)]);
    let hook = runner.call(&step).start();
    for mark in ["n30", "n150"] {
        hook.wait_for(&format!("\n{mark}\n"));
        kill_daemon(&runner);
    }
    let outcome = hook.end();
    outcome.assert_code(4);
    assert!(numbers(outcome.log_lines()) == expected(300), "{}", outcome.log());
    let groups = outcome.log_lines().iter().filter(|line| line.starts_with("##[group]")).count();
    assert_eq!((groups, outcome.after_build().as_str()), (1, "built\n"), "{}", outcome.text());
    assert_sidecar_never_ended(&runner);
    runner.assert_nothing_left();
}

#[test]
fn a_daemon_killed_before_the_context_is_sent_still_builds() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\nCOPY large /large\nRUN wc -c < /large\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo built; exit 4\"]\n";
    let step = runner.action("large", &[("Dockerfile", dockerfile)]);
    // What cannot be compressed takes its time.
    let mut large = vec![0; 32 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut large).unwrap();
    runner.write(&format!("{WORK}/_actions/test/large/v1/large"), large);
    let hook = runner.call(&step).start();
    hook.wait_for("##[group]");
    kill_daemon(&runner);
    let outcome = hook.end();
    outcome.assert_code(4);
    assert!(outcome.log_lines().contains(&(32 << 20).to_string()), "{}", outcome.text());
    let groups = outcome.log_lines().iter().filter(|line| line.starts_with("##[group]")).count();
    assert_eq!((groups, outcome.after_build().as_str()), (1, "built\n"), "{}", outcome.text());
    runner.assert_nothing_left();
}

#[test]
fn a_daemon_killed_while_the_step_ends_does_not_run_it_twice() {
    for starter in ["auto", "kubelet"] {
        let runner =
            RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", starter));
        let step = runner.script(
            "echo ran >> /github/workspace/ran; echo begun; usleep 1500000; echo over; \
             touch /github/workspace/over; exit 2",
        );
        let hook = runner.call(&step).start();
        hook.wait_for("begun\n");
        assert!(runner.daemon().signal(Signal::STOP));
        let failed = ["-l", "runner-pod=runner", "--field-selector=status.phase=Failed"];
        until("the step has ended", s(20), || match starter {
            "auto" => runner.workspace("over").exists().then_some(()),
            _ => runner.objects("pods", &failed).pop().map(drop),
        });
        kill_daemon(&runner);
        let outcome = hook.end();
        outcome.assert_code(2);
        assert_eq!(outcome.lines(), ["begun", "over"], "{starter}");
        assert_eq!(std::fs::read_to_string(runner.workspace("ran")).unwrap(), "ran\n");
        runner.assert_nothing_left();
    }
}

#[test]
fn a_step_whose_hook_died_with_the_daemon_is_deleted() {
    let setup = Setup::default().set("HOOKD_REATTACH_TIMEOUT_SECONDS", "3");
    let runner = RunnerPod::with(&setup);
    let step = runner.script("echo started; while :; do usleep 100000; done");
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let (daemon, process) = (runner.daemon(), hook.process());
    assert!(
        daemon.signal(Signal::STOP) && process.signal(Signal::KILL) && daemon.signal(Signal::KILL)
    );
    hook.end();
    runner.assert_nothing_left();
}

#[test]
fn the_sidecar_ends_with_code_0_when_the_pod_is_deleted() {
    let runner = RunnerPod::start();
    // The object stays until the test has read how its containers ended.
    let patch = r#"{"metadata":{"finalizers":["hookd.dev/test"]}}"#;
    runner.k(&["patch", "pod", "runner", "-p", patch]);
    kill_daemon(&runner);
    runner.k(&["delete", "pod", "runner", "--wait=false"]);
    let code = until("the sidecar ended", s(30), || {
        let pod = runner.object("pod", "runner");
        pod.pointer("/status/initContainerStatuses/0/state/terminated/exitCode")?.as_i64()
    });
    runner.k(&[
        "patch",
        "pod",
        "runner",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ]);
    assert_eq!(code, 0);
}
