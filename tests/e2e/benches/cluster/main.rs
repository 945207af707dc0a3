//! `make bench`: what a step costs on the cluster of deploy/devcluster, beside what a bare pod
//! costs there. docs/benchmarks.md says what each figure is. `HOOKD_BENCH_RUNS` is the number of
//! runs, 15 if it is not set.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures, and stops at what goes wrong"
)]

mod bare_pod;
mod executor;
mod figures;
mod jobs;
mod layers;
mod reuse;
mod runner_pod;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fake_runner::Step;
use fake_runner::layout::guid;
use test_support::wait::let_pass;
use test_support::{Outcome, RunnerPod, Setup};

use bare_pod::BarePods;
use executor::Log;
use figures::Figure;

/// Runs of each kind if nothing else is set: the figures are medians.
const RUNS: u32 = 15;
/// What a step may cost more than its bare pod, in seconds.
const ALLOWANCE: f64 = 0.15;

/// What a first build may cost more than the builder and two bare pods, in seconds.
const BUILD_ALLOWANCE: f64 = 0.3;

fn main() {
    let runs = runs();
    let natively = Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet");
    let [pods, images] = measure_images(&RunnerPod::with(&natively), runs);
    let aim = pods.median() + ALLOWANCE;
    let mut figures = vec![pods, images.aim(aim)];
    let runner = RunnerPod::start();
    let jobs = jobs::measure(&runner, runs);
    let [builds, executors] = measure_builds(&runner, runs);
    let (kaniko, first) = (executors.median(), builds.median());
    figures.push(builds.aim(kaniko + 2.0 * jobs[0].median() + BUILD_ALLOWANCE));
    figures.push(executors);
    figures.extend(reuse::measure(runs, first));
    figures.extend(layers::measure(runs, first));
    figures.extend(jobs);
    figures.extend(jobs::observed(runs));
    // The API server is stopped only while no other runner needs it.
    drop(runner);
    figures.extend(runner_pod::measure(runs, kaniko));
    print!("{}", figures::table(&figures));
    figures::write(&figures);
}

fn runs() -> u32 {
    let Ok(text) = std::env::var("HOOKD_BENCH_RUNS") else { return RUNS };
    let runs = text.parse().ok().filter(|runs| *runs > 0);
    runs.unwrap_or_else(|| panic!("HOOKD_BENCH_RUNS is {text:?}, which is not a number of runs"))
}

/// The bare pod and the step that runs the same, started by the kubelet, in turn, so that both see
/// the same machine.
fn measure_images(runner: &RunnerPod, runs: u32) -> [Figure; 2] {
    let pods = BarePods::like_a_step(runner);
    let step = image_step(runner, "true", "");
    let (mut bare, mut hooks) = (Vec::new(), Vec::new());
    // The first of each is not counted: it pulls the image and opens connections.
    for run in 0..=runs {
        wait_for_phase(run);
        bare.push(pods.run(&format!("bare-{run}")));
        wait_for_phase(run);
        hooks.push(finished(runner, &runner.run(&step)));
        let (pod, hook) = (bare[bare.len() - 1], hooks[hooks.len() - 1]);
        eprintln!("image, run {run} of {runs}: pod {pod:.3?}, hook {hook:.3?}");
    }
    [
        Figure::new("pod.run", &bare[1..]),
        Figure::new("run_container_step.volume.image", &hooks[1..]),
    ]
}

/// First builds of a Dockerfile, each of another file.
fn measure_builds(runner: &RunnerPod, runs: u32) -> [Figure; 2] {
    let (mut hooks, mut executors, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        let step = dockerfile_step(runner);
        wait_for_phase(run);
        let hook = runner.call(&step).start();
        let log = Log::of_build(runner, &mut seen);
        hooks.push(finished(runner, &hook.end()));
        executors.push(log.time());
        let (hook, executor) = (hooks[hooks.len() - 1], executors[executors.len() - 1]);
        eprintln!("build, run {run} of {runs}: hook {hook:.3?}, executor {executor:.3?}");
    }
    [
        Figure::new("run_container_step.volume.dockerfile_first", &hooks[1..]),
        Figure::new("build.kaniko_in_pod", &executors[1..]),
    ]
}

/// The hook's time, once nothing of the step takes time of the next run.
fn finished(runner: &RunnerPod, outcome: &Outcome) -> Duration {
    outcome.assert_code(0);
    runner.assert_nothing_left();
    outcome.hook_time
}

/// Waits for this run's part of the second: the kubelet looks at its containers once a second. Steps
/// of the golden ratio spread the parts, whatever else moves on from run to run.
fn wait_for_phase(run: u32) {
    let wanted = (f64::from(run) * 0.618_034).fract();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let_pass(Duration::from_secs_f64((wanted - now).rem_euclid(1.0)));
}

/// A step that runs a program of busybox.
fn image_step(runner: &RunnerPod, program: &str, arguments: &str) -> Step {
    let action = format!(
        "runs:\n  using: docker\n  image: docker://busybox:1\n  entrypoint: {program:?}\n  \
         args: [{arguments}]\n"
    );
    runner.action(&format!("image-{program}"), &[("action.yml", &action)])
}

/// A step whose image was not built before.
fn dockerfile_step(runner: &RunnerPod) -> Step {
    let dockerfile = "FROM busybox:1\nCOPY content /content\nRUN cp /content /copied\n\
                      ENTRYPOINT [\"true\"]\n";
    let action = "runs: {using: docker, image: Dockerfile}\n";
    let content = guid().unwrap();
    let files = [("action.yml", action), ("Dockerfile", dockerfile), ("content", &content)];
    runner.action("built", &files)
}
