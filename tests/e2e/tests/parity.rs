//! `make parity`: all contexts of tests/parity on the cluster of deploy/devcluster, each built through
//! hookd and compared with what docker makes of it. It prints a line for each that is not as docker
//! builds it, and the counts.
//!
//! `PARITY_BUILDER` is `kaniko`, if it is not set, `buildkit`, or `buildkitd`: one for all contexts.
//! `PARITY_ONLY` is a comma-separated list of contexts: numbers, names or their beginnings.
//! `PARITY_JOBS` is the number of builds at once, 2 if it is not set. `PARITY_DIR` has the contexts in
//! another folder than tests/parity. `PARITY_AS_DOCKER` is how many must be as docker when all run;
//! when some run, each must be as it is recorded, and `PARITY_RECORD=1` records them anew.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints its findings, and stops at what goes wrong"
)]

use std::process::ExitCode;

use e2e::parity::{self, Builder, Outcome, Record, Suite};

/// Builds at once.
const JOBS: usize = 2;

fn main() -> ExitCode {
    let suite =
        setting("PARITY_DIR").map_or_else(Suite::of_repository, |dir| Suite::open(dir.into()));
    let only = setting("PARITY_ONLY").unwrap_or_default();
    let words: Vec<_> = only.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let contexts = suite.contexts(&words);
    let builder = setting("PARITY_BUILDER").map_or(Builder::Kaniko, |name| {
        Builder::named(&name).unwrap_or_else(|| panic!("PARITY_BUILDER is {name:?}"))
    });
    let began = std::time::Instant::now();
    let findings = parity::run(&suite, &contexts, builder, number("PARITY_JOBS", JOBS));

    println!();
    for finding in findings.iter().filter(|finding| finding.outcome != Outcome::AsDocker) {
        println!("{}", finding.line());
    }
    println!("{} in {} s", parity::counts(&findings), began.elapsed().as_secs());
    let file = suite.file(builder.record());
    let mut record = Record::read(&file);
    if setting("PARITY_RECORD").is_some_and(|value| value == "1") {
        record.update(&findings);
        record.write(&file);
    }
    let least = words.is_empty().then(|| number("PARITY_AS_DOCKER", builder.least_as_docker()));
    let recorded = (!words.is_empty()).then_some(&record);
    let violations = parity::violations(&findings, recorded, least);
    violations.iter().for_each(|violation| println!("{violation}"));
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(name: &str, default: usize) -> usize {
    setting(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is not a number"))
    })
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
