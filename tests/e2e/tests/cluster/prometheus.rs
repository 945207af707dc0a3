//! A Prometheus of Debian's package that reads one runner pod as deploy/monitoring says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::RunnerPod;
use test_support::cluster::{repository, run};
use test_support::manifests::documents;
use test_support::wait::{s, until};

/// A server on loopback; it ends when this is dropped, or with the thread of the test.
pub(crate) struct Prometheus {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Prometheus {
    /// Reads hookd of a runner pod at this port, and evaluates the alerts, each second.
    pub(crate) fn of(runner: &RunnerPod, port: u16) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rules = &read("rules.yaml")["spec"]["groups"];
        fs::write(path("rules.json"), json!({"groups": rules}).to_string()).unwrap();
        let config = config(runner, port, &path("rules.json"));
        fs::write(path("config.json"), config.to_string()).unwrap();
        checked("rules", &path("rules.json"));
        checked("config", &path("config.json"));
        let log = File::create(path("log")).unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus"])
            .arg(format!("--config.file={}", path("config.json").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { process, folder, address: String::new() };
        server.address = until("Prometheus listens", s(30), || server.listens_at());
        until("Prometheus is ready", s(30), || server.is_ready().then_some(()));
        server
    }

    /// By its log: the kernel has chosen the port.
    fn listens_at(&mut self) -> Option<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(self.process.try_wait().unwrap().is_none(), "Prometheus has ended:\n{log}");
        let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?;
        let (_, rest) = line.split_once("address=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    fn is_ready(&self) -> bool {
        let url = format!("http://{}/-/ready", self.address);
        run(Command::new("curl").args(["-sf", "--noproxy", "*", &url]), None).is_ok()
    }

    /// What the API answers.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "-G"]).arg(format!("{}/api/v1/{path}", self.address));
        for (name, value) in parameters {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let answer: Value = serde_json::from_str(&run(&mut curl, None).unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{path} {parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The series of an expression at this moment.
    pub(crate) fn now(&self, expression: &str) -> Vec<Value> {
        self.ask("query", &[("query", expression)])["result"].as_array().unwrap().clone()
    }

    /// The series of an expression between two times, in seconds since 1970.
    pub(crate) fn between(&self, begin: u64, end: u64, expression: &str) -> Vec<Value> {
        let (begin, end) = (begin.to_string(), end.to_string());
        let range = [("query", expression), ("start", &begin), ("end", &end), ("step", "1")];
        self.ask("query_range", &range)["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // One that has ended by itself is waited for all the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of deploy/monitoring with one document.
pub(crate) fn read(name: &str) -> Value {
    let text = fs::read_to_string(monitoring(name)).unwrap();
    documents(&text).remove(0)
}

/// The path of a file of deploy/monitoring.
pub(crate) fn monitoring(name: &str) -> PathBuf {
    repository("deploy/monitoring").join(name)
}

/// Seconds since 1970.
pub(crate) fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the operator makes of the PodMonitor, for one pod and with a shorter interval.
fn config(runner: &RunnerPod, port: u16, rules: &Path) -> Value {
    let monitor = read("pod-monitor.yaml");
    let (name, spec) = (monitor["metadata"]["name"].as_str().unwrap(), &monitor["spec"]);
    let endpoint = &spec["podMetricsEndpoints"][0];
    let pod = runner.object("pod", &runner.name);
    let target = format!("{}:{port}", pod["status"]["podIP"].as_str().unwrap());
    let labels = json!({
        "job": format!("{}/{name}", runner.namespace),
        "namespace": runner.namespace,
        "pod": runner.name,
        "container": "hookd",
        "endpoint": endpoint["port"],
    });
    json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{
            "job_name": format!("podMonitor/{}/{name}/0", runner.namespace),
            "metrics_path": endpoint["path"],
            "sample_limit": spec["sampleLimit"],
            "label_limit": spec["labelLimit"],
            "label_value_length_limit": spec["labelValueLengthLimit"],
            "static_configs": [{"targets": [target], "labels": labels}],
        }],
    })
}

/// Fails the test unless promtool finds nothing wrong with a file.
fn checked(kind: &str, path: &Path) {
    let checked = run(Command::new("promtool").args(["check", kind]).arg(path), None);
    checked.unwrap_or_else(|error| {
        panic!("promtool check {kind}: {error} (`make prometheus` installs promtool)")
    });
}
