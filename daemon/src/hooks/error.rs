//! An operation that ends without its result.

use std::time::Duration;

use crate::error::{Explain, Reason};

/// Why an operation fails that the rooms below have done their part for.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// A script step reached its time limit.
    #[error("The step ran longer than {} s, and was ended", .limit.as_secs())]
    StepLate {
        /// The limit.
        limit: Duration,
    },
}

impl Explain for HookError {
    fn reason(&self) -> Reason {
        Reason::DeadlineExceeded
    }

    fn help(&self) -> String {
        "Raise HOOKD_STEP_TIMEOUT_SECONDS if the step needs longer; run the job again".to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    vec![Box::new(HookError::StepLate { limit: Duration::from_secs(3600) })]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_hook() {
        assert_complete(include_str!("error.rs"), "HookError", &super::examples());
    }
}
