//! The life of a step in this daemon: which event leads where, and what is to be done then. No I/O;
//! [`crate::session::drive`] and the search for orphans feed it and do what it says.
//!
//! ```text
//!          Call              Returned            Acknowledged, Closed
//!   Idle -------> Attached ----------> Reported -------------------------> Over
//!    ^  \            |  |
//!    |   \           |  `-- Failed, Cancelled, Closed --> Undoing -------> Undone
//!    |    `----------|------ Cancelled -------------------^       Undone
//!    `-- Closed, after Detached
//! ```
//!
//! A daemon that was started again begins with `Idle` for every step: a call that resumes one is a
//! `Call` like any other, since the client's cursor, the cluster and stepd know how far it is. A
//! step that has ended can still be cancelled: the answer says whether anything was left.

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No operation follows it here: it is new, its client left, or this daemon is new.
    #[default]
    Idle,
    /// An operation works for a client; `leaving`: who may close the connection without harm.
    Attached {
        /// The client has said that it leaves.
        leaving: bool,
    },
    /// Its result stands, and is reported to the client.
    Reported,
    /// It ends without a result; what it made is being deleted.
    Undoing,
    /// It has had its result. Called again it is looked for: a job's pod is there still, a step is
    /// not.
    Over,
    /// It was ended without a result. Its program may have run: it is never started again.
    Undone,
}

/// What happens to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client starts or resumes it.
    Call,
    /// The client says that it will leave and that the step is to go on.
    Detached,
    /// The client's connection is closed: it has left, or is dead.
    Closed,
    /// The step is not wanted any more: a signal, CancelStep, a runner pod that goes, a hookd that
    /// stops, a client that did not come back.
    Cancelled,
    /// The operation has a result.
    Returned,
    /// The operation has none.
    Failed,
    /// The client has acted on the result.
    Acknowledged,
    /// What the step made is deleted, or others go on deleting it.
    Undone,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Ignore,
    /// Report to the client that another one is attached, or that the step was undone.
    Refuse,
    /// Start the step, or find it and go on.
    Run,
    /// Report the result.
    Report,
    /// Leave the step to itself: a client will come back for it.
    Part,
    /// End it, and delete what it made.
    Undo,
    /// Delete what it made: its end is known to whom it concerns.
    Clear,
}

impl State {
    /// Where an event leads, and what is to be done.
    pub fn on(self, event: Event) -> (Self, Action) {
        use Action::{Clear, Ignore, Part, Refuse, Report, Run, Undo};
        use Event::{Acknowledged, Call, Cancelled, Closed, Detached, Failed, Returned, Undone};
        match (self, event) {
            (Self::Idle, Call) => (Self::Attached { leaving: false }, Run),
            // Of one that has ended something may be left all the same.
            (Self::Idle | Self::Over | Self::Undone, Cancelled) => (Self::Undoing, Undo),
            (Self::Attached { .. } | Self::Reported | Self::Undoing | Self::Undone, Call) => {
                (self, Refuse)
            }
            (Self::Over, Call) => (Self::Attached { leaving: false }, Run),
            (Self::Attached { .. }, Detached) => (Self::Attached { leaving: true }, Ignore),
            (Self::Attached { leaving: true }, Closed) => (Self::Idle, Part),
            (Self::Attached { .. }, Closed | Cancelled | Failed) => (Self::Undoing, Undo),
            (Self::Attached { .. }, Returned) => (Self::Reported, Report),
            (Self::Reported, Acknowledged | Closed) => (Self::Over, Clear),
            (Self::Undoing, Undone) => (Self::Undone, Ignore),
            (Self::Idle | Self::Attached { .. } | Self::Reported | Self::Undoing, _)
            | (Self::Over | Self::Undone, _) => (self, Ignore),
        }
    }
}

#[cfg(test)]
mod tests;
