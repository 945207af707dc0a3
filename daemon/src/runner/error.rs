//! Why steps cannot use the runner's work directory.

use std::path::PathBuf;

use crate::error::{Explain, Reason};

/// What the runner pod's own object, or its claim, rules out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    /// Others may have other parts of the claim, which a step could reach.
    #[error(
        "The work directory is the part {sub_path:?} (subPath) of claim {claim}: a step could mount \
         the other parts, of other runners for example"
    )]
    SharedClaim {
        /// Name of the claim.
        claim: String,
        /// The part.
        sub_path: String,
    },
    /// Which part of the claim is mounted depends on a variable that is not known.
    #[error(
        "The subPathExpr of the work directory names the variable {variable}, whose value the runner \
         pod does not show"
    )]
    UnknownSubPath {
        /// Its name.
        variable: String,
    },
    /// A volume that jobs in the runner pod need.
    #[error("Jobs cannot run in the runner pod: its hookd container has no volume at {}", path.display())]
    NoJobVolume {
        /// Where it is to be mounted.
        path: PathBuf,
    },
    /// An ephemeral container mounts whole volumes only.
    #[error(
        "Jobs cannot run in the runner pod: its work directory is a part (subPath) of volume {volume}"
    )]
    PartOfVolume {
        /// Name of the volume.
        volume: String,
    },
    /// A step would see, and could pose as, processes of every other container.
    #[error("Jobs cannot run in the runner pod: it sets shareProcessNamespace")]
    SharedProcesses,
    /// It would hold for the containers of a job too, whose images have their own users.
    #[error(
        "Jobs cannot run in the runner pod: its securityContext sets {field} for all containers"
    )]
    UserOfPod {
        /// The field.
        field: &'static str,
    },
    /// The node would not read the Secret that takes the credentials of jobs.
    #[error(
        "Jobs cannot run in the runner pod: HOOKD_PULL_SECRET is {secret:?}, which its `imagePullSecrets` \
         do not name"
    )]
    PullSecretNotListed {
        /// Name of the Secret.
        secret: String,
    },
    /// One pod at a time can mount the claim, and the runner does.
    #[error("Claim {claim} is ReadWriteOncePod: no step can mount the work directory")]
    ClaimOfOnePod {
        /// Name of the claim.
        claim: String,
    },
}

impl Explain for RunnerError {
    fn reason(&self) -> Reason {
        match self {
            Self::SharedClaim { .. } | Self::UnknownSubPath { .. } | Self::ClaimOfOnePod { .. } => {
                Reason::ClaimUnusable
            }
            Self::NoJobVolume { .. }
            | Self::PartOfVolume { .. }
            | Self::SharedProcesses
            | Self::PullSecretNotListed { .. }
            | Self::UserOfPod { .. } => Reason::RunnerPodUnusable,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::SharedClaim { .. } => {
                "Give each runner a claim of its own (`ephemeral`, as in deploy/values-own-pod.yaml); if all \
                 that the claim holds may be seen by every job, set HOOKD_TRUST_SHARED_CLAIM=true"
            }
            Self::UnknownSubPath { .. } => {
                "Use variables with a `value` or a `fieldRef` of the same container"
            }
            Self::ClaimOfOnePod { .. } => {
                "Use a claim with access mode ReadWriteOnce or ReadWriteMany"
            }
            Self::NoJobVolume { .. } => {
                "Take the volumes and mounts of deploy/values.yaml, or set \
                 HOOKD_JOB_PLACEMENT=own-pod with the work directory on a claim"
            }
            Self::PartOfVolume { .. } => {
                "Mount a whole volume at the work directory, or set HOOKD_JOB_PLACEMENT=own-pod"
            }
            Self::SharedProcesses => {
                "Remove shareProcessNamespace from the runner pod, or set HOOKD_JOB_PLACEMENT=own-pod"
            }
            Self::PullSecretNotListed { .. } => {
                "Add it to `imagePullSecrets` of the runner pod (deploy/rbac-pull-secret.yaml), or unset \
                 HOOKD_PULL_SECRET"
            }
            Self::UserOfPod { .. } => {
                "Set it in the securityContext of the containers runner and hookd instead, or set \
                 HOOKD_JOB_PLACEMENT=own-pod"
            }
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let claim = || "work".to_owned();
    vec![
        Box::new(RunnerError::SharedClaim { claim: claim(), sub_path: "runner-1".into() }),
        Box::new(RunnerError::UnknownSubPath { variable: "POD_NAME".into() }),
        Box::new(RunnerError::ClaimOfOnePod { claim: claim() }),
        Box::new(RunnerError::NoJobVolume { path: "/run/hookd-agents/steps".into() }),
        Box::new(RunnerError::PartOfVolume { volume: claim() }),
        Box::new(RunnerError::SharedProcesses),
        Box::new(RunnerError::PullSecretNotListed { secret: "hookd-pull".into() }),
        Box::new(RunnerError::UserOfPod { field: "runAsUser" }),
    ]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_the_runner() {
        assert_complete(include_str!("error.rs"), "RunnerError", &super::examples());
    }
}
