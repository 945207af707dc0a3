//! What no container can be made of: a step's input, the options of a container, its mounts.

use std::path::PathBuf;

use crate::error::{Explain, Failure, Reason};

/// An error of what a call asks for. Those of the administrator's template are
/// [`TemplateError`](crate::objects::template::error::TemplateError).
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A container step without an image.
    #[error("The container step names neither an image nor a Dockerfile")]
    NoSource,
    /// A container step with two images.
    #[error("The container step names both image {image} and Dockerfile {dockerfile}")]
    TwoSources {
        /// The image.
        image: String,
        /// The Dockerfile.
        dockerfile: String,
    },
    /// A container of the job without an image.
    #[error("Container {container} of the job names no image")]
    NoImage {
        /// The container.
        container: String,
    },
    /// A script step without a program.
    #[error("The script step names no program")]
    NoProgram,
    /// An argument that Linux gives to no program.
    #[error("Argument {number} has {size} bytes, {limit} is the limit")]
    ArgumentTooLarge {
        /// From 1 on.
        number: usize,
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// A variable that Linux gives to no program.
    #[error("The environment variable {name} has {size} bytes, {limit} is the limit")]
    VariableTooLarge {
        /// Its name, or the start of it.
        name: String,
        /// In bytes, with its name.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// Arguments and environment that Linux gives to no program.
    #[error("The arguments and environment have {size} bytes, {limit} is the limit")]
    ProgramTooLarge {
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// An environment that no Secret can hold.
    #[error("The step's environment has {size} bytes, {limit} is the limit")]
    EnvironmentTooLarge {
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// More variables than a pod can have.
    #[error("The container has {number} environment variables, {limit} is the limit")]
    TooManyVariables {
        /// How many there are.
        number: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A path or name that is too long to be one.
    #[error("`{field}` has {size} bytes, {limit} is the limit")]
    TextTooLong {
        /// The field of the call.
        field: &'static str,
        /// In bytes.
        size: usize,
        /// In bytes.
        limit: usize,
    },
    /// More volumes or ports than a container can have.
    #[error("`{field}` has {number} entries, {limit} is the limit")]
    TooManyEntries {
        /// The field of the call.
        field: &'static str,
        /// How many there are.
        number: usize,
        /// How many there can be.
        limit: usize,
    },
    /// A name that no variable can have.
    #[error("{name:?} is not a name of an environment variable")]
    InvalidVariableName {
        /// What stands in its place.
        name: String,
    },
    /// A value that no variable can have.
    #[error("The value of the environment variable {name} holds a NUL")]
    VariableWithNul {
        /// The variable.
        name: String,
    },
    /// A flag of `options:` that docker does not take.
    #[error("`{option}` in `options:` {problem}")]
    InvalidOption {
        /// The flag as the workflow has it.
        option: String,
        /// "is not a flag of ...".
        problem: String,
    },
    /// A flag of `options:` that the administrator does not allow.
    #[error(
        "Container {container} asks for `{option}` in `options:`, which the administrator of this \
         runner does not allow"
    )]
    OptionDenied {
        /// The container.
        container: String,
        /// The flag with its value.
        option: String,
        /// The setting that allows it, as `NAME=value`.
        setting: String,
    },
    /// A mapping that is not a port.
    #[error("{mapping:?} in `ports:` is not a port")]
    InvalidPort {
        /// What the workflow has.
        mapping: String,
    },
    /// Two containers of one pod listen at the same port.
    #[error(
        "Port {port} ({protocol}) is asked for by both container {one} and container {other}, by \
         `ports:` or by EXPOSE of their images; they share the network of the job's pod"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// TCP, UDP or SCTP.
        protocol: String,
        /// The first container.
        one: String,
        /// The second.
        other: String,
    },
    /// A volume that no pod can mount.
    #[error("Container {container}: volume {volume:?} cannot be mounted: {problem}")]
    VolumeRefused {
        /// The container.
        container: String,
        /// The volume as the workflow has it.
        volume: String,
        /// Why.
        problem: String,
    },
    /// A mount of a directory that steps do not share with the runner.
    #[error(
        "{path:?} cannot be mounted at {target}: it does not lie beneath the work directory {}",
        work_dir.display()
    )]
    OutsideWorkDir {
        /// The directory on the runner.
        path: String,
        /// Where it would be, in the container.
        target: String,
        /// The runner's work directory.
        work_dir: PathBuf,
    },
    /// A wall around the job's pod that the runner pod cannot give to a part of it.
    #[error("`spec.{field}` of the hook template does not hold for a job in the runner pod")]
    NotInRunnerPod {
        /// The field.
        field: String,
    },
    /// The runner pod has no empty volume left.
    #[error(
        "Container {container} gets no volume at {target}: all {number} spare volumes of the runner \
         pod are in use"
    )]
    NoSpareVolume {
        /// The container.
        container: String,
        /// Where it was to be.
        target: String,
        /// How many the pod has.
        number: usize,
    },
    /// The runner's work directory cannot be mounted in another pod.
    #[error("The work directory {} is on no PersistentVolumeClaim", work_dir.display())]
    NoClaim {
        /// The runner's work directory.
        work_dir: PathBuf,
    },
    /// The registry endpoint of a build has no image to run from.
    #[error(
        "Dockerfile actions need the image of hookd itself, and the runner pod has no container that \
         is known to be hookd"
    )]
    NoHookdImage,
    /// A buildkitd that hookd would have to speak to without a certificate.
    #[error("Builds with {address} need a client certificate, and none is set")]
    NoBuildkitCertificate {
        /// As the settings have it.
        address: String,
    },
    /// The registry endpoint's settings are too long for a variable.
    #[error("The Dockerfile names {number} images: that is too many")]
    TooManyImages {
        /// How many there are.
        number: usize,
    },
    /// An error in what the workflow says of one container.
    #[error("Container {container}: {source}")]
    InContainer {
        /// The container.
        container: String,
        /// The error.
        source: Failure,
    },
}

