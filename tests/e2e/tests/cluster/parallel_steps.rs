//! Up to ten hooks of one job at once, as the runner has them since 2.335 (`background`, `parallel`).

use std::time::{Duration, Instant};

use rustix::process::Signal;

use test_support::processes;
use test_support::wait::{s, until};
use test_support::{Hook, JobRun, RunnerPod, WORKSPACE};

const STEPS: usize = 10;
const LINES: usize = 10_000;
/// The step that is cancelled.
const CANCELLED: usize = 4;

/// Waits for a file of the workspace.
fn wait_for(file: &str) -> String {
    format!("while [ ! -e {file} ]; do sleep 0.05; done")
}

/// Prints these lines of a step on both streams, each with the step's number and its own.
fn print(step: usize, first: usize, last: usize) -> String {
    format!(
        "i={first}; while [ $i -le {last} ]; do echo \"step {step} out $i\"; \
         echo \"step {step} err $i\" >&2; i=$((i+1)); done"
    )
}

fn lines(step: usize, stream: &str) -> String {
    (1..=LINES).map(|line| format!("step {step} {stream} {line}\n")).collect()
}

fn script(step: usize) -> String {
    let (ready, go, on) = (format!("touch ready-{step}"), wait_for("go"), wait_for("on"));
    let (first, rest) = (print(step, 1, LINES / 2), print(step, LINES / 2 + 1, LINES));
    if step == CANCELLED {
        // It has printed all, and ends by nothing but SIGKILL.
        let stays = "trap '' INT TERM; touch all; while :; do sleep 979; done";
        return format!("{ready}; {go}; {first}; {rest}; {stays}");
    }
    // Half of it is printed while the other step is cancelled.
    format!("{ready}; {go}; {first}; {on}; {rest}; exit {}", 20 + step)
}

/// Processes of the step that is cancelled; of no other test.
fn stubborn(runner: &RunnerPod) -> usize {
    let variable = ("HOOKD_TEST_NAMESPACE".to_owned(), runner.namespace.clone());
    let all = processes::all().into_iter().filter(|process| process.command == "sleep 979");
    all.filter(|process| process.environment().contains(&variable)).count()
}

#[test]
fn ten_steps_of_a_job_run_at_once_and_one_is_cancelled_alone() {
    let runner = RunnerPod::start();
    let job = JobRun::start(&runner);
    let start = |step| {
        let program = runner.script_program("sh", &script(step));
        job.step_call(&program.set("HOOKD_TEST_NAMESPACE", &runner.namespace)).start()
    };
    let mut hooks: Vec<Option<Hook<'_>>> = (0..STEPS).map(|step| Some(start(step))).collect();
    let local = |file: &str| runner.local(&format!("{WORKSPACE}/{file}"));
    let all_ready = || (0..STEPS).all(|step| local(&format!("ready-{step}")).exists());
    until("all ten run", s(60), || all_ready().then_some(()));
    runner.write(&format!("{WORKSPACE}/go"), "");
    until("one has printed all", s(60), || local("all").exists().then_some(()));
    until("it waits", s(10), || (stubborn(&runner) > 0).then_some(()));
    let cancelled = hooks[CANCELLED].take().unwrap();
    cancelled.wait_for(&format!("step {CANCELLED} out {LINES}\n"));

    let began = Instant::now();
    cancelled.signal(Signal::INT);
    runner.write(&format!("{WORKSPACE}/on"), "");
    let timeout = Duration::from_millis(6500).saturating_sub(began.elapsed());
    let outcome = cancelled.end_within(timeout);
    assert_ne!(outcome.code, 0, "{}", outcome.text());
    assert!(outcome.text().starts_with(&lines(CANCELLED, "out")), "its own lines, and first");
    assert_eq!(stubborn(&runner), 0, "it runs on");

    for (step, hook) in hooks.into_iter().enumerate() {
        let Some(hook) = hook else { continue };
        let outcome = hook.end();
        outcome.assert_code(20 + i32::try_from(step).unwrap());
        let crossed = |found: &[u8], stream: &str| {
            let expected = lines(step, stream).into_bytes();
            assert_eq!(found.len(), expected.len(), "bytes of step {step}, {stream}");
            found.iter().zip(&expected).filter(|(one, other)| one != other).count()
        };
        assert_eq!(crossed(&outcome.stdout, "out"), 0, "bytes of another step");
        let end = outcome.stderr.len().min(lines(step, "err").len());
        let (own, note) = outcome.stderr.split_at(end);
        assert_eq!(crossed(own, "err"), 0, "bytes of another step");
        assert!(note.starts_with(b"The program itself ended with exit code "), "{}", outcome.log());
    }
    job.clean_up().assert_code(0);
    runner.assert_nothing_left();
}
