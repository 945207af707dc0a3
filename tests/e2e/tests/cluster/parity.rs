//! Some of the contexts of tests/parity; `make parity` has them all.

use e2e::parity::{self, Builder, Record, Suite};
use fake_runner::layout::guid;
use test_support::{RunnerPod, Setup};

/// Builds at once, in each of these tests.
const JOBS: usize = 2;

#[track_caller]
fn assert_as_recorded(only: &[&str]) {
    let suite = Suite::of_repository();
    let findings = parity::run(&suite, &suite.contexts(only), Builder::Kaniko, JOBS);
    let record = Record::read(&suite.file(Builder::Kaniko.record()));
    let violations = parity::violations(&findings, Some(&record), None);
    let lines: Vec<_> = findings.iter().map(parity::Finding::line).collect();
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), lines.join("\n"));
    assert_eq!(findings.len(), only.len());
}

/// Each is built twice, by two runners that share a cache of layers.
#[test]
fn layers_from_a_cache_make_the_same_images() {
    let only = [
        "02", "05", "10", "21", "22", "30", "33", "36", "40", "51", "53", "60", "63", "75", "78",
        "85", "90", "110", "131", "146",
    ];
    let suite = Suite::of_repository();
    let record = Record::read(&suite.file(Builder::Kaniko.record()));
    let repository = format!("{}/cache", &guid().unwrap()[..8]);
    for _ in 0..2 {
        let setup = Setup::default().set("HOOKD_BUILD_CACHE_REPOSITORY", &repository);
        let runner = RunnerPod::with(&setup);
        let findings = parity::run_by(&suite, &suite.contexts(&only), JOBS, &runner);
        let violations = parity::violations(&findings, Some(&record), None);
        let lines: Vec<_> = findings.iter().map(parity::Finding::line).collect();
        assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), lines.join("\n"));
    }
}

#[test]
fn instructions_and_settings_are_built_as_recorded() {
    assert_as_recorded(&[
        "02", "05", "07", "10", "13", "15", "18", "21", "22", "26", "28", "75", "78", "80", "83",
        "85", "90", "93", "96", "98", "105", "118", "126",
    ]);
}

#[test]
fn files_of_contexts_and_stages_are_built_as_recorded() {
    assert_as_recorded(&[
        "30", "33", "36", "38", "40", "41", "42", "51", "53", "55", "57", "58", "60", "63", "65",
        "70", "110", "131", "138", "146", "156", "178", "182",
    ]);
}
