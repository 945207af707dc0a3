//! The one error that crosses module borders: why an operation failed, with a message for its user.

use std::error::Error as StdError;
use std::fmt;

mod common;
#[cfg(test)]
pub(crate) mod examples;

pub use common::CommonError;

/// A stable name for a kind of failure; `docs/errors.md` lists them with their remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An admission controller refused the pod (Pod Security, a policy engine).
    AdmissionDenied,
    /// The Kubernetes API server could not be reached, or did not answer in time.
    ApiUnreachable,
    /// The image could not be built.
    BuildFailed,
    /// The step was cancelled by its client, or its runner is going away.
    Cancelled,
    /// A PersistentVolumeClaim is missing or cannot be used.
    ClaimUnusable,
    /// The build context cannot be read safely.
    ContextInvalid,
    /// The daemon died again and again while it worked on the call.
    DaemonCrashed,
    /// A time limit passed.
    DeadlineExceeded,
    /// The kubelet evicted the pod.
    Evicted,
    /// The kubelet could not pull the image.
    ImagePullFailed,
    /// The call or the hook input is wrong.
    InvalidInput,
    /// A defect of hookd, or an answer of the cluster that it does not know.
    Internal,
    /// The container was killed for its memory use.
    OomKilled,
    /// Part of the output was lost on the way.
    OutputLost,
    /// hookd's account lacks a permission.
    PermissionMissing,
    /// The workflow asks for what the administrator of the runner does not allow.
    PolicyDenied,
    /// The administrator's policy for workflows is wrong.
    PolicyInvalid,
    /// No node has room for the pod, or none matches.
    PodUnschedulable,
    /// A resource quota of the namespace is used up.
    QuotaExceeded,
    /// The registry took the connection and refused the request.
    RegistryRefused,
    /// The registry cannot be reached.
    RegistryUnreachable,
    /// Jobs cannot run in the runner pod as it is.
    RunnerPodUnusable,
    /// The container exists and its program cannot be started.
    StartFailed,
    /// The step's Job or pod vanished.
    StepLost,
    /// The administrator's template for pods of jobs is wrong.
    TemplateInvalid,
    /// More calls at once, or larger ones, than hookd takes.
    TooManyCalls,
    /// This version of hookd does not do that.
    Unsupported,
    /// The work volume has no space or no inodes left.
    VolumeFull,
    /// The work volume is mounted read-only.
    VolumeReadOnly,
    /// A file operation on a volume did not end in time.
    VolumeStalled,
}

impl Reason {
    /// True where, as a rule, the workflow asks for what cannot be done, or is not allowed: hookd and the cluster
    /// are well. What a wrong setting of the administrator causes as well is not among them.
    pub fn is_of_workflow(self) -> bool {
        matches!(
            self,
            Self::BuildFailed
                | Self::ContextInvalid
                | Self::ImagePullFailed
                | Self::InvalidInput
                | Self::OomKilled
                | Self::PolicyDenied
                | Self::TooManyCalls
        )
    }

    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::AdmissionDenied,
        Self::ApiUnreachable,
        Self::BuildFailed,
        Self::Cancelled,
        Self::ClaimUnusable,
        Self::ContextInvalid,
        Self::DaemonCrashed,
        Self::DeadlineExceeded,
        Self::Evicted,
        Self::ImagePullFailed,
        Self::InvalidInput,
        Self::Internal,
        Self::OomKilled,
        Self::OutputLost,
        Self::PermissionMissing,
        Self::PolicyDenied,
        Self::PolicyInvalid,
        Self::PodUnschedulable,
        Self::QuotaExceeded,
        Self::RegistryRefused,
        Self::RegistryUnreachable,
        Self::RunnerPodUnusable,
        Self::StartFailed,
        Self::StepLost,
        Self::TemplateInvalid,
        Self::TooManyCalls,
        Self::Unsupported,
        Self::VolumeFull,
        Self::VolumeReadOnly,
        Self::VolumeStalled,
    ];

    /// The name on the wire, in `ErrorInfo.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdmissionDenied => "ADMISSION_DENIED",
            Self::ApiUnreachable => "API_UNREACHABLE",
            Self::BuildFailed => "BUILD_FAILED",
            Self::Cancelled => "CANCELLED",
            Self::ClaimUnusable => "CLAIM_UNUSABLE",
            Self::ContextInvalid => "CONTEXT_INVALID",
            Self::DaemonCrashed => "DAEMON_CRASHED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Evicted => "EVICTED",
            Self::ImagePullFailed => "IMAGE_PULL_FAILED",
            Self::InvalidInput => "INVALID_INPUT",
            Self::Internal => "INTERNAL",
            Self::OomKilled => "OOM_KILLED",
            Self::OutputLost => "OUTPUT_LOST",
            Self::PermissionMissing => "PERMISSION_MISSING",
            Self::PolicyDenied => "POLICY_DENIED",
            Self::PolicyInvalid => "POLICY_INVALID",
            Self::PodUnschedulable => "POD_UNSCHEDULABLE",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::RegistryRefused => "REGISTRY_REFUSED",
            Self::RegistryUnreachable => "REGISTRY_UNREACHABLE",
            Self::RunnerPodUnusable => "RUNNER_POD_UNUSABLE",
            Self::StartFailed => "START_FAILED",
            Self::StepLost => "STEP_LOST",
            Self::TemplateInvalid => "TEMPLATE_INVALID",
            Self::TooManyCalls => "TOO_MANY_CALLS",
            Self::Unsupported => "UNSUPPORTED",
            Self::VolumeFull => "VOLUME_FULL",
            Self::VolumeReadOnly => "VOLUME_READ_ONLY",
            Self::VolumeStalled => "VOLUME_STALLED",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of one room, as the user of the step reads it. Each room has one enum of them, in its
/// `error.rs`.
pub trait Explain: StdError + Send + Sync + 'static {
    /// The kind.
    fn reason(&self) -> Reason;

    /// What the user can do about it: one sentence without its full stop.
    fn help(&self) -> String;
}

/// What failed, in one sentence that names the object, and what the user can do about it. `?` makes
/// it of any error that [`Explain`]s itself.
#[derive(Debug)]
pub struct Failure {
    /// The kind.
    pub reason: Reason,
    /// One sentence without its full stop.
    pub message: String,
    /// One sentence without its full stop.
    pub remedy: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure without a cause.
    pub fn new(reason: Reason, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason, message: message.into(), remedy: remedy.into(), source: None }
    }

    /// The same failure with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The first error of type `E` among the causes: for callers that act on what failed. They match
    /// on the error, never on its reason, which is for users.
    pub fn cause<E: StdError + 'static>(&self) -> Option<&E> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }

    /// True for the failure of a step that was cancelled.
    pub fn is_cancelled(&self) -> bool {
        let error = self.source.as_deref().and_then(|source| source.downcast_ref());
        matches!(error, Some(CommonError::Cancelled))
    }

    /// The step was cancelled.
    pub fn cancelled() -> Self {
        CommonError::Cancelled.into()
    }

    /// A client came to a step that was ended without it: it is never run again.
    pub fn undone() -> Self {
        CommonError::StepEnded.into()
    }

    /// A defect: something that the design rules out.
    pub fn internal(message: impl Into<String>) -> Self {
        CommonError::Defect { what: message.into(), source: None }.into()
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.reason(), error.to_string(), error.help()).with_source(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error and its causes in one line; a cause that the text before it already contains is left out.
pub fn report(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
