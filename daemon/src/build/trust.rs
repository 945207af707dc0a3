//! Whose layers a build may take and leave: each build runs what a Dockerfile says, and so can leave any
//! layer under any name.

use crate::runner::Runner;

/// Events that run what people who may push to the repository have put there. `pull_request` is not one of
/// them, from a fork or not: its payload, which says so, lies where steps can change it. Nor are
/// `pull_request_target` and `workflow_run`, whose workflows fetch the code of others.
const TRUSTED: [&str; 6] =
    ["push", "schedule", "workflow_dispatch", "repository_dispatch", "release", "merge_group"];

/// The event, if it is believed: only where no step runs beside the hook, which could name one too.
pub fn believed<'a>(event: &'a str, runner: &Runner) -> Option<&'a str> {
    (runner.hooks_are_alone && !event.is_empty()).then_some(event)
}

/// True if the builds of a step that the event leads to may share layers with those of other such events.
/// See [`believed`].
pub fn is_trusted(event: &str, runner: &Runner) -> bool {
    believed(event, runner).is_some_and(|event| TRUSTED.contains(&event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_believed_where_no_step_can_say_it() {
        let alone = Runner { hooks_are_alone: true, ..Runner::default() };
        assert!(is_trusted("push", &alone) && is_trusted("schedule", &alone));
        let others =
            ["", "pull_request", "pull_request_target", "workflow_run", "issue_comment", "PUSH"];
        for event in others {
            assert!(!is_trusted(event, &alone), "{event}");
        }
        assert!(!is_trusted("push", &Runner::default()));
    }
}
