//! What a hook left when it ended.

use std::time::Duration;

use fake_runner::Outcome as ReadBack;

use crate::wait::s;

/// A hook that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub time: Duration,
    /// How long its process took, without the start of it through the API server.
    #[allow(dead_code, reason = "the benchmark reads it")]
    pub hook_time: Duration,
    /// What the runner reads back.
    pub read_back: ReadBack,
}

impl Outcome {
    /// Its standard output, which is the program's alone, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text: the lines of hook and hookd, a build's log, and what the program
    /// writes there.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// All that it printed, standard output first.
    pub fn printed(&self) -> String {
        format!("{}\n{}", self.text(), self.log())
    }

    /// The lines of its standard error.
    pub fn log_lines(&self) -> Vec<String> {
        self.log().lines().map(str::to_owned).collect()
    }

    /// The lines of its standard output.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Its standard output; a build's group must be in its log, and closed.
    pub fn after_build(&self) -> String {
        let lines = self.log_lines();
        let at = |start: &str| lines.iter().rposition(|line| line.starts_with(start));
        let (opened, closed) = (at("##[group]Build "), at("##[endgroup]"));
        assert!(opened.is_some() && opened < closed, "no build's group in:\n{}", self.log());
        self.text()
    }

    /// Its `::error` line; there must be one, and it must be the last.
    pub fn error(&self) -> String {
        let last = self.log_lines().pop().unwrap_or_default();
        assert!(last.starts_with("::error title="), "no error at the end, but:\n{}", self.log());
        last
    }

    /// Fails the test unless the hook itself failed within so many seconds, with all these words
    /// in its error: what is wrong, and what to do about it.
    #[track_caller]
    pub fn assert_failed_with(&self, seconds: u64, words: &[&str]) {
        self.assert_code(1);
        let error = self.error();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in:\n{error}\nof:\n{}", self.log());
        }
        assert!(self.time < s(seconds), "it took {:?}; its output:\n{}", self.time, self.printed());
        // Until the group is closed nothing is a command, and the error would not be one.
        if let Some(token) =
            self.log_lines().iter().find_map(|line| line.strip_prefix("::stop-commands::"))
        {
            let resumed = self.log_lines().iter().rposition(|line| *line == format!("::{token}::"));
            assert!(resumed.is_some(), "the build's group stays open:\n{}", self.log());
        }
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "its output:\n{}", self.printed());
        self
    }
}
