//! The API server goes away for ten seconds while steps run: one outage, several steps in it.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;

use test_support::faults::Stopped;
use test_support::wait::{let_pass, s};
use test_support::{Hook, JobRun, Outcome, RunnerPod, Setup};

/// How each step ended that ran across the outage.
#[derive(Debug)]
struct Outage {
    numbers: Outcome,
    megabytes: Outcome,
    build: Outcome,
    late: Outcome,
    script: Outcome,
    cancelled: Outcome,
    /// The time from its SIGINT to the end of `cancelled`.
    cancel_took: Duration,
}

const NUMBERS: &str =
    "i=1; while [ $i -le 2000 ]; do echo $i; i=$((i+1)); usleep 10000; done; exit 5";

/// 300 times 100 lines of 1000 bytes.
const MEGABYTES: &str = r#"
i=0
while [ $i -lt 300 ]; do
  awk -v first=$((i * 100)) 'BEGIN {
    x = sprintf("%991s", ""); gsub(/ /, "x", x)
    for (n = 0; n < 100; n++) printf "%07d %s\n", first + n, x
  }'
  i=$((i+1)); usleep 50000
done
exit 6
"#;

const BUILD: &str = "FROM busybox:1\n\
    RUN i=1; while [ $i -le 750 ]; do echo n$i; i=$((i+1)); usleep 20000; done\n\
    ENTRYPOINT [\"/bin/sh\", \"-c\", \"exit 7\"]\n";

/// On both streams of a step in a job container.
const SCRIPT: &str = "i=1; while [ $i -le 1500 ]; do echo $i; echo e$i >&2; i=$((i+1)); sleep 0.01; \
                      done; exit 4";

const STUBBORN: &str = "trap '' TERM; echo started; while :; do usleep 100000; done";

fn outage() -> &'static Outage {
    static OUTAGE: OnceLock<Outage> = OnceLock::new();
    OUTAGE.get_or_init(|| {
        // What stepd starts is the script's turn; Pod logs are the others'.
        let setup = Setup { alone: true, ..Setup::default() };
        let runner = RunnerPod::with(&setup.set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"));
        let start = |step: &fake_runner::Step, mark: &str| {
            let hook = runner.call(step).start();
            hook.wait_for(mark);
            hook
        };
        let build = start(&runner.action("slow", &[("Dockerfile", BUILD)]), "\nn5\n");
        let cancelled = start(&runner.script(STUBBORN), "started\n");
        let job = JobRun::start(&runner);
        let script = job.step_call(&runner.script_program("sh", SCRIPT)).start();
        script.wait_for("\n20\n");
        let numbers = start(&runner.script(NUMBERS), "\n20\n");
        let megabytes = start(&runner.script(MEGABYTES), "\n0000300 ");
        let late = runner.script("echo ran; exit 3");
        let (late, stopped) = start_without_api_server(&runner, &late);
        let interrupted = std::time::Instant::now();
        cancelled.signal(Signal::INT);
        let cancelled = cancelled.end_within(s(15));
        let cancel_took = interrupted.elapsed();
        let_pass(s(10).saturating_sub(cancel_took));
        drop(stopped);
        let hooks = [numbers, megabytes, build, late, script];
        let [numbers, megabytes, build, late, script] = hooks.map(Hook::end);
        job.clean_up().assert_code(0);
        // The garbage collector needs a while to find its way back too.
        runner.assert_nothing_left_within(s(120));
        Outage { numbers, megabytes, build, late, script, cancelled, cancel_took }
    })
}

/// Starts a hook so that hookd hears of it only when the API server is gone: the test itself needs
/// that to start one.
fn start_without_api_server<'a>(
    runner: &'a RunnerPod,
    step: &fake_runner::Step,
) -> (Hook<'a>, Stopped) {
    let daemon = runner.daemon();
    assert!(daemon.signal(Signal::STOP));
    let hook = runner.call(step).start();
    let stopped = Stopped::component("kube-apiserver", &runner.turn);
    assert!(daemon.signal(Signal::CONT));
    (hook, stopped)
}

