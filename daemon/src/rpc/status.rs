//! From a failure to a gRPC status, in one place.

use std::collections::HashMap;

use hookd_api::transport::{ERROR_DOMAIN, ERROR_REMEDY};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Failure, Reason, report};
use crate::metrics::metrics;

/// Bytes of a message, and of a remedy. Workflows choose parts of them, and a status travels in HTTP/2
/// headers: the message twice, encoded, of which clients take 16 KiB (hyper's default). A client that
/// gets more sees a broken connection, and comes again.
const LONGEST: usize = 2 << 10;

/// The status of a failure: code, one sentence, and ErrorInfo with reason and remedy. Of a text of more
/// than 2 KiB the middle is left out.
pub fn of(failure: &Failure) -> Status {
    metrics().failed(failure.reason);
    let message = shortened(&report(failure));
    match failure.reason {
        Reason::Cancelled => tracing::info!(reason = %failure.reason, "{message}"),
        _ => tracing::warn!(reason = %failure.reason, "{message}"),
    }
    let remedy = HashMap::from([(ERROR_REMEDY.to_owned(), shortened(&failure.remedy))]);
    let details = ErrorDetails::with_error_info(failure.reason.as_str(), ERROR_DOMAIN, remedy);
    Status::with_error_details(code(failure.reason), message, details)
}

/// The start and the end of a text that is too long: the end says what is wrong with what is long.
fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let start = (0..=LONGEST / 2).rev().find(is_boundary).unwrap_or_default();
    let end = (text.len() - LONGEST / 2..).find(is_boundary).unwrap_or(text.len());
    format!("{} ... {}", &text[..start], &text[end..])
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
        | Reason::PolicyInvalid
        | Reason::RunnerPodUnusable
        | Reason::StartFailed
        | Reason::TemplateInvalid
        | Reason::VolumeReadOnly => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fits_in_the_headers_that_a_client_takes() {
        for text in ["x", "\u{e9}", "\u{1f980}", "\n", "%"] {
            let failure = Failure::new(
                Reason::InvalidInput,
                format!("Volume {} is wrong", text.repeat(1 << 20)),
                format!("Correct {}", text.repeat(1 << 20)),
            );
            let status = of(&failure);
            assert!(
                status.message().starts_with("Volume ") && status.message().ends_with(" is wrong")
            );
            let headers = status.into_http::<()>().into_parts().0.headers;
            let size: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(size < 14 << 10, "{size} bytes with {text:?}");
        }
    }

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
    fn every_reason_has_a_heading_to_link_to() {
        let docs = include_str!("../../../docs/errors.md");
        let headings: Vec<_> = docs.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let mut reasons = Reason::ALL.map(|reason| format!("`{reason}`"));
        reasons.sort();
        assert_eq!(headings, reasons, "docs/errors.md has a heading for each reason, in order");
    }
}
