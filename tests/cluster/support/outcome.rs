//! What a hook left when it ended.

use std::time::Duration;

use runner_standin::Outcome as ReadBack;

use super::wait::s;

/// A hook that has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
    /// How long it took.
    pub(crate) time: Duration,
    /// How long its process took, without the start of it through the API server.
    #[allow(dead_code, reason = "the benchmark reads it")]
    pub(crate) hook_time: Duration,
    /// What the runner reads back.
    pub(crate) read_back: ReadBack,
}

impl Outcome {
    /// Its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The lines of its standard output.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Its standard output after the build's group.
    pub(crate) fn after_build(&self) -> String {
        let text = self.text();
        let (_, rest) = text.rsplit_once("##[endgroup]\n").expect("a build's group in the output");
        rest.to_owned()
    }

    /// Its `::error` line; there must be one, and it must be the last.
    pub(crate) fn error(&self) -> String {
        let last = self.lines().pop().unwrap_or_default();
        assert!(last.starts_with("::error title="), "no error at the end, but:\n{}", self.text());
        last
    }

    /// Fails the test unless the hook itself failed within so many seconds, with all these words
    /// in its error: what is wrong, and what to do about it.
    #[track_caller]
    pub(crate) fn assert_told(&self, seconds: u64, words: &[&str]) {
        self.assert_code(1);
        let error = self.error();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in:\n{error}\nof:\n{}", self.text());
        }
        assert!(self.time < s(seconds), "it took {:?}; its output:\n{}", self.time, self.text());
        // Until the group is closed nothing is a command, and the error would not be one.
        if let Some(token) =
            self.lines().iter().find_map(|line| line.strip_prefix("::stop-commands::"))
        {
            let resumed = self.lines().iter().rposition(|line| *line == format!("::{token}::"));
            assert!(resumed.is_some(), "the build's group stays open:\n{}", self.text());
        }
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        let stderr = String::from_utf8_lossy(&self.stderr);
        assert_eq!(self.code, code, "its output:\n{}\n{stderr}", self.text());
        self
    }
}
