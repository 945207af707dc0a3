//! What a job with a job container costs: its preparation, its steps, its end.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use e2e::collector::Collector;

use crate::figures::Figure;
use crate::{bare_pod::BareJobs, wait_for_phase};
use test_support::processes::Process;
use test_support::wait::{s, until};
use test_support::{
    IMAGE, JobRun, Outcome, Program, RunnerPod, Setup, WORKSPACE, job_container, processes,
};

/// Script steps of a job.
const STEPS: usize = 4;
/// What a script step may cost more where hookd serves metrics and sends traces.
const OBSERVED: f64 = 1.1;

/// The figures of whole jobs, the bare pod first, and what the processes have in memory.
pub(crate) fn measure(runner: &RunnerPod, runs: u32) -> Vec<Figure> {
    let (mut bare, mut prepared, mut steps, mut ended) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut hookd, mut hook, mut stepd) = (Vec::new(), Vec::new(), Vec::new());
    let mut containers = Vec::new();
    let container = crate::image_step(runner, "true", "");
    let pods = BareJobs::like_a_job(runner);
    // The first of each is not counted: it pulls images and opens connections.
    for run in 0..=runs {
        wait_for_phase(run);
        bare.push(pods.run(&format!("bare-job-{run}")));
        wait_for_phase(run);
        let mut job = JobRun::of(runner);
        prepared.push(time(&job.prepare(&job_container(IMAGE, &json!({})), &json!([]))));
        // The pod's start still keeps the machine busy when the first step runs; later ones are what a
        // job is made of.
        let step = Program::new("true", "");
        for _ in 0..STEPS {
            steps.push(time(&job.step_call(&step).quietly().run()));
        }
        stepd.push(resident(&stepd_of(runner)));
        hookd.push(resident(&runner.daemon()));
        hook.push(resident_hook(runner, &job));
        ended.push(time(&job.clean_up()));
        runner.assert_nothing_left();
        wait_for_phase(run);
        containers.push(crate::finished(runner, &runner.run(&container)));
        eprintln!(
            "job, run {run} of {runs}: pod {:.3?}, prepare {:.3?}, step {:.3?}, cleanup {:.3?}, \
             container step {:.3?}",
            bare[bare.len() - 1],
            prepared[prepared.len() - 1],
            steps[steps.len() - 1],
            ended[ended.len() - 1],
            containers[containers.len() - 1],
        );
    }
    let bare = Figure::new("pod.bare", &bare[1..]);
    let median = bare.median();
    vec![
        bare,
        Figure::new("prepare_job.volume", &prepared[1..]).aim(median + 0.10),
        Figure::new("run_script_step.volume.true", &steps[STEPS..]).aim(0.015),
        Figure::new("run_container_step.volume.stepd", &containers[1..]).aim(median + 0.25),
        Figure::new("cleanup_job", &ended[1..]).aim(0.05),
        hook_start(runs),
        Figure::megabytes("hookd.rss_idle", &hookd[1..]).aim(25.0),
        Figure::megabytes("hook.rss", &hook[1..]).aim(6.0),
        Figure::megabytes("stepd.rss", &stepd[1..]).aim(6.0),
    ]
}

/// Script steps of a daemon that serves metrics and sends traces, in turn with those of one that does neither.
pub(crate) fn observed(runs: u32) -> [Figure; 3] {
    let collector = Collector::start();
    let setup = Setup::default()
        .set("HOOKD_METRICS_ADDRESS", "0.0.0.0:9464")
        .set("HOOKD_TRACES_ENDPOINT", &collector.endpoint);
    let runners = [RunnerPod::start(), RunnerPod::with(&setup)];
    let mut jobs = [JobRun::start(&runners[0]), JobRun::start(&runners[1])];
    let step = Program::new("true", "");
    let mut times = [Vec::new(), Vec::new()];
    // The first of each is not counted: it opens connections.
    for _ in 0..=runs * u32::try_from(STEPS).unwrap() {
        for (job, times) in jobs.iter_mut().zip(&mut times) {
            times.push(time(&job.step_call(&step).quietly().run()));
        }
    }
    let memory = resident(&runners[1].daemon());
    for (job, runner) in jobs.iter().zip(&runners) {
        job.clean_up().assert_code(0);
        runner.assert_nothing_left();
    }
    let [without, with] = times;
    let without = Figure::new("run_script_step.volume.unobserved", &without[1..]);
    let aim = without.median() * OBSERVED;
    [
        without,
        Figure::new("run_script_step.volume.observed", &with[1..]).aim(aim),
        Figure::megabytes("hookd.rss_observed", &[memory]).aim(25.0),
    ]
}

pub(crate) fn time(outcome: &Outcome) -> Duration {
    outcome.assert_code(0);
    outcome.hook_time
}

/// What hook has in memory while its step runs.
fn resident_hook(runner: &RunnerPod, job: &JobRun<'_>) -> f64 {
    let script = "echo started; while [ ! -e go ]; do sleep 0.02; done; rm go";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    hook.wait_for("started\n");
    let megabytes = resident(&hook.process());
    runner.write(&format!("{WORKSPACE}/go"), "");
    hook.end().assert_code(0);
    megabytes
}

fn stepd_of(runner: &RunnerPod) -> Process {
    let pod = runner.object("pod", "runner-workflow");
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    until("stepd runs", s(10), || {
        let all = processes::all().into_iter();
        all.filter(|process| process.is_of_pod(&uid))
            .find(|process| process.command.contains("stepd serve"))
    })
}

/// Megabytes that a process has in memory.
fn resident(process: &Process) -> f64 {
    let status = process.read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// From the start of hook to its first byte on the socket.
fn hook_start(runs: u32) -> Figure {
    let folder = std::env::temp_dir().join(format!("hookd-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("hookd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hook = std::env::var("HOOKD_BIN_DIR").expect("make bench sets HOOKD_BIN_DIR") + "/hook";
    let mut times = Vec::new();
    for _ in 0..=runs {
        let started = Instant::now();
        let mut child = Command::new(&hook)
            .env("HOOKD_SOCKET", &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"{\"command\":\"cleanup_job\"}\n").unwrap();
        drop(input);
        let (mut connection, _) = listener.accept().unwrap();
        std::io::Read::read_exact(&mut connection, &mut [0]).unwrap();
        times.push(started.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
    Figure::new("hook.start", &times[1..]).aim(0.005)
}
