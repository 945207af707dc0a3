//! What builds cost that layers of earlier ones shorten, and whose contexts are large.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_runner::layout::guid;
use test_support::{RunnerPod, Setup};

use crate::figures::Figure;
use crate::{finished, wait_for_phase};

/// Runs, at most: each of these builds takes seconds.
const RUNS: u32 = 5;
/// What the expensive command takes.
const EXPENSIVE: Duration = Duration::from_secs(10);
/// Bytes of the large context, half of which compress well.
const LARGE: usize = 100 << 20;
/// The rate at which its bytes are to be built, compared with gzip's.
const RATE: f64 = 0.8;

/// A Dockerfile with an expensive command before a file that has changed, and a context of 100 MB. `first`
/// is the time of a small first build, in seconds.
pub(crate) fn measure(runs: u32, first: f64) -> [Figure; 3] {
    let runs = runs.min(RUNS);
    let repository = format!("{}/cache", &guid().unwrap()[..8]);
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_BUILD_CACHE_REPOSITORY", repository));
    let changed: Vec<_> = (0..=runs).map(|run| one_copy_changed(&runner, run)).collect();
    let runner = RunnerPod::start();
    let (mut gzips, mut builds) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let bytes = content();
        let (gzip, build) = large_context(&runner, run, &bytes);
        gzips.push(gzip);
        builds.push(build);
        eprintln!("100 MB, run {run} of {runs}: gzip {gzip:.3?}, build {build:.3?}");
    }
    let gzips = Figure::new("gzip.100MB", &gzips[1..]);
    // What any build takes, and the bytes at the rate.
    let aim = first + gzips.median() / RATE;
    [
        Figure::new("build.one_copy_changed", &changed[1..]).aim(first + 0.5),
        Figure::new("build.context_100MB", &builds[1..]).aim(aim),
        gzips,
    ]
}

fn one_copy_changed(runner: &RunnerPod, run: u32) -> Duration {
    let dockerfile = format!(
        "FROM busybox:1\nRUN sleep {} && date >/expensive\nCOPY content /content\nENTRYPOINT [\"true\"]\n",
        EXPENSIVE.as_secs()
    );
    let content = guid().unwrap();
    let files = [("Dockerfile", &*dockerfile), ("content", &content)];
    let step = runner.action("changed", &files);
    wait_for_phase(run);
    let time = finished(runner, &runner.run(&step));
    eprintln!("one COPY changed, run {run}: {time:.3?}");
    assert!(run == 0 || time < EXPENSIVE, "the layer is not cached");
    time
}

/// The time of gzip, and that of the step.
fn large_context(runner: &RunnerPod, run: u32, bytes: &[u8]) -> (Duration, Duration) {
    let dockerfile =
        format!("FROM busybox:1\nCOPY small /small\nLABEL run={run}\nENTRYPOINT [\"true\"]\n");
    let name = format!("large-{run}");
    let step = runner.action(&name, &[("Dockerfile", &dockerfile), ("small", "")]);
    let path = runner.volume.join(format!("_actions/test/{name}/v1/large"));
    fs::write(&path, bytes).unwrap();
    let gzip = gzip(&path);
    wait_for_phase(run);
    let time = finished(runner, &runner.run(&step));
    fs::remove_file(path).unwrap();
    (gzip, time)
}

/// Random bytes and text in turn, as sources and archives are.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; LARGE];
    let mut random = File::open("/dev/urandom").unwrap();
    for (number, piece) in bytes.chunks_mut(1 << 20).enumerate() {
        if number % 2 == 0 {
            random.read_exact(piece).unwrap();
        } else {
            let lines = (0..).map(|line| format!("line {line} of a text in megabyte {number}\n"));
            let text = lines.scan(0, |length, line| {
                let begun = *length < piece.len();
                *length += line.len();
                begun.then_some(line)
            });
            let text: String = text.collect();
            piece.copy_from_slice(&text.as_bytes()[..piece.len()]);
        }
    }
    bytes
}

/// The time of gzip at its default level.
fn gzip(path: &Path) -> Duration {
    let started = Instant::now();
    let ended = Command::new("gzip").arg("-c").arg(path).stdout(Stdio::null()).status();
    assert!(ended.unwrap().success());
    started.elapsed()
}
