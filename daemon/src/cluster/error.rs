//! What can go wrong with the Kubernetes API, with objects of ours, and with their pods.

use std::error::Error as StdError;

use kube::core::Status;

use crate::cluster::interruption;
use crate::cluster::refusal::Refusal;
use crate::error::{Explain, Reason};
use crate::names::{REGISTRY_CREDENTIALS, REGISTRY_ENDPOINT};

/// An error of the cluster. Callers that act on one find it with
/// [`Failure::cause`](crate::error::Failure::cause).
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is neither a service account nor a KUBECONFIG that can be used.
    #[error("No access to a Kubernetes API is configured")]
    NotConfigured {
        /// What is missing.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The API server could not be reached, or did not answer in time.
    #[error("The Kubernetes API server did not answer when hookd tried to {action}")]
    NoAnswer {
        /// What was asked for: "create Job ns/name".
        action: String,
        /// The last error.
        source: Box<kube::Error>,
    },
    /// The API server refused a request.
    #[error("Kubernetes refused to {action}: {message}")]
    Refused {
        /// What was asked for: "create Job ns/name".
        action: String,
        /// The API server's own words.
        message: String,
        /// What refused.
        refusal: Refusal,
    },
    /// The service account lacks permissions that every step needs.
    #[error("hookd's service account may not {} in namespace {namespace}", permissions.join(", "))]
    PermissionsMissing {
        /// The runner's.
        namespace: String,
        /// Each as "create jobs.batch".
        permissions: Vec<String>,
    },
    /// An object of that name is there, and it is not this step's, or it is being deleted.
    #[error("{kind} {name} exists and is not this step's, or is being deleted")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The job's pod is another runner's.
    #[error("Pod {name} exists and belongs to runner {other}, not to {runner}")]
    PodOfAnotherRunner {
        /// The pod.
        name: String,
        /// The runner in its label.
        other: String,
        /// This runner.
        runner: String,
    },
    /// The job's pod is no runner's.
    #[error("Pod {name} exists and belongs to no runner: it has no label {label}")]
    PodOfNoRunner {
        /// The pod.
        name: String,
        /// The label that names the runner.
        label: &'static str,
    },
    /// The pod was deleted.
    #[error("Pod {name} was deleted while its program ran")]
    PodDeleted {
        /// The pod.
        name: String,
    },
    /// The cluster took the pod from its node, and said why.
    #[error("Pod {name} was taken from its node ({reason}): {message}")]
    Disrupted {
        /// The pod.
        name: String,
        /// Reason of its condition `DisruptionTarget`.
        reason: String,
        /// Message of that condition.
        message: String,
    },
    /// The kubelet evicted the pod.
    #[error("The pod was evicted ({reason}): {message}")]
    Evicted {
        /// Reason of the pod's status.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The pod failed as a whole.
    #[error("Pod {name} failed before its program ended ({reason}): {message}")]
    PodFailed {
        /// The pod.
        name: String,
        /// Reason of its status.
        reason: String,
        /// Message of its status.
        message: String,
    },
    /// The scheduler does not find a claim of the pod.
    #[error("The pod cannot be scheduled: {message}")]
    ClaimNotFound {
        /// The scheduler's own words.
        message: String,
    },
    /// A volume of the pod is on a node that cannot take it.
    #[error("The pod cannot be scheduled: {message}")]
    VolumeOnOtherNode {
        /// The scheduler's own words.
        message: String,
    },
    /// An init container failed, so that the pod's own are never started.
    #[error("Init container {container} ended with exit code {exit_code}: {message}")]
    InitContainerFailed {
        /// Its name.
        container: String,
        /// Its exit code.
        exit_code: i32,
        /// Its termination message.
        message: String,
    },
    /// The image's name is not one.
    #[error("{image:?} is not an image name")]
    InvalidImageName {
        /// What stands in its place.
        image: String,
    },
    /// The kubelet could not pull the image.
    #[error("Image {image} could not be pulled: {cause}")]
    PullFailed {
        /// Its name.
        image: String,
        /// The registry's own words, on one line.
        cause: String,
        /// What they mean.
        problem: PullProblem,
    },
    /// The kubelet does not know yet whether the pod's Secrets and ConfigMaps exist.
    #[error(
        "The kubelet has not read the pod's Secrets and ConfigMaps from the API server yet: {message}"
    )]
    ConfigNotSynced {
        /// The kubelet's own words.
        message: String,
    },
    /// The kubelet lacks what the container's configuration names.
    #[error("The kubelet cannot configure the container: {message}")]
    ConfigUnusable {
        /// The kubelet's own words.
        message: String,
    },
    /// A Secret or ConfigMap that the pod mounts does not exist, or lacks a key.
    #[error("A volume of the pod cannot be mounted: {message}")]
    MountMissing {
        /// The kubelet's own words.
        message: String,
    },
    /// The node cannot mount images as volumes; an init container can do the same.
    #[error("The node's container runtime has no image volumes: {message}")]
    NoImageVolumes {
        /// The runtime's own words.
        message: String,
    },
    /// The container exists and its program cannot be started.
    #[error("The container's program could not be started: {message}")]
    ProgramNotStarted {
        /// The runtime's own words.
        message: String,
    },
    /// The kernel killed the container for its memory use.
    #[error(
        "The container, or a process in it, was killed because it used more memory than {} (OOMKilled)",
        memory(limit.as_deref())
    )]
    OomKilled {
        /// Its memory limit; none: all of the node's memory.
        limit: Option<String>,
    },
    /// The log of the pod is not there any more.
    #[error("The log of pod {pod} is gone")]
    LogGone {
        /// The pod.
        pod: String,
        /// The answer of the API server or of the kubelet.
        source: Box<kube::Error>,
    },
    /// The log could not be read for as long as hookd waits for the API.
    #[error("Streaming the log of pod {pod} keeps failing: {why}")]
    LogUnreadable {
        /// The pod.
        pod: String,
        /// The last error.
        why: String,
    },
    /// The node began a new log file before hookd had read the old one.
    #[error(
        "Output after {after} is lost, or may be: the node began a new log file before hookd had \
         read the old one to its end (the log goes on {})",
        next.as_deref().map_or_else(|| "with nothing".to_owned(), |next| format!("at {next}"))
    )]
    OutputLost {
        /// Time stamp of the newest line that was read.
        after: String,
        /// Time stamp of the first line behind the gap, if there is one.
        next: Option<String>,
    },
    /// It is not known whether the container has all of its standard input.
    #[error("The build context could not be sent to pod {pod}")]
    ContextNotSent {
        /// The pod.
        pod: String,
        /// What broke.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Why the kubelet could not pull an image, by the registry's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullProblem {
    /// The kubelet waits before it tries again, and does not say why it failed.
    BackOff,
    /// The registry has no such image.
    NotFound,
    /// The registry does not let the node read it.
    Denied,
    /// The node does not reach the registry.
    Unreachable,
    /// Something else.
    Other,
}

