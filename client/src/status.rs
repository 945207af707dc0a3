//! Distinguishes a failure that hookd reports from a connection that broke.

use std::error::Error as _;

use hookd_api::transport::{ERROR_DOMAIN, ERROR_REMEDY};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::report::{self, Explain};

/// Reason of a step that was cancelled.
const CANCELLED: &str = "CANCELLED";
/// What tonic makes of a stream that is reset within a message.
const CUT_SHORT: &str = "Unexpected EOF decoding stream.";

/// What a status means for the caller.
#[derive(Debug)]
pub(crate) enum ErrorClass {
    /// The connection broke or hookd is not ready: the call can be made again.
    Lost(Status),
    /// hookd has decided: calling again does not help.
    Final(HookdError),
}

/// A failure that hookd reported.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct HookdError {
    /// Stable name of the kind of failure; empty if it came without one.
    reason: String,
    /// What happened.
    message: String,
    /// What the user can do.
    remedy: String,
}

/// What `status` means.
pub(crate) fn classify(status: Status) -> ErrorClass {
    if let Some(info) = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN) {
        let remedy = info.metadata.get(ERROR_REMEDY).cloned().unwrap_or_default();
        let message = status.message().to_owned();
        return ErrorClass::Final(HookdError { reason: info.reason, message, remedy });
    }
    // hookd's own errors carry a reason. One without it comes from the transport: from this end,
    // where it has a source, or from a server that is going away.
    let lost = status.source().is_some()
        || matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
        || (status.code() == Code::Internal && status.message() == CUT_SHORT);
    if lost { ErrorClass::Lost(status) } else { ErrorClass::Final(unexplained(&status)) }
}

/// The failure for a status that says no more than a code and a message.
fn unexplained(status: &Status) -> HookdError {
    let remedy = match status.code() {
        Code::Unimplemented => "Use hook and hookd of the same version".to_owned(),
        _ => "Check the log of the hookd container".to_owned(),
    };
    let message = format!("hookd answered: {} ({:?})", status.message(), status.code());
    HookdError { reason: String::new(), message, remedy }
}

// === impl HookdError ===

impl HookdError {
    /// True if the step was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.reason == CANCELLED
    }
}

impl Explain for HookdError {
    fn title(&self) -> String {
        if self.reason.is_empty() {
            return "hookd refused the call".to_owned();
        }
        report::plain_text(&self.reason)
    }

    fn remedy(&self) -> String {
        self.remedy.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn typed(code: Code, domain: &str) -> Status {
        let metadata = HashMap::from([("remedy".to_owned(), "Do this".to_owned())]);
        let details = ErrorDetails::with_error_info("OOM_KILLED", domain, metadata);
        Status::with_error_details(code, "it was killed", details)
    }

    #[test]
    fn an_error_with_hookd_s_reason_is_final_whatever_its_code() {
        for code in [Code::Unavailable, Code::Unknown, Code::FailedPrecondition] {
            let ErrorClass::Final(error) = classify(typed(code, "hookd")) else {
                panic!("{code:?}")
            };
            assert_eq!(error.title(), "OOM killed");
            assert_eq!(error.to_string(), "it was killed");
            assert_eq!(error.remedy(), "Do this");
        }
    }

    #[test]
    fn an_error_without_hookd_s_reason_is_judged_by_its_origin() {
        let lost = [
            Status::unavailable("shutting down"),
            Status::unknown("missing trailer"),
            Status::from_error(Box::new(std::io::Error::other("broken pipe"))),
            typed(Code::Unavailable, "elsewhere"),
        ];
        for status in lost {
            assert!(matches!(classify(status.clone()), ErrorClass::Lost(_)), "{status:?}");
        }
        for status in [Status::unimplemented("no such call"), Status::internal("bad message")] {
            assert!(matches!(classify(status.clone()), ErrorClass::Final(_)), "{status:?}");
        }
    }
}
