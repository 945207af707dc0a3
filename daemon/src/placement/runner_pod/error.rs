//! Builds in the container of a step that make no image.

use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::EndpointError;
use crate::error::{Explain, Reason};

/// Why Kaniko leaves no image on its container's root. What its log says of the Dockerfile is a
/// [`BuildError`](crate::build::error::BuildError).
#[derive(Debug, thiserror::Error)]
pub enum KanikoError {
    /// A build in the container of its step reached its time limit.
    #[error("The build took longer than {} s, and was ended", .limit.as_secs())]
    Late {
        /// The limit.
        limit: Duration,
    },

    /// hookd, which serves the images of a build in the runner pod, ended too often during one.
    #[error(
        "The build of {} was interrupted {attempts} times: hookd was started again", .dockerfile.display()
    )]
    Interrupted {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// Number of attempts.
        attempts: u32,
    },

    /// The kernel killed Kaniko for its memory use.
    #[error("The build of {} was killed: memory ran out", .dockerfile.display())]
    OutOfMemory {
        /// The Dockerfile.
        dockerfile: PathBuf,
    },

    /// The builder's image has no program at its place.
    #[error("The builder image {image} cannot build: {why}")]
    NoBuilder {
        /// The image.
        image: String,
        /// stepd's message.
        why: String,
    },

    /// stepd ended the build.
    #[error("The build of {} was ended: {why}", .dockerfile.display())]
    Ended {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// stepd's message.
        why: String,
    },

    /// The hook template sets rights for container steps, and a builder needs its own.
    #[error(
        "The build of {} cannot run in the runner pod: the hook template sets a `securityContext` for \
         container steps, and a build needs its own", .dockerfile.display()
    )]
    RightsOfTemplate {
        /// The Dockerfile.
        dockerfile: PathBuf,
    },

    /// Kaniko ended well, and has sent no configuration of an image that hookd can use.
    #[error("The build of {} succeeded, but its image has no usable configuration", .dockerfile.display())]
    NoConfiguration {
        /// The Dockerfile.
        dockerfile: PathBuf,
    },

    /// hookd cannot serve the images of a build in the runner pod.
    #[error("hookd cannot serve the images of the build")]
    NoEndpoint {
        /// The cause.
        source: EndpointError,
    },
}

impl Explain for KanikoError {
    fn reason(&self) -> Reason {
        match self {
            Self::Late { .. } => Reason::DeadlineExceeded,
            Self::Interrupted { .. } => Reason::StepLost,
            Self::RightsOfTemplate { .. } => Reason::Unsupported,
            Self::OutOfMemory { .. }
            | Self::Ended { .. }
            | Self::NoBuilder { .. }
            | Self::NoConfiguration { .. }
            | Self::NoEndpoint { .. } => Reason::BuildFailed,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::Late { .. } => {
                "Raise HOOKD_BUILD_TIMEOUT_SECONDS if the build needs longer; run the job again"
            }
            Self::Interrupted { .. } => {
                "Check the log of the hookd container for why it ended; run the job again"
            }
            Self::OutOfMemory { .. } => {
                "Raise the memory limit of the runner container or of its pod, or set a registry for built \
                 images (ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST): builds have pods of their own then"
            }
            Self::NoBuilder { .. } => {
                "Set HOOKD_KANIKO_IMAGE to an image that has Kaniko at /kaniko/executor, such as its default"
            }
            Self::Ended { .. } => "Check the disk of the node, and run the job again",
            Self::RightsOfTemplate { .. } => {
                "Set a registry for built images (ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST), so that \
                 builds have pods of their own, or take the `securityContext` of `$job` out of the template"
            }
            Self::NoConfiguration { .. } => {
                "Use a Kaniko image that pushes to --destination, such as the default of \
                 HOOKD_KANIKO_IMAGE, and ENV lines of 90 KB together at most"
            }
            Self::NoEndpoint { .. } => {
                "Check HOOKD_REGISTRY_MAP, HOOKD_REGISTRY_MIRRORS and HOOKD_INSECURE_REGISTRIES, and the \
                 log of the hookd container"
            }
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let dockerfile = || PathBuf::from("/home/runner/_work/_actions/o/action/v1/Dockerfile");
    let all = vec![
        KanikoError::Late { limit: Duration::from_secs(3600) },
        KanikoError::Interrupted { dockerfile: dockerfile(), attempts: 3 },
        KanikoError::OutOfMemory { dockerfile: dockerfile() },
        KanikoError::NoBuilder {
            image: "registry.example/kaniko:1".into(),
            why: "\"/kaniko/executor\" does not exist in the container".into(),
        },
        KanikoError::Ended {
            dockerfile: dockerfile(),
            why: "its output cannot be kept in /__hookd_run of the pod: No space left on device"
                .into(),
        },
        KanikoError::RightsOfTemplate { dockerfile: dockerfile() },
        KanikoError::NoConfiguration { dockerfile: dockerfile() },
        KanikoError::NoEndpoint {
            source: EndpointError::Serve(std::io::ErrorKind::AddrNotAvailable.into()),
        },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_build_in_the_runner_pod() {
        assert_complete(include_str!("error.rs"), "KanikoError", &super::examples());
    }
}
