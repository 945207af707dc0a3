//! A build that makes no image.

use std::path::PathBuf;
use std::time::Duration;

use crate::build::failure::BuilderFailure;
#[cfg(test)]
use crate::build::{context, failure, spec};
#[cfg(test)]
use crate::dockerfile;
use crate::dockerfile::{DockerfileError, Platform};
use crate::error::{Explain, Reason};
use crate::registry::client::RegistryError;

/// Why there is no image. What is wrong with a context is a
/// [`ContextError`](crate::build::context::ContextError).
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The client's cursor names an image that no build of this runner made.
    #[error("`resume.cursor` names image {image}, which is not in {repository}")]
    ForeignImage {
        /// The image.
        image: String,
        /// The repository of this runner's builds.
        repository: String,
    },

    /// The names of the Dockerfile's images cannot be determined.
    #[error(
        "The build of {} failed: dockerfile parse error on {source}", .dockerfile.display()
    )]
    ImagesUnknown {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The line, and what is wrong with it.
        source: DockerfileError,
    },

    /// The builder would make another image than docker, or docker makes none.
    #[error("The build of {} failed: {source}", .dockerfile.display())]
    Unsupported {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The line, and what is wrong with it.
        source: DockerfileError,
    },

    /// A thread that reads the context hangs in the kernel.
    #[error(
        "The build context of {} cannot be read: a call to the file system did not return within \
         {} s", .dockerfile.display(), .timeout.as_secs()
    )]
    ContextStalled {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// How long hookd waited.
        timeout: Duration,
    },

    /// No node takes the builder of an image for a platform.
    #[error("No node builds for {platform}: {why}")]
    NoNode {
        /// The platform.
        platform: Platform,
        /// What was waited for.
        why: String,
    },

    /// No Job of the build received the whole context.
    #[error(
        "The build context of {} could not be sent to {attempts} Jobs in turn: {why}",
        .dockerfile.display()
    )]
    ContextNotSent {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// Number of Jobs.
        attempts: u32,
        /// What happened to the last one.
        why: String,
    },

    /// The image is built, and cannot be given one of its names.
    #[error("The image is built, but cannot be pushed as {tag}")]
    NotCopied {
        /// The name.
        tag: String,
        /// Why.
        source: RegistryError,
    },

    /// The builder ended with an error.
    #[error("The build of {} failed: {}", .dockerfile.display(), .failure.why)]
    Builder {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// What its log says.
        failure: BuilderFailure,
    },

    /// The builder ended well, and its termination message has no digest.
    #[error("{builder} (Job {job}) succeeded but reported no image digest: {reported:?}")]
    NoDigest {
        /// Its name.
        builder: &'static str,
        /// Name of the Job.
        job: String,
        /// Its termination message.
        reported: String,
    },
}

impl Explain for BuildError {
    fn reason(&self) -> Reason {
        match self {
            Self::ForeignImage { .. } => Reason::InvalidInput,
            Self::ImagesUnknown { .. } | Self::Unsupported { .. } | Self::NoDigest { .. } => {
                Reason::BuildFailed
            }
            Self::ContextStalled { .. } => Reason::ContextInvalid,
            Self::NoNode { .. } => Reason::PodUnschedulable,
            Self::NotCopied { source, .. } if source.is_no_answer() => Reason::RegistryUnreachable,
            Self::NotCopied { .. } => Reason::RegistryRefused,
            Self::ContextNotSent { .. } => Reason::ApiUnreachable,
            Self::Builder { failure, .. } => failure.reason,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::ForeignImage { .. } => {
                "Send the cursor as hookd sent it; run the job again if the registry's settings have \
                 changed"
            }
            Self::ImagesUnknown { .. } => {
                "Correct the Dockerfile: the images that it names must be known before it is built"
            }
            Self::Unsupported { .. } => {
                "Change the line; docs/dockerfile-support.md says what hookd builds, and how"
            }
            Self::NoNode { .. } => {
                "Build for a platform that the cluster has nodes of, or add one: images are built on nodes of \
                 their own architecture"
            }
            Self::NotCopied { .. } => {
                "Check that the registry is up, and that ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET has \
                 credentials that may push there"
            }
            Self::ContextStalled { .. } => "Check the storage of the volume that the context is on",
            Self::ContextNotSent { .. } => {
                "Check the API server and the kubelet of the build's node; run the job again"
            }
            Self::Builder { failure, .. } => failure.remedy,
            Self::NoDigest { .. } => {
                "Use an image whose builder reports what it pushed, such as the defaults of \
                 HOOKD_KANIKO_IMAGE and HOOKD_BUILDKIT_IMAGE"
            }
        };
        help.to_owned()
    }
}

/// Each error once, and each kind of builders' failures, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let dockerfile = PathBuf::from("/home/runner/_work/_actions/o/action/v1/Dockerfile");
    let unknown = b"FROM debian\nCOPY --from=$STAGE / /\n";
    let mut all: Vec<Box<dyn Explain>> = vec![
        Box::new(BuildError::ForeignImage {
            image: "registry.example/other/image@sha256:0123".to_owned(),
            repository: "registry.example/hookd/build".to_owned(),
        }),
        Box::new(BuildError::ImagesUnknown {
            dockerfile: dockerfile.clone(),
            source: dockerfile::images(unknown).unwrap_err(),
        }),
        Box::new(BuildError::Unsupported {
            dockerfile: dockerfile.clone(),
            source: DockerfileError {
                line: 2,
                problem: "--checksum is not supported: the builder would not check it".to_owned(),
            },
        }),
        Box::new(BuildError::ContextStalled {
            dockerfile: dockerfile.clone(),
            timeout: Duration::from_secs(615),
        }),
        Box::new(BuildError::ContextNotSent {
            dockerfile: dockerfile.clone(),
            attempts: 3,
            why: "hookd was interrupted while it sent it".to_owned(),
        }),
        Box::new(BuildError::NotCopied {
            tag: "registry.example/team/app:1".to_owned(),
            source: RegistryError::Timeout { host: "registry.example".to_owned() },
        }),
        Box::new(BuildError::NoNode {
            platform: Platform::default(),
            why: "no node can take the pod: 0/1 nodes are available: 1 node(s) didn't match Pod's \
                  node affinity/selector."
                .to_owned(),
        }),
        Box::new(BuildError::NoDigest {
            builder: "Kaniko",
            job: "runner-1-build-1a2b-0".to_owned(),
            reported: String::new(),
        }),
    ];
    all.extend(failure::examples().into_iter().map(|failure| {
        let dockerfile = dockerfile.clone();
        Box::new(BuildError::Builder { dockerfile, failure }) as Box<dyn Explain>
    }));
    all.extend(context::examples());
    all.extend(spec::examples());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::examples::assert_complete;

    #[test]
    fn an_image_that_cannot_be_determined_is_reported_by_line() {
        let source = dockerfile::images(b"FROM a\nCOPY --from=$X / /\n").unwrap_err();
        let error = BuildError::ImagesUnknown { dockerfile: "/w/a/Dockerfile".into(), source };
        let message = error.to_string();
        assert!(message.contains("/w/a/Dockerfile failed: dockerfile parse error on line 2"));
    }

    #[test]
    fn the_examples_have_every_error_of_a_build() {
        assert_complete(include_str!("error.rs"), "BuildError", &examples());
    }
}
