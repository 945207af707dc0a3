//! The dashboard and the alerts of deploy/monitoring, asked of a Prometheus that reads hookd.

use std::fs;

use fake_runner::layout::guid;
use rustix::process::Signal;
use serde_json::Value;
use test_support::wait::{s, until};
use test_support::{JobRun, RunnerPod, Setup};

use super::prometheus::{Prometheus, clock, monitoring, read};

const PORT: u16 = 9464;
/// Of Grafana: four times the interval of the PodMonitor.
const RATE_INTERVAL: &str = "1m";
/// PromQL's, as the rules write them.
const COMPARISONS: [&str; 6] = [" == ", " != ", " > ", " < ", " >= ", " <= "];

#[test]
fn each_panel_and_each_alert_finds_data_in_a_prometheus() {
    let setup = Setup::default()
        .set("HOOKD_METRICS_ADDRESS", format!("0.0.0.0:{PORT}"))
        .set("HOOKD_BUILT_IMAGES", "keep");
    let runner = RunnerPod::with(&setup);
    let prometheus = Prometheus::of(&runner, PORT);
    let seen = |what: &str, expression: &str| {
        until(what, s(20), || (!prometheus.now(expression).is_empty()).then_some(()));
    };
    seen("hookd is read", "hookd_build_info");
    let began = clock();
    work(&runner);
    seen("all is read", "hookd_calls_total{call=\"cleanup_job\",outcome=\"succeeded\"} > 0");
    assert_panels_have_data(&prometheus, &runner.namespace, began);
    assert_alerts_have_data(&prometheus);
    let health = |rule: &Value| rule["health"].as_str().unwrap().to_owned();
    until("each rule is evaluated", s(10), || {
        let groups = prometheus.ask("rules", &[])["groups"].clone();
        let rules = groups[0]["rules"].as_array().unwrap().clone();
        assert!(rules.iter().all(|rule| health(rule) != "err"), "{rules:?}");
        (rules.len() == 10 && rules.iter().all(|rule| health(rule) == "ok")).then_some(())
    });
}

#[test]
fn a_daemon_that_restarts_often_raises_an_alert() {
    let address = format!("0.0.0.0:{PORT}");
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_METRICS_ADDRESS", address));
    let prometheus = Prometheus::of(&runner, PORT);
    let started = || {
        let series = prometheus.now("process_start_time_seconds");
        series.first().map(|one| one["value"][1].clone())
    };
    for _ in 0..3 {
        let before = until("hookd is read", s(20), started);
        assert!(runner.daemon().signal(Signal::KILL));
        until("the next one is read", s(20), || started().filter(|now| *now != before));
    }
    let alert = until("the alert fires", s(20), || {
        let alerts = prometheus.ask("alerts", &[])["alerts"].as_array().unwrap().clone();
        alerts.into_iter().find(|alert| alert["state"] == "firing")
    });
    let labels = &alert["labels"];
    let label = |name: &str| labels[name].as_str().unwrap();
    assert_eq!((label("alertname"), label("severity")), ("HookdRestarting", "warning"));
    assert_eq!((label("namespace"), label("pod")), (runner.namespace.as_str(), "runner"));
    let pod = format!("{}/runner", runner.namespace);
    let summary = format!("hookd in pod {pod} was started again 3 times in 30 minutes.");
    assert_eq!(alert["annotations"]["summary"], summary);
    let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
    assert!(runbook.ends_with("/docs/monitoring.md#hookdrestarting"), "{runbook}");
}

/// A build, its image once more, a build that fails, and a job of which one step fails.
fn work(runner: &RunnerPod) {
    let id = guid().unwrap();
    let built = format!("FROM busybox:1\nLABEL test={id}\nCMD [\"echo\", \"hello\"]\n");
    for name in ["new", "again"] {
        runner.run(&runner.action(name, &[("Dockerfile", &built)])).assert_code(0);
    }
    let broken = "FROM busybox:1\nRUN false\n";
    runner.run(&runner.action("broken", &[("Dockerfile", broken)])).assert_code(1);
    let mut job = JobRun::start(runner);
    job.run("echo hello").assert_code(0);
    job.run("exit 3").assert_code(3);
    job.clean_up().assert_code(0);
}