const NO_CERTIFICATE: &str = "Name a Secret with tls.crt, tls.key and ca.crt in HOOKD_BUILDKIT_TLS_SECRET: who \
                              may use a buildkitd without one is every RUN of every build";

impl Explain for SpecError {
    fn reason(&self) -> Reason {
        match self {
            Self::InContainer { source, .. } => source.reason,
            Self::OptionDenied { .. } => Reason::PolicyDenied,
            Self::NoClaim { .. } => Reason::ClaimUnusable,
            Self::NoHookdImage
            | Self::NoBuildkitCertificate { .. }
            | Self::TooManyImages { .. }
            | Self::NotInRunnerPod { .. } => Reason::Unsupported,
            _ => Reason::InvalidInput,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::InContainer { source, .. } => return source.remedy.clone(),
            Self::OptionDenied { setting, .. } => {
                return format!(
                    "Remove the option from the workflow, or ask the administrator to set {setting} \
                     on the hookd container of the runner pod"
                );
            }
            Self::NoSource => "Check `image` of the action's action.yml",
            Self::TwoSources { .. } => "Set one of them",
            Self::NoImage { .. } => "Set `image:` in the workflow",
            Self::NoProgram => "Check `shell:` of the step",
            Self::ArgumentTooLarge { .. }
            | Self::VariableTooLarge { .. }
            | Self::ProgramTooLarge { .. } => {
                "Pass large values in files of the workspace: Linux starts no program with them"
            }
            Self::TextTooLong { .. } => "Shorten it in the workflow, or in the action's action.yml",
            Self::TooManyEntries { .. } => "Name fewer of them in the workflow",
            Self::EnvironmentTooLarge { .. } | Self::TooManyVariables { .. } => {
                "Pass values in files of the workspace"
            }
            Self::InvalidVariableName { .. } => "Rename it: a name is not empty and has no '='",
            Self::VariableWithNul { .. } => "Pass such a value in a file of the workspace",
            Self::InvalidOption { .. } => {
                "Correct the workflow: `options:` takes the flags of `docker create`"
            }
            Self::InvalidPort { .. } => "Write the container's port: 80, 8080:80, 80/udp or 6000-6002",
            Self::PortTaken { .. } => {
                "Let one of them listen at another port, and name that port in its `ports:`"
            }
            Self::VolumeRefused { .. } => {
                "Correct `volumes:` of the workflow: name a volume, or a directory of the work \
                 directory, and an absolute path in the container, as in data:/data"
            }
            Self::OutsideWorkDir { .. } => {
                "Mount directories of the work directory; if the runner's is another, set \
                 HOOKD_WORK_DIR"
            }
            Self::NotInRunnerPod { .. } => {
                "Set it in the runner pod itself and remove it from the template, or set \
                 HOOKD_JOB_PLACEMENT=own-pod"
            }
            Self::NoSpareVolume { .. } => "Add emptyDir volumes hookd-volume-<number> to the runner pod",
            Self::NoClaim { .. } => {
                "Mount a claim there in the runner pod (deploy/values-own-pod.yaml shows how), or set \
                 ACTIONS_RUNNER_CLAIM_NAME"
            }
            Self::NoHookdImage => {
                "Run hookd as a container of the runner pod that mounts HOOKD_SOCKET_DIR writable \
                 (deploy/runner-pod.yaml)"
            }
            Self::NoBuildkitCertificate { .. } => NO_CERTIFICATE,
            Self::TooManyImages { .. } => {
                "Split the Dockerfile, or name fewer HOOKD_REGISTRY_MIRRORS"
            }
        }
        .to_owned()
    }
}

#[cfg(test)]
mod examples;

#[cfg(test)]
pub(crate) use examples::examples;
