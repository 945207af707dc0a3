//! The metrics of hookd, as a scraper in the cluster reads them.

use std::io::{Read, Write};
use std::net::TcpStream;

use fake_runner::layout::guid;
use serde_json::Value;
use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup};

const PORT: u16 = 9464;

/// The page of the runner's hookd.
fn page(runner: &RunnerPod) -> String {
    let pod = runner.object("pod", &runner.name);
    let address = pod["status"]["podIP"].as_str().unwrap();
    let mut stream = TcpStream::connect((address, PORT)).unwrap();
    stream.set_read_timeout(Some(s(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: hookd\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    page.to_owned()
}

/// The value of a series.
fn value(page: &str, series: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{series} is not in:\n{page}"));
    found.parse().unwrap()
}

#[test]
fn a_scraper_reads_what_steps_and_builds_did() {
    let setup = Setup::default()
        .set("HOOKD_METRICS_ADDRESS", format!("0.0.0.0:{PORT}"))
        .set("HOOKD_BUILT_IMAGES", "keep");
    let runner = RunnerPod::with(&setup);
    let before = page(&runner);
    let id = guid().unwrap();
    let built = format!("FROM busybox:1\nLABEL test={id}\nCMD [\"echo\", \"hello\"]\n");
    let files = [("Dockerfile", built.as_str())];
    runner.run(&runner.action("good", &files)).assert_code(0);
    runner.run(&runner.action("again", &files)).assert_code(0);
    let failing = format!("FROM busybox:1\nLABEL test={id}\nCMD [\"false\"]\n");
    runner.run(&runner.action("bad", &[("Dockerfile", failing.as_str())])).assert_code(1);
    let broken = "FROM busybox:1\nRUN false\n";
    runner.run(&runner.action("broken", &[("Dockerfile", broken)])).assert_code(1);
    runner.cleanup().run().assert_code(0);
    let after = page(&runner);
    let grew = |series: &str| value(&after, series) - value(&before, series);
    let steps = |outcome: &str| {
        grew(&format!("hookd_calls_total{{call=\"run_container_step\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(["succeeded", "program_failed", "workflow_failed"].map(steps), [2.0, 1.0, 1.0]);
    assert_eq!(grew("hookd_failures_total{reason=\"BUILD_FAILED\"}"), 1.0);
    assert_eq!(grew("hookd_calls_total{call=\"cleanup_job\",outcome=\"succeeded\"}"), 1.0);
    let builds = ["hit", "built", "followed"];
    let builds = builds.map(|result| grew(&format!("hookd_builds_total{{result=\"{result}\"}}")));
    assert_eq!(builds, [1.0, 2.0, 0.0]);
    let phase =
        |name: &str| grew(&format!("hookd_phase_duration_seconds_count{{phase=\"{name}\"}}"));
    assert_eq!(["run", "build"].map(phase), [3.0, 2.0]);
    // Three steps and three builds.
    assert_eq!(["schedule", "start", "pull"].map(phase), [6.0, 6.0, 6.0]);
    assert!(grew("hookd_output_bytes_total{stream=\"stdout\"}") >= 12.0);
    assert!(grew("hookd_output_bytes_total{stream=\"stderr\"}") > 100.0);
    assert!(grew("hookd_kubernetes_requests_total{verb=\"watch\",code=\"200\"}") > 0.0);
    assert!(grew("process_cpu_seconds_total") > 0.0);
    assert_eq!(value(&after, "hookd_calls_in_progress"), 0.0);
    assert_eq!(value(&after, "hookd_missing_permissions"), 0.0);
}

#[test]
fn metrics_are_off_by_default_and_a_bad_address_ends_no_step() {
    for setup in [
        Setup::default(),
        // An address of no pod.
        Setup::default().set("HOOKD_METRICS_ADDRESS", "192.0.2.77:9464"),
    ] {
        let runner = RunnerPod::with(&setup);
        let pod = runner.object("pod", &runner.name);
        let address = pod["status"]["podIP"].as_str().unwrap();
        assert!(TcpStream::connect((address, PORT)).is_err());
        let step = runner.action("x", &[("Dockerfile", "FROM busybox:1\nCMD [\"true\"]\n")]);
        runner.run(&step).assert_code(0);
        if !setup.environment.is_empty() {
            let line = "metrics cannot be served at 192.0.2.77:9464";
            until("the log says it", s(10), || runner.log().contains(line).then_some(()));
        }
    }
}

#[test]
fn every_line_of_a_call_names_its_job() {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_LOG_FORMAT", "json"));
    let broken = runner.action("broken", &[("Dockerfile", "FROM busybox:1\nRUN false\n")]);
    runner.run(&broken).assert_code(1);
    let log = runner.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = lines.iter().find(|line| line["fields"]["reason"] == "BUILD_FAILED");
    let failed = failed.unwrap_or_else(|| panic!("no line has the failure:\n{log}"));
    assert_eq!(failed["github.repository"], "octo/demo", "{failed}");
    for name in ["step", "github.workflow", "github.run_id", "github.run_attempt", "github.job"] {
        assert!(failed[name].as_str().is_some_and(|value| !value.is_empty()), "{name}: {failed}");
    }
}
