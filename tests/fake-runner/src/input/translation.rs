//! From the runner's paths to those of a container.

use crate::layout::WorkDir;

/// Pairs of prefixes; the first that fits is taken.
pub(crate) struct Translation(Vec<(String, &'static str)>);

impl Translation {
    /// For a container step.
    pub(crate) fn of_container_step(work: &WorkDir, repository: &str) -> Self {
        Self(vec![
            (work.workspace(repository), "/github/workspace"),
            (work.path("_temp/_runner_file_commands"), "/github/file_commands"),
            (work.path("_temp/_github_workflow"), "/github/workflow"),
            (work.path("_temp/_github_home"), "/github/home"),
            (work.temp(), "/github/runner_temp"),
        ])
    }

    /// For the job container.
    pub(crate) fn of_job(work: &WorkDir, externals: &str) -> Self {
        Self(vec![
            (work.path("_temp/_github_workflow"), "/github/workflow"),
            (work.path("_temp/_github_home"), "/github/home"),
            (work.root().to_owned(), "/__w"),
            (externals.to_owned(), "/__e"),
        ])
    }

    /// The value itself unless all of it is a path at or below one of the prefixes.
    pub(crate) fn to_container(&self, value: &str) -> String {
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
        let translation = Translation::of_container_step(&WorkDir::new("/w", "/w"), "octo/demo");
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

    #[test]
    fn a_job_container_has_the_whole_work_directory() {
        let translation = Translation::of_job(&WorkDir::new("/w", "/w"), "/x/externals");
        for (value, expected) in [
            ("/w", "/__w"),
            ("/w/demo/demo", "/__w/demo/demo"),
            ("/w/_temp/_github_workflow/event.json", "/github/workflow/event.json"),
            ("/x/externals/node20", "/__e/node20"),
            ("/work", "/work"),
        ] {
            assert_eq!(translation.to_container(value), expected);
        }
    }
}
