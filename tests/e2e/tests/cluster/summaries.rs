//! The summary of a job has a table of what its containers, builds and programs took.

use test_support::{JobRun, Outcome, RunnerPod, Setup};

const DOCKERFILE: &str =
    "FROM busybox:1\nRUN true\nCMD echo mine >> $GITHUB_STEP_SUMMARY; exit 3\n";

/// The fields of the rows of the table that stands after `own`, without its head.
fn rows(outcome: &Outcome, own: &str) -> Vec<Vec<String>> {
    let summary = &outcome.read_back.summary;
    let table = summary.strip_prefix(own).unwrap_or_else(|| panic!("{summary:?}"));
    let mut lines = table.trim_start_matches('\n').lines();
    assert_eq!(
        lines.next(),
        Some("| hookd | schedule | start | pull | build | run | exit code |"),
        "{summary:?}"
    );
    assert!(lines.next().unwrap().starts_with("| --- |"), "{summary:?}");
    let fields = |line: &str| line.split('|').map(|field| field.trim().to_owned()).collect();
    lines.map(fields).collect()
}

/// True of "0.1 s".
fn is_time(field: &str) -> bool {
    field.strip_suffix(" s").is_some_and(|number| number.parse::<f64>().is_ok())
}

#[test]
fn the_summary_has_a_table_of_phases_and_builds() {
    for setup in [Setup::default(), Setup::in_runner_pod()] {
        let runner = RunnerPod::with(&setup.set("HOOKD_SUMMARY", "true"));
        let mut job = JobRun::start(&runner);
        let first = job.run("echo '# Mine' > $GITHUB_STEP_SUMMARY");
        let [of_job] = rows(first.assert_code(0), "# Mine\n").try_into().unwrap();
        assert_eq!(of_job[1], "job containers");
        assert!(is_time(&of_job[3]), "{of_job:?}");
        assert_eq!(job.run("true").read_back.summary, "", "a script step has no row");
        let step = runner.action("sums", &[("Dockerfile", DOCKERFILE)]);
        let built = runner.run(&step);
        let [of_step] = rows(built.assert_code(3), "mine\n").try_into().unwrap();
        assert_eq!(of_step[1], "`_actions/test/sums/v1/Dockerfile`");
        assert!(is_time(&of_step[5]) && is_time(&of_step[6]), "{of_step:?}");
        assert_eq!(of_step[7], "3");
        job.clean_up().assert_code(0);
    }
}

#[test]
fn without_the_setting_a_summary_is_the_programs_alone() {
    let runner = RunnerPod::with(&Setup::in_runner_pod());
    let step = runner.action("sums", &[("Dockerfile", DOCKERFILE)]);
    assert_eq!(runner.run(&step).assert_code(3).read_back.summary, "mine\n");
}
