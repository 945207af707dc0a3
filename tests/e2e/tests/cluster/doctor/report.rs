//! What `hookd doctor` says.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use test_support::RunnerPod;

/// What `hookd doctor` prints as JSON, its exit code, and how long it took.
pub(super) struct Report {
    pub(super) json: Value,
    pub(super) code: Option<i32>,
    pub(super) took: Duration,
}

/// What a check says of a fault: words of each of its fields.
pub(super) struct Said<'a> {
    pub(super) found: &'a str,
    pub(super) cause: &'a str,
    pub(super) remedy: &'a str,
}

impl Report {
    /// Runs it in the sidecar; flags stand for settings.
    pub(super) fn of(runner: &RunnerPod, flags: &[&str]) -> Self {
        let began = Instant::now();
        let output = Command::new("kubectl")
            .args(["exec", "-n", &runner.namespace, &runner.name, "-c", "hookd", "--"])
            .args(["hookd", "doctor", "--output", "json"])
            .args(flags)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let json =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
        Self { json, code: output.status.code(), took: began.elapsed() }
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.json["checks"].as_array().unwrap().iter()
    }

    pub(super) fn check(&self, name: &str) -> &Value {
        let found = self.checks().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name}"))
    }

    /// True if the check names all of this.
    pub(super) fn says(&self, name: &str, words: &[&str]) -> bool {
        let text = self.check(name).to_string().replace("\\\"", "'");
        words.iter().all(|word| text.contains(word))
    }

    /// Fails the test unless the check ended so and says this.
    pub(super) fn assert_says(&self, name: &str, status: &str, said: &Said<'_>) {
        let check = self.check(name);
        assert_eq!(check["status"], status, "{check:#}");
        for (field, words) in
            [("found", said.found), ("cause", said.cause), ("remedy", said.remedy)]
        {
            let text = check[field].as_str().unwrap();
            assert!(text.contains(words), "{field} of {name} lacks {words:?}: {check:#}");
        }
        assert_eq!(check["link"], format!("docs/doctor.md#{name}"));
    }

    /// Fails the test unless these checks failed, no others, and the exit code says so.
    pub(super) fn assert_only_failed(&self, names: &[&str]) {
        let failed = self.checks().filter(|check| check["status"] == "failure");
        let failed: Vec<_> = failed.map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(failed, names, "{:#}", self.json);
        assert_eq!(self.code, Some(i32::from(!names.is_empty())));
    }
}
