//! The job that a call belongs to, as the runner names it in the hook's environment.

use std::ffi::OsString;

use hookd_api::v1::JobContext;

/// Of this process.
pub(crate) fn of_environment() -> JobContext {
    read(|name| std::env::var_os(name))
}

fn read(variable: impl Fn(&str) -> Option<OsString>) -> JobContext {
    let value = |name| {
        let value = variable(name).unwrap_or_default();
        value.to_string_lossy().into_owned()
    };
    JobContext {
        repository: value("GITHUB_REPOSITORY"),
        workflow: value("GITHUB_WORKFLOW"),
        run_id: value("GITHUB_RUN_ID"),
        run_attempt: value("GITHUB_RUN_ATTEMPT"),
        job: value("GITHUB_JOB"),
        server_url: value("GITHUB_SERVER_URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_that_of_the_runners_variables() {
        let job = read(|name| (name != "GITHUB_WORKFLOW").then(|| format!("<{name}>").into()));
        assert_eq!(job.repository, "<GITHUB_REPOSITORY>");
        assert_eq!(
            (job.run_id, job.run_attempt),
            ("<GITHUB_RUN_ID>".into(), "<GITHUB_RUN_ATTEMPT>".into())
        );
        assert_eq!((job.job, job.workflow), ("<GITHUB_JOB>".into(), String::new()));
        assert_eq!(job.server_url, "<GITHUB_SERVER_URL>");
    }
}
