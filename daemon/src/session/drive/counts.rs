//! What of a call is counted.

use hookd_api::v1::Stream;

use super::Outcome;
use crate::error::Reason;
use crate::metrics::{self, metrics};
use crate::session::events::{Event, EventKind};
use crate::session::operation::Operation;
use crate::session::state::Action;

impl<T> Outcome<T> {
    /// What it is counted as, given what follows.
    pub(super) fn counted<O: Operation<Output = T>>(&self, action: Action) -> metrics::Outcome {
        match self {
            Self::Returned(result) if O::succeeded(result) => metrics::Outcome::Succeeded,
            Self::Returned(_) => metrics::Outcome::ProgramFailed,
            Self::Failed(failure) if failure.reason.is_of_workflow() => {
                metrics::Outcome::WorkflowFailed
            }
            Self::Failed(_) => metrics::Outcome::HookdFailed,
            Self::Closed if action != Action::Undo => metrics::Outcome::Left,
            Self::Cancelled | Self::Closed => metrics::Outcome::Cancelled,
        }
    }

    /// Why it failed.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Failed(failure) => Some(failure.reason),
            Self::Returned(_) | Self::Cancelled | Self::Closed => None,
        }
    }
}

pub(super) fn count_output(event: &Event) {
    let EventKind::Output { stream, data, .. } = &event.kind else { return };
    let output = match stream {
        Stream::Stderr => metrics::Output::Stderr,
        Stream::Stdout | Stream::Unspecified => metrics::Output::Stdout,
    };
    metrics().sent(output, data.len());
}
