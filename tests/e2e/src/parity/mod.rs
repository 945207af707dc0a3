//! Dockerfiles as docker builds them: each context of tests/parity is built through hookd's
//! BuildImage, and the image is compared with what BuildKit made of the same context.
//!
//! For one context: `Context::lay_out`, `build::image`, `Image::pull`, `compare::differences`; what
//! came of it is a [`Finding`].

mod attributes;
mod build;
mod builder;
mod compare;
mod context;
mod image;
mod record;
mod report;
mod tree;
mod warning;

use std::sync::Mutex;

pub use builder::{Builder, buildkit};
pub use context::{Context, Suite};
pub use record::Record;
pub use report::{Finding, Outcome, counts, violations};

use build::{Built, Failure};
use image::Image;
use test_support::RunnerPod;

/// Builds these contexts in the cluster, so many at once; what came of them, in their order.
pub fn run(suite: &Suite, contexts: &[Context], builder: Builder, jobs: usize) -> Vec<Finding> {
    let (_buildkitd, runner) = builder.start();
    run_by(suite, contexts, jobs, &runner)
}

/// The same, by this runner's hookd.
pub fn run_by(
    suite: &Suite,
    contexts: &[Context],
    jobs: usize,
    runner: &RunnerPod,
) -> Vec<Finding> {
    let open = Mutex::new(contexts.iter().enumerate());
    let findings = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((place, context)) = open.lock().unwrap().next() else { return };
            let finding = check(suite, context, runner);
            eprintln!("{}", finding.line());
            findings.lock().unwrap().push((place, finding));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    // The images go with the job.
    runner.cleanup().run().assert_code(0);
    let mut findings = findings.into_inner().unwrap();
    findings.sort_by_key(|(place, _)| *place);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// Builds one context and compares.
fn check(suite: &Suite, context: &Context, runner: &RunnerPod) -> Finding {
    let path = context.lay_out(suite, runner);
    let file = context.dockerfile();
    let finding =
        |outcome, details| Finding { name: context.name.clone(), outcome, details, warned: None };
    match (context.docker_builds(), build::image(runner, &context.step_id(), &path)) {
        (true, Ok(built)) => {
            let differences = differences(context, &built);
            if differences.is_empty() {
                return finding(Outcome::AsDocker, String::new());
            }
            let warned = Some(warning::is_in(&built.log, file));
            Finding { warned, ..finding(Outcome::Wrong, differences.join("; ")) }
        }
        (false, Ok(built)) => {
            let warned = Some(warning::is_in(&built.log, file));
            Finding { warned, ..finding(Outcome::Builds, context.dockers_error()) }
        }
        (builds, Err(failure)) => finding(failed(builds, &failure, file), failure.to_string()),
    }
}

fn failed(docker_builds: bool, failure: &Failure, file: &str) -> Outcome {
    match docker_builds {
        true if warning::names_line(&failure.message, file) => Outcome::Refused,
        true => Outcome::Fails,
        false if failure.is_of_the_dockerfile() => Outcome::AsDocker,
        false => Outcome::Broken,
    }
}

fn differences(context: &Context, built: &Built) -> Vec<String> {
    match Image::pull(&built.reference) {
        Ok(image) => compare::differences(&context.expected, &image.config, &image.files),
        Err(error) => vec![format!("the image cannot be read: {error}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_as_dockers_only_if_it_is_the_dockerfiles() {
        let failure = |reason: &str, message: &str| Failure {
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let refusal = failure("UNSUPPORTED", "/w/a/Dockerfile:3: RUN --mount: not supported");
        assert_eq!(failed(true, &refusal, "Dockerfile"), Outcome::Refused);
        assert_eq!(failed(false, &refusal, "Dockerfile"), Outcome::AsDocker);
        let late = failure("DEADLINE_EXCEEDED", "no answer");
        assert_eq!(failed(true, &late, "Dockerfile"), Outcome::Fails);
        assert_eq!(failed(false, &late, "Dockerfile"), Outcome::Broken);
    }
}