#[test]
fn output_arrives_once_and_in_order_across_an_api_server_outage() {
    let outcome = &outage().numbers;
    outcome.assert_code(5);
    let expected: Vec<_> = (1..=2000).map(|number| number.to_string()).collect();
    assert!(outcome.lines() == expected, "{}", outcome.text());
    assert!(
        outcome.log().contains("connection to the Kubernetes API broke"),
        "it was not reported"
    );
}

/// A kubelet that has just been started says of each pod for a moment that it does not exist.
#[test]
fn a_restart_of_the_kubelet_loses_no_output_of_its_step() {
    let setup = Setup { alone: true, ..Setup::default() };
    let runner = RunnerPod::with(&setup.set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"));
    let hook = runner.call(&runner.script(NUMBERS)).start();
    hook.wait_for("\n20\n");
    drop(Stopped::component("kubelet", &runner.turn));
    let outcome = hook.end();
    outcome.assert_code(5);
    let expected: Vec<_> = (1..=2000).map(|number| number.to_string()).collect();
    assert!(outcome.lines() == expected, "{}", outcome.text());
}

#[test]
fn a_script_step_loses_nothing_across_an_api_server_outage() {
    let outcome = &outage().script;
    outcome.assert_code(4);
    let expected: Vec<_> = (1..=1500).map(|number| number.to_string()).collect();
    assert!(outcome.lines() == expected, "{}", outcome.text());
    let notes = ["The connection to the step's pod", "The program itself ended with exit code 4"];
    let own = |line: &String| notes.iter().any(|start| line.starts_with(start));
    let errors: Vec<_> = outcome.log_lines().into_iter().filter(|line| !own(line)).collect();
    let expected: Vec<_> = (1..=1500).map(|number| format!("e{number}")).collect();
    assert!(errors == expected, "{}", outcome.log());
    assert!(outcome.log().contains("connection to the step's pod broke"), "it was not reported");
}

#[test]
fn thirty_megabytes_across_an_outage_are_complete_or_an_error() {
    let outcome = &outage().megabytes;
    let lines = outcome.lines();
    let pad = "x".repeat(991);
    let right = |(at, line): (usize, &String)| *line == format!("{at:07} {pad}");
    let wrong = lines.iter().enumerate().find(|(at, line)| !right((*at, line)));
    let wrong = wrong.map(|(at, line)| (at, &line[..line.len().min(40)]));
    if outcome.code == 6 {
        assert_eq!((lines.len(), wrong), (30_000, None));
    } else {
        assert_eq!((outcome.code, wrong), (1, None));
        assert!(outcome.error().contains("title=Output lost"), "{}", outcome.error());
        assert!(outcome.error().contains("containerLogMaxSize"), "{}", outcome.error());
    }
}

#[test]
fn a_build_goes_on_across_ten_seconds_without_api_server() {
    let outcome = &outage().build;
    outcome.assert_code(7);
    let is_number =
        |line: &String| line.strip_prefix('n').is_some_and(|rest| rest.parse::<u32>().is_ok());
    let numbers: Vec<_> = outcome.log_lines().into_iter().filter(is_number).collect();
    let expected: Vec<_> = (1..=750).map(|number| format!("n{number}")).collect();
    assert!(numbers == expected, "{}", outcome.text());
}

#[test]
fn a_step_that_begins_without_api_server_waits_for_it() {
    let outcome = &outage().late;
    outcome.assert_code(3);
    assert_eq!(outcome.lines(), ["ran"]);
}

#[test]
fn a_cancel_without_api_server_ends_the_hook_then_the_step() {
    let outage = outage();
    assert_ne!(outage.cancelled.code, 0, "{}", outage.cancelled.text());
    assert!(outage.cancel_took < Duration::from_millis(7500), "{:?}", outage.cancel_took);
}
