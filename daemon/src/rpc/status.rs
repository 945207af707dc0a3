//! From a failure to a gRPC status, in one place.

use std::collections::HashMap;

use hookd_api::transport::{ERROR_DOMAIN, ERROR_REMEDY};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Failure, Reason, report};

/// The status of a failure: code, one sentence, and ErrorInfo with reason and remedy.
pub fn of(failure: &Failure) -> Status {
    let message = report(failure);
    match failure.reason {
        Reason::Cancelled => tracing::info!(reason = %failure.reason, "{message}"),
        _ => tracing::warn!(reason = %failure.reason, "{message}"),
    }
    let remedy = HashMap::from([(ERROR_REMEDY.to_owned(), failure.remedy.clone())]);
    let details = ErrorDetails::with_error_info(failure.reason.as_str(), ERROR_DOMAIN, remedy);
    Status::with_error_details(code(failure.reason), message, details)
}

pub(super) fn code(reason: Reason) -> Code {
    match reason {
        Reason::Cancelled => Code::Cancelled,
        Reason::InvalidInput | Reason::ContextInvalid => Code::InvalidArgument,
        Reason::ApiUnreachable | Reason::RegistryUnreachable | Reason::VolumeStalled => {
            Code::Unavailable
        }
        Reason::PermissionMissing
        | Reason::AdmissionDenied
        | Reason::PolicyDenied
        | Reason::RegistryRefused => Code::PermissionDenied,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::OomKilled
        | Reason::PodUnschedulable
        | Reason::QuotaExceeded
        | Reason::TooManyCalls
        | Reason::VolumeFull => Code::ResourceExhausted,
        Reason::OutputLost => Code::DataLoss,
        Reason::DaemonCrashed | Reason::Evicted | Reason::StepLost => Code::Aborted,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Internal => Code::Internal,
        Reason::BuildFailed
        | Reason::ClaimUnusable
        | Reason::ImagePullFailed
        | Reason::StartFailed
        | Reason::TemplateInvalid
        | Reason::VolumeReadOnly => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_reason_and_remedy() {
        let failure = Failure::new(Reason::OomKilled, "It was killed", "Give it more");
        let status = of(&failure);
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "It was killed"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OOM_KILLED", "hookd"));
        assert_eq!(info.metadata["remedy"], "Give it more");
    }

    #[test]
    fn every_reason_is_documented() {
        let docs = include_str!("../../../docs/errors.md");
        let source = include_str!("../error.rs");
        let reasons: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
            .map(|(_, name)| name.trim_end_matches("\","))
            .collect();
        assert!(reasons.len() > 15, "{reasons:?}");
        for reason in reasons {
            assert!(docs.contains(&format!("`{reason}`")), "docs/errors.md does not name {reason}");
        }
    }
}
