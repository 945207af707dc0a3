//! `make faults`: the whole matrix of faults on the cluster of deploy/devcluster. It prints a line an
//! outcome and then the table, and ends with 0 only if nothing was lost, repeated, wrong, stuck or left
//! behind, and each fault was seen to take effect. `FAULTS` is the number of runs, each with a seed of
//! its own, 1 if it is not set; `FAULTS_ONLY` is a comma-separated list of words: faults with one of
//! them in their name.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints its table, and stops at what goes wrong"
)]

use std::process::ExitCode;

use e2e::faults;

/// The first run's seed; each further run has the next one.
const SEED: u64 = 4;

fn main() -> ExitCode {
    let runs = setting("FAULTS").map_or(1, |text| {
        text.parse().unwrap_or_else(|_| panic!("FAULTS is {text:?}, which is not a number of runs"))
    });
    let only = setting("FAULTS_ONLY").unwrap_or_default();
    let chosen: Vec<_> = faults::ALL
        .into_iter()
        .filter(|fault| only.is_empty() || only.split(',').any(|word| fault.name().contains(word)))
        .collect();
    let began = std::time::Instant::now();
    let mut outcomes = Vec::new();
    for seed in SEED..SEED + runs {
        println!("seed {seed}");
        outcomes.extend(faults::run(&chosen, seed));
    }
    println!("\n{}", faults::table(&outcomes));
    let bad: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_bad()).collect();
    bad.iter().for_each(|outcome| println!("{}", outcome.line()));
    let memory = outcomes.iter().map(|outcome| outcome.memory).max().unwrap_or_default();
    println!("hookd used {:.1} MB at most", memory as f64 / 1e6);
    println!("{} outcomes, {} bad, {} s", outcomes.len(), bad.len(), began.elapsed().as_secs());
    if bad.is_empty() && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
