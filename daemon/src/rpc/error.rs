//! A call that hookd does not take.

use std::time::Duration;

use crate::error::{Explain, Reason};
use crate::ids::InvalidStepId;
use crate::session::cursor::InvalidCursor;

/// What is wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The first message is another one, or there is none.
    #[error("The first message of {call} must be `start`")]
    NoStart {
        /// Name of the call.
        call: &'static str,
    },

    /// A field of the first message is not set.
    #[error("{call} has no `{field}`")]
    NoField {
        /// Name of the call.
        call: &'static str,
        /// Name of the field.
        field: &'static str,
    },

    /// The step's id is not one.
    #[error(transparent)]
    InvalidStepId(#[from] InvalidStepId),

    /// hookd cannot have written the cursor.
    #[error("`resume.cursor` is not one of hookd's")]
    InvalidCursor(#[from] InvalidCursor),

    /// No stream has so many bytes.
    #[error("`resume` has an offset above {limit}")]
    OffsetTooLarge {
        /// The largest offset.
        limit: u64,
    },

    /// The client does not send its first message.
    #[error("The first message of the call did not come within {} s", .timeout.as_secs())]
    StartLate {
        /// How long hookd waited.
        timeout: Duration,
    },

    /// The first message is too large.
    #[error("The step's input has more than {mebibytes} MiB")]
    InputTooLarge {
        /// The limit.
        mebibytes: usize,
    },

    /// The first message has too many values.
    #[error("The step's input has more than {limit} arguments, variables and mounts")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },

    /// All steps at work have too large inputs together.
    #[error("The inputs of the steps at work have more than {mebibytes} MiB together")]
    TooManyInputs {
        /// The limit.
        mebibytes: usize,
    },
}

impl Explain for CallError {
    fn reason(&self) -> Reason {
        match self {
            Self::TooManyInputs { .. } => Reason::TooManyCalls,
            _ => Reason::InvalidInput,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::NoStart { .. }
            | Self::NoField { .. }
            | Self::InvalidStepId(_)
            | Self::InvalidCursor(_)
            | Self::OffsetTooLarge { .. } => {
                "Correct the call; the comments in proto/hookd/v1 say what is expected"
            }
            Self::StartLate { .. } => "Send `start` at once, and fewer large calls at a time",
            Self::InputTooLarge { .. } | Self::TooManyFields { .. } => {
                "Pass large values in files of the workspace: Linux starts no program with more than \
                 2 MiB of arguments and environment"
            }
            Self::TooManyInputs { .. } => {
                "Run fewer steps at once, or pass large values in files of the workspace"
            }
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    use crate::session::cursor::{Cursor, MAX_OFFSET};

    let all = vec![
        CallError::NoStart { call: "RunScriptStep" },
        CallError::NoField { call: "RunScriptStep", field: "script" },
        CallError::InvalidStepId("Step_1".parse::<crate::ids::StepId>().unwrap_err()),
        CallError::InvalidCursor(Cursor::decode(b"x").unwrap_err()),
        CallError::OffsetTooLarge { limit: MAX_OFFSET },
        CallError::StartLate { timeout: Duration::from_secs(20) },
        CallError::InputTooLarge { mebibytes: 3 },
        CallError::TooManyFields { limit: hookd_api::MOST_FIELDS },
        CallError::TooManyInputs { mebibytes: 8 },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_call() {
        assert_complete(include_str!("error.rs"), "CallError", &super::examples());
    }
}
