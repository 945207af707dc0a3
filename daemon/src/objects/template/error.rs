//! What is wrong with the administrator's template.

use std::error::Error as StdError;

use crate::error::{Explain, Failure, Reason};

/// An error of the template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("The hook template {file} cannot be read: {source}")]
    Unreadable {
        /// Its path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("The hook template {file} is longer than {limit} bytes")]
    TooLong {
        /// Its path.
        file: String,
        /// In bytes.
        limit: usize,
    },
    /// The file is not YAML.
    #[error("The hook template {file} is not YAML: {source}")]
    NotYaml {
        /// Its path.
        file: String,
        /// Where and why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The file holds a list or a text.
    #[error("The hook template {file} is not an object")]
    NoObject {
        /// Its path.
        file: String,
    },
    /// A part of the file is not what it must be.
    #[error("`{part}` of the hook template {file} is not an object")]
    PartNoObject {
        /// `metadata` or `spec`.
        part: String,
        /// The file's path.
        file: String,
    },
    /// A field has a wrong type.
    #[error("`{path}` of the hook template {file} has a wrong type: {source}")]
    WrongType {
        /// Of the field.
        path: String,
        /// The file's path.
        file: String,
        /// What was expected.
        source: serde_json::Error,
    },
    /// A container lacks a field.
    #[error("`{path}` of the hook template {file} is missing")]
    Missing {
        /// Of the field.
        path: String,
        /// The file's path.
        file: String,
    },
    /// The result is no pod.
    #[error("The hook template does not make a valid {what}: {source}")]
    InvalidResult {
        /// `pod` or `build pod`.
        what: &'static str,
        /// What was expected.
        source: serde_json::Error,
    },
    /// hookd finds its pods by this label or annotation.
    #[error(
        "metadata.{kind}[{name}] of the hook template is hookd's own: its pods are found by it"
    )]
    OwnMetadata {
        /// `labels` or `annotations`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// hookd cannot work with this field set.
    #[error("{path} of the hook template cannot be set: {why}")]
    Forbidden {
        /// Of the field.
        path: String,
        /// Why.
        why: String,
    },
    /// The work volume is on another node.
    #[error(
        "spec.nodeName of the hook template cannot be {node}: the work volume can be mounted on the \
         runner's node {own} only"
    )]
    OtherNode {
        /// The template's node.
        node: String,
        /// The runner's node.
        own: String,
    },
    /// A container has the name of one of hookd's.
    #[error(
        "spec.containers[{name}] of the hook template is hookd's own: name it `${name}` to change \
         that container, or choose another name to add one"
    )]
    OwnContainer {
        /// Its name.
        name: String,
    },
    /// A mount hides what hookd needs.
    #[error("{path}[{target}] of the hook template is hookd's own: mount it elsewhere")]
    OwnMount {
        /// Of the list.
        path: String,
        /// The directory.
        target: String,
    },
    /// An entry of a list has the name of one of hookd's.
    #[error("{path}[{key}] of the hook template is hookd's own: choose another name")]
    OwnEntry {
        /// Of the list.
        path: String,
        /// Name of the entry.
        key: String,
    },
    /// Two entries of a list have the same name.
    #[error("{path}[{key}] of the hook template stands there twice: choose another name")]
    DoubleEntry {
        /// Of the list.
        path: String,
        /// Name of the entry.
        key: String,
    },
    /// A mount of a build hides what Kaniko needs.
    #[error(
        "`$build` of the hook template mounts {volume} at {target:?}, where Kaniko needs its own files"
    )]
    MountOverKaniko {
        /// The volume, in quotes.
        volume: String,
        /// The directory.
        target: String,
    },
    /// A mount of a build has no volume.
    #[error("`$build` of the hook template mounts {volume}, which is not a volume of the template")]
    NoVolume {
        /// The volume, in quotes.
        volume: String,
    },
    /// A volume of a build has the name of one of hookd's.
    #[error(
        "`$build` of the hook template mounts {volume}, a name that a volume of the build's pod has \
         already"
    )]
    VolumeTaken {
        /// The volume, in quotes.
        volume: String,
    },
    /// Kaniko cannot work with this security context.
    #[error(
        "`securityContext.{field}` of `$build` in the hook template keeps Kaniko from working: it \
         writes base images onto its own root as root"
    )]
    KanikoForbidden {
        /// Of the security context.
        field: &'static str,
    },
    /// A call wants the builder where the template does not let it run.
    #[error(
        "The build asks for a node of architecture {wanted}, and the hook template for one of {chosen}"
    )]
    OtherArchitecture {
        /// The template's.
        chosen: String,
        /// The call's.
        wanted: String,
    },
    /// The container of a build does not take this field.
    #[error(
        "`{field}` of `$build` in the hook template cannot be used: it takes env, envFrom, \
         resources, securityContext and volumeMounts"
    )]
    BuildField {
        /// The field.
        field: String,
    },
    /// An error that was found when the file was read.
    #[error("{source} (in {file})")]
    InFile {
        /// Its path.
        file: String,
        /// The error.
        source: Failure,
    },
}

impl Explain for TemplateError {
    fn reason(&self) -> Reason {
        match self {
            Self::InFile { source, .. } => source.reason,
            _ => Reason::TemplateInvalid,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::InFile { source, .. } => return source.remedy.clone(),
            Self::OtherArchitecture { .. } => {
                "Build without `platform`, or leave kubernetes.io/arch out of the template's nodeSelector"
            }
            Self::Unreadable { .. } => {
                "Mount the file into the hookd container, or unset \
                 ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE"
            }
            _ => {
                "Correct the file that ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE names: it has the shape \
                 of a PodTemplateSpec (docs/operations.md says how each field is merged)"
            }
        }
        .to_owned()
    }
}

#[cfg(test)]
mod examples;

#[cfg(test)]
pub(crate) use examples::examples;