fn memory(limit: Option<&str>) -> String {
    limit.map_or_else(|| "its node has".to_owned(), |limit| format!("its limit of {limit}"))
}

impl ClusterError {
    /// What an error of a request means; `action` completes "could not ...".
    pub fn from_request(action: impl Into<String>, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(action, &status),
            error => Self::NoAnswer { action: action.into(), source: Box::new(error) },
        }
    }

    /// The API server answered a request with this status.
    pub fn refused(action: impl Into<String>, status: &Status) -> Self {
        let (action, message) = (action.into(), status.message.clone());
        Self::Refused { action, message, refusal: Refusal::of(status) }
    }

    /// True if a quota of the namespace is used up: it has room again when other pods end.
    pub fn is_quota_exceeded(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.is_quota_exceeded())
    }

    /// True for a refusal that waiting does not cure: of the object itself, by the API server or by
    /// admission.
    pub fn is_final_refusal(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.is_final())
    }

    /// True if the API server did not answer, or could not do what it was asked for.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NotConfigured { .. } | Self::NoAnswer { .. } => true,
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::ServerFailed),
            _ => false,
        }
    }

    /// True for a container whose start the kubelet, or the runtime, did not see to its end: it was
    /// killed meanwhile. The program may have begun and was killed.
    pub fn is_interrupted_start(&self) -> bool {
        matches!(self, Self::ProgramNotStarted { message } if interruption::is_told_by(message))
    }

    /// True if the program of that container has not begun.
    pub fn is_before_start(&self) -> bool {
        matches!(self, Self::ProgramNotStarted { message } if interruption::is_before_start(message))
    }

    /// True if the pod is lost without a reason of its own: it was deleted, it failed, or its log
    /// is gone. The end of its Job may be the cause.
    pub fn is_pod_lost(&self) -> bool {
        match self {
            Self::PodDeleted { .. } | Self::LogGone { .. } => true,
            Self::PodFailed { reason, .. } => !is_deadline(reason),
            _ => false,
        }
    }
}

/// The reason of a pod or Job that ran longer than its `activeDeadlineSeconds`.
fn is_deadline(reason: &str) -> bool {
    reason == "DeadlineExceeded"
}

impl Explain for ClusterError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotConfigured { .. }
            | Self::NoAnswer { .. }
            | Self::LogUnreadable { .. }
            | Self::ContextNotSent { .. } => Reason::ApiUnreachable,
            Self::Refused { refusal, .. } => refusal.reason(),
            Self::PermissionsMissing { .. } => Reason::PermissionMissing,
            Self::PodFailed { reason, .. } if is_deadline(reason) => Reason::DeadlineExceeded,
            Self::NameTaken { .. }
            | Self::PodOfAnotherRunner { .. }
            | Self::PodOfNoRunner { .. }
            | Self::PodDeleted { .. }
            | Self::PodFailed { .. }
            | Self::LogGone { .. } => Reason::StepLost,
            Self::Disrupted { .. } | Self::Evicted { .. } => Reason::Evicted,
            Self::ClaimNotFound { .. } | Self::VolumeOnOtherNode { .. } => Reason::ClaimUnusable,
            Self::InitContainerFailed { .. }
            | Self::ConfigNotSynced { .. }
            | Self::ConfigUnusable { .. }
            | Self::MountMissing { .. }
            | Self::ProgramNotStarted { .. } => Reason::StartFailed,
            Self::PullFailed { problem: PullProblem::Unreachable, .. } => {
                Reason::RegistryUnreachable
            }
            Self::InvalidImageName { .. } | Self::PullFailed { .. } => Reason::ImagePullFailed,
            Self::NoImageVolumes { .. } => Reason::Unsupported,
            Self::OomKilled { .. } => Reason::OomKilled,
            Self::OutputLost { .. } => Reason::OutputLost,
        }
    }

    fn help(&self) -> String {
        help::of(self).to_owned()
    }
}

mod help;

#[cfg(test)]
mod examples;

#[cfg(test)]
pub(crate) use examples::examples;
