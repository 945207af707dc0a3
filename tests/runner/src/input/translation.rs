//! From the runner's paths to those of a container step.

use crate::layout::WorkDir;

/// Pairs of prefixes; the first that fits is taken.
pub(super) struct Translation([(String, &'static str); 5]);

impl Translation {
    pub(super) fn new(work: &WorkDir, repository: &str) -> Self {
        Self([
            (work.workspace(repository), "/github/workspace"),
            (work.path("_temp/_runner_file_commands"), "/github/file_commands"),
            (work.path("_temp/_github_workflow"), "/github/workflow"),
            (work.path("_temp/_github_home"), "/github/home"),
            (work.temp(), "/github/runner_temp"),
        ])
    }

    /// The value itself unless all of it is a path at or below one of the prefixes.
    pub(super) fn to_container(&self, value: &str) -> String {
        for (runner, container) in &self.0 {
            if let Some(rest) = value.strip_prefix(runner.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return format!("{container}{rest}");
            }
        }
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_path_segments_at_the_start_are_translated() {
        let translation = Translation::new(&WorkDir::new("/w", "/w"), "octo/demo");
        for (value, expected) in [
            ("/w/demo/demo", "/github/workspace"),
            ("/w/demo/demo/a b", "/github/workspace/a b"),
            ("/w/demo/demonstration", "/w/demo/demonstration"),
            ("/w/_temp/x", "/github/runner_temp/x"),
            ("/w/_temp/_github_home", "/github/home"),
            ("/w/demo", "/w/demo"),
            ("a:/w/_temp", "a:/w/_temp"),
        ] {
            assert_eq!(translation.to_container(value), expected);
        }
    }
}
