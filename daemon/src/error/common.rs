//! Errors that more than one room has.

use std::error::Error as StdError;

use super::{Explain, Reason};

/// What can end a step in any room.
#[derive(Debug, thiserror::Error)]
pub enum CommonError {
    /// The client cancelled the step, or its runner is going away.
    #[error("The step was cancelled")]
    Cancelled,
    /// A client came to a step that was ended without it: it is never run again.
    #[error("The step was cancelled, or hookd ended it because its hook did not come back in time")]
    StepEnded,
    /// Something that the design rules out.
    #[error("{what}")]
    Defect {
        /// One sentence.
        what: String,
        /// The cause, if there is one.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl CommonError {
    /// A defect with its cause.
    pub fn defect(
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Defect { what: what.into(), source: Some(source.into()) }
    }
}

impl Explain for CommonError {
    fn reason(&self) -> Reason {
        match self {
            Self::Cancelled => Reason::Cancelled,
            Self::StepEnded => Reason::StepLost,
            Self::Defect { .. } => Reason::Internal,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Cancelled => "Nothing to do",
            Self::StepEnded => {
                "After a restart of hookd a step waits HOOKD_REATTACH_TIMEOUT_SECONDS for its hook; \
                 run the job again"
            }
            Self::Defect { .. } => "This is a defect of hookd: please report it",
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    vec![
        Box::new(CommonError::Cancelled),
        Box::new(CommonError::StepEnded),
        Box::new(CommonError::defect("Reading the context failed", "task 7 panicked")),
    ]
}
