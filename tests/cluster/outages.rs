//! The API server goes away for ten seconds while a program prints.

use rustix::process::Signal;

use crate::support::faults::Stopped;
use crate::support::wait::{let_pass, s};
use crate::support::{Hook, Outcome, RunnerPod, Setup};

const API_SERVER: &str = "kube-apiserver";

fn alone() -> RunnerPod {
    RunnerPod::with(&Setup { alone: true, ..Setup::default() })
}

/// Ends the hook after 10 s without the API server.
fn end_after_outage(runner: &RunnerPod, hook: Hook<'_>) -> Outcome {
    let stopped = Stopped::component(API_SERVER, &runner.turn);
    let_pass(s(10));
    drop(stopped);
    hook.end()
}

/// The lines that hook and hookd print themselves, taken out.
fn of_the_program(outcome: &Outcome) -> Vec<String> {
    let own = |line: &String| {
        line.starts_with("The connection to the Kubernetes API")
            || line.starts_with("Waiting: ")
            || line.starts_with("::error title=")
    };
    outcome.lines().into_iter().filter(|line| !own(line)).collect()
}

#[test]
fn two_thousand_numbers_arrive_once_and_in_order_across_ten_seconds_without_api_server() {
    let runner = alone();
    let script = "i=1; while [ $i -le 2000 ]; do echo $i; i=$((i+1)); usleep 10000; done; exit 5";
    let step = runner.script(script);
    let hook = runner.call(&step).start();
    hook.wait_for("\n300\n");
    let outcome = end_after_outage(&runner, hook);
    outcome.assert_code(5);
    let expected: Vec<_> = (1..=2000).map(|number| number.to_string()).collect();
    assert!(of_the_program(&outcome) == expected, "{}", outcome.text());
    assert!(outcome.text().contains("connection to the Kubernetes API broke"), "it was not told");
    runner.assert_nothing_left();
}

#[test]
fn thirty_megabytes_across_ten_seconds_without_api_server_are_complete_or_an_error() {
    let runner = alone();
    // 300 times 100 lines of 1000 bytes.
    let script = "i=0; while [ $i -lt 300 ]; do\n\
                    awk -v first=$((i * 100)) 'BEGIN {\n\
                      x = sprintf(\"%991s\", \"\"); gsub(/ /, \"x\", x)\n\
                      for (n = 0; n < 100; n++) printf \"%07d %s\\n\", first + n, x\n\
                    }'\n\
                    i=$((i+1)); usleep 40000\n\
                  done; exit 5";
    let step = runner.script(script);
    let hook = runner.call(&step).start();
    hook.wait_for("\n0003000 ");
    let outcome = end_after_outage(&runner, hook);
    let lines = of_the_program(&outcome);
    let pad = "x".repeat(991);
    let in_order = lines.iter().enumerate().all(|(at, line)| *line == format!("{at:07} {pad}"));
    if outcome.code == 5 {
        assert!(in_order && lines.len() == 30_000, "{} lines, in order: {in_order}", lines.len());
    } else {
        outcome.assert_told(180, &["title=Output lost", "containerLogMaxSize"]);
        assert!(in_order, "what came before the loss is out of order");
    }
    runner.assert_nothing_left();
}

#[test]
fn a_build_goes_on_across_ten_seconds_without_api_server() {
    let runner = alone();
    let dockerfile = "FROM busybox:1\n\
                      RUN i=1; while [ $i -le 750 ]; do echo n$i; i=$((i+1)); usleep 20000; done\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"exit 6\"]\n";
    let step = runner.action("slow", &[("Dockerfile", dockerfile)]);
    let hook = runner.call(&step).start();
    hook.wait_for("\nn50\n");
    let outcome = end_after_outage(&runner, hook);
    outcome.assert_code(6);
    let is_number =
        |line: &String| line.strip_prefix('n').is_some_and(|rest| rest.parse::<u32>().is_ok());
    let numbers: Vec<_> = outcome.lines().into_iter().filter(is_number).collect();
    let expected: Vec<_> = (1..=750).map(|number| format!("n{number}")).collect();
    assert!(numbers == expected, "{}", outcome.text());
    runner.assert_nothing_left();
}

#[test]
fn a_step_that_begins_without_api_server_waits_for_it() {
    let runner = alone();
    let step = runner.script("echo ran; exit 3");
    let call = runner.call(&step);
    // A hook is started through the API server, and must find it gone.
    let daemon = runner.daemon();
    assert!(daemon.signal(Signal::STOP));
    let hook = call.start();
    let stopped = Stopped::component(API_SERVER, &runner.turn);
    assert!(daemon.signal(Signal::CONT));
    let_pass(s(10));
    drop(stopped);
    let outcome = hook.end();
    outcome.assert_code(3);
    assert_eq!(of_the_program(&outcome), ["ran"]);
    runner.assert_nothing_left();
}

#[test]
fn a_cancel_without_api_server_ends_the_hook_in_time_and_the_step_later() {
    let runner = alone();
    let step = runner.script("trap '' TERM; echo started; while :; do usleep 100000; done");
    let hook = runner.call(&step).start();
    hook.wait_for("started\n");
    let stopped = Stopped::component(API_SERVER, &runner.turn);
    hook.signal(Signal::INT);
    let outcome = hook.end_within(std::time::Duration::from_millis(7500));
    assert_ne!(outcome.code, 0);
    drop(stopped);
    runner.assert_nothing_left();
}
