//! Whose call it is: the step and its job are in each line of the log that belongs to the call.

use hookd_api::v1::JobContext;
use tracing::Span;

use crate::traces::bounded;

/// The span of a call. It is there at every level of the log: a line without it is of no call.
pub(super) fn span(step: Option<&str>, job: Option<&JobContext>) -> Span {
    let unknown = JobContext::default();
    let JobContext { repository, workflow, run_id, run_attempt, job, .. } = job.unwrap_or(&unknown);
    // What is not known is not shown.
    tracing::error_span!(
        "call",
        step,
        github.repository = shown(repository),
        github.workflow = shown(workflow),
        github.run_id = shown(run_id),
        github.run_attempt = shown(run_attempt),
        github.job = shown(job),
    )
}

fn shown(value: &str) -> Option<&str> {
    Some(bounded(value)).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_between_characters() {
        assert_eq!(shown(""), None);
        assert_eq!(shown("octo/demo"), Some("octo/demo"));
        let long = "\u{e9}".repeat(1000);
        assert_eq!(shown(&long).unwrap().chars().count(), 256);
    }
}
