//! What a Dockerfile action costs whose image another step has built, or builds at the moment.

use std::time::{Duration, Instant};

use fake_runner::Step;
use fake_runner::layout::guid;
use test_support::wait::s;
use test_support::{RunnerPod, Setup};

use crate::figures::Figure;
use crate::{finished, image_step, wait_for_phase};

/// What a step may cost more that finds its image, than one that names it.
const REUSE: f64 = 1.05;
/// What eight steps may cost more than one, whose image is built once.
const SHARED: f64 = 1.1;
/// Steps that need one image at the same time.
const STEPS: usize = 8;
/// Runs of them.
const RUNS: u32 = 5;

/// Steps that find their image, beside steps that name it; and eight at once, of which one builds, beside eight
/// that name theirs. `first` is the time of a first build, in seconds.
pub(crate) fn measure(runs: u32, first: f64) -> [Figure; 4] {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_BUILT_IMAGES", "keep"));
    let image = image_step(&runner, "true", "");
    let content = guid().unwrap();
    let (mut images, mut found) = (Vec::new(), Vec::new());
    // The first of each is not counted: it builds, pulls the image and opens connections.
    for run in 0..=runs {
        // Another action with the same content: the runner itself does not know it.
        let step = dockerfile_step(&runner, &format!("again-{run}"), &content);
        wait_for_phase(run);
        images.push(finished(&runner, &runner.run(&image)));
        wait_for_phase(run);
        found.push(finished(&runner, &runner.run(&step)));
        let (image, again) = (images[images.len() - 1], found[found.len() - 1]);
        eprintln!("reuse, run {run} of {runs}: image {image:.3?}, found {again:.3?}");
    }
    let (mut built, mut named) = (Vec::new(), Vec::new());
    for run in 0..runs.min(RUNS) {
        let content = guid().unwrap();
        let step = |number| dockerfile_step(&runner, &format!("shared-{run}-{number}"), &content);
        built.push(at_once(&runner, &(0..STEPS).map(step).collect::<Vec<_>>()));
        named.push(at_once(&runner, &vec![image_step(&runner, "true", ""); STEPS]));
        let (built, named) = (built[built.len() - 1], named[named.len() - 1]);
        eprintln!("eight at once, run {run}: built {built:.3?}, image {named:.3?}");
    }
    let image = Figure::new("build.image_step", &images[1..]);
    let aim = image.median() * REUSE;
    [
        image,
        Figure::new("build.reuse", &found[1..]).aim(aim),
        Figure::new("build.8_identical", &built).aim(first * SHARED),
        Figure::new("build.8_image_steps", &named),
    ]
}

/// From the first one's start to the last one's end.
fn at_once(runner: &RunnerPod, steps: &[Step]) -> Duration {
    let started = Instant::now();
    let hooks: Vec<_> = steps.iter().map(|step| runner.call(step).start()).collect();
    for hook in hooks {
        hook.end_within(s(120)).assert_code(0);
    }
    let time = started.elapsed();
    runner.assert_nothing_left();
    time
}

fn dockerfile_step(runner: &RunnerPod, name: &str, content: &str) -> Step {
    let dockerfile = "FROM busybox:1\nCOPY content /content\nRUN cp /content /copied\n\
                      ENTRYPOINT [\"true\"]\n";
    let action = "runs: {using: docker, image: Dockerfile}\n";
    let files = [("action.yml", action), ("Dockerfile", dockerfile), ("content", content)];
    runner.action(name, &files)
}