/// With one namespace chosen and with all of them, from the time `began` on.
fn assert_panels_have_data(prometheus: &Prometheus, namespace: &str, began: u64) {
    let dashboard = fs::read_to_string(monitoring("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let variable = &dashboard["templating"]["list"][1];
    assert_eq!(variable["query"], "label_values(hookd_build_info, namespace)");
    let values = prometheus.ask("label/namespace/values", &[("match[]", "hookd_build_info")]);
    assert_eq!(values, serde_json::json!([namespace]));
    let all = variable["allValue"].as_str().unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in targets {
        let legend = target["legendFormat"].as_str().unwrap();
        let named = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        let labels: Vec<_> = named.collect();
        for chosen in [namespace, all] {
            let expression = target["expr"].as_str().unwrap();
            let expression =
                expression.replace("$__rate_interval", RATE_INTERVAL).replace("$namespace", chosen);
            assert!(!expression.contains('$'), "{expression} has another variable");
            assert_has_data(&expression, &labels, &prometheus.between(began, clock(), &expression));
        }
    }
}

/// Whether they would fire or not.
fn assert_alerts_have_data(prometheus: &Prometheus) {
    let rules = read("rules.yaml");
    let rules = rules["spec"]["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        let is_end = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
        let named = summary.split("$labels.").skip(1).filter_map(|rest| rest.split(is_end).next());
        let labels: Vec<_> = named.collect();
        for expression in compared(rule["expr"].as_str().unwrap()) {
            let series = until(expression, s(20), || {
                let series = prometheus.now(expression);
                series.iter().any(has_number).then_some(series)
            });
            assert_has_data(expression, &labels, &series);
        }
    }
}

/// The series have these labels, and one of them has a number: 0 divided by 0 is none.
fn assert_has_data(expression: &str, labels: &[&str], series: &[Value]) {
    assert!(series.iter().any(has_number), "{expression} has no data: {series:?}");
    for one in series {
        let metric = &one["metric"];
        let has_all = labels.iter().all(|label| metric[label].is_string());
        assert!(has_all, "{expression} has not the labels {labels:?}: {metric}");
    }
}

fn has_number(series: &Value) -> bool {
    // At one time, or at many.
    let samples = [&series["values"], &series["value"]];
    let texts = samples[0].as_array().into_iter().flatten().map(|sample| &sample[1]);
    texts.chain([&samples[1][1]]).any(|text| text.as_str().is_some_and(|text| text != "NaN"))
}

/// What an alert compares with a number, of each part that `or` joins. `or` binds least of all operators and a
/// comparison next, so that both are where no parenthesis is open.
fn compared(expression: &str) -> Vec<&str> {
    let one = |part| {
        let sides = split(part, &COMPARISONS);
        assert!(sides.len() == 2 && sides[1].parse::<f64>().is_ok(), "{part} is not understood");
        sides[0]
    };
    split(expression, &[" or "]).into_iter().map(one).collect()
}

/// The parts between those separators that stand in no parentheses, braces, brackets or quotes.
fn split<'a>(text: &'a str, separators: &[&str]) -> Vec<&'a str> {
    let (mut parts, mut begin, mut depth, mut is_quoted) = (Vec::new(), 0, 0, false);
    for (at, letter) in text.char_indices() {
        is_quoted ^= letter == '"';
        match letter {
            _ if is_quoted => continue,
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        let found = separators.iter().find(|separator| text[at..].starts_with(**separator));
        if let (0, Some(separator)) = (depth, found) {
            parts.push(&text[begin..at]);
            begin = at + separator.len();
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[test]
fn the_numbers_of_an_alert_are_found_by_the_form_of_promql() {
    let text = r#"sum(a > 0) / b{c="x or y > 1)"} > 0.1 or max by (d) (e or f) == 2"#;
    let parts = [r#"sum(a > 0) / b{c="x or y > 1)"}"#, "max by (d) (e or f)"];
    assert_eq!(compared(text), parts);
}
