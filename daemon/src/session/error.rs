//! Why a session does not begin, or ends without its operation.

use std::error::Error as StdError;

use crate::error::{Explain, Reason};
use crate::ids::StepId;

/// An error of a session. A step that was cancelled or ended without its client is a
/// [`CommonError`](crate::error::CommonError).
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A step has one client at a time.
    #[error("Another client is attached to step {step}")]
    AttachedElsewhere {
        /// The step.
        step: StepId,
    },
    /// The runner has as many steps as hookd takes.
    #[error("{limit} steps of this runner are at work at once")]
    TooManySteps {
        /// Steps at once.
        limit: usize,
    },
    /// Daemons died while they worked on this call.
    #[error(
        "hookd ended abnormally {deaths} times while it worked on the input of step {step}; it does \
         not try again"
    )]
    DaemonCrashed {
        /// The step.
        step: StepId,
        /// Daemons that died.
        deaths: u32,
    },
    /// An operation panicked.
    #[error("hookd failed in the middle of the step")]
    Panicked,
    /// The token of a log group cannot be made.
    #[error("The kernel gives no random bytes")]
    NoRandomBytes {
        /// The kernel's error.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Explain for SessionError {
    fn reason(&self) -> Reason {
        match self {
            Self::AttachedElsewhere { .. } => Reason::InvalidInput,
            Self::TooManySteps { .. } => Reason::TooManyCalls,
            Self::DaemonCrashed { .. } => Reason::DaemonCrashed,
            Self::Panicked | Self::NoRandomBytes { .. } => Reason::Internal,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::AttachedElsewhere { .. } => {
                "Give each step an id of its own, or wait until the other client has left"
            }
            Self::TooManySteps { .. } => "Run fewer steps at once",
            Self::DaemonCrashed { .. } => {
                "The log of the hookd container says how it ended (killed for its memory, for one); \
                 report it with the step's action, options and environment"
            }
            Self::Panicked | Self::NoRandomBytes { .. } => {
                "This is a defect of hookd: please report it"
            }
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let step: StepId = "build-1".parse().unwrap();
    let out = std::io::Error::other("function not implemented");
    vec![
        Box::new(SessionError::AttachedElsewhere { step: step.clone() }),
        Box::new(SessionError::TooManySteps { limit: 64 }),
        Box::new(SessionError::DaemonCrashed { step, deaths: 2 }),
        Box::new(SessionError::Panicked),
        Box::new(SessionError::NoRandomBytes { source: out.into() }),
    ]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_session() {
        assert_complete(include_str!("error.rs"), "SessionError", &super::examples());
    }
}
