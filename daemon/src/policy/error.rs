//! What the policy refuses, and what is wrong with its file.

use crate::error::{Explain, Reason};
use crate::yaml::YamlError;

/// Patterns that a remedy lists.
const LISTED: usize = 5;

/// Why a call is refused. `rule` is the path of the rule in the file.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// An image that no pattern allows.
    #[error("{place} names image {image}, which rule {rule} of the runner's policy does not allow")]
    ImageNotAllowed {
        /// The container, or the line of the Dockerfile.
        place: String,
        /// The whole name.
        image: String,
        /// The rule.
        rule: String,
        /// Its patterns.
        allowed: Vec<String>,
    },
    /// A name that hookd cannot read, so that no rule can allow it.
    #[error(
        "{place} names image {image:?}, which is no image name: rule {rule} of the runner's policy \
             cannot allow it"
    )]
    NoImageName {
        /// As above.
        place: String,
        /// As the workflow has it.
        image: String,
        /// The rule.
        rule: String,
    },
    /// A name that container runtimes take for the id of any image on the node.
    #[error(
        "{place} names image {image}, which may be the id of an image on the node: rule {rule} of the \
             runner's policy does not allow it"
    )]
    ImageById {
        /// As above.
        place: String,
        /// The whole name.
        image: String,
        /// The rule.
        rule: String,
    },
    /// An image by a tag.
    #[error(
        "{place} names image {image} without a digest, which rule {rule} of the runner's policy requires"
    )]
    NoDigest {
        /// As above.
        place: String,
        /// The whole name.
        image: String,
        /// The rule.
        rule: String,
    },
    /// A flag, or its value.
    #[error(
        "Container {container} asks for `{option}` in `options:`, which rule {rule} of the runner's \
             policy does not allow"
    )]
    OptionNotAllowed {
        /// The container.
        container: String,
        /// The flag with its value.
        option: String,
        /// The rule.
        rule: String,
    },
    /// More than a flag may ask for.
    #[error(
        "Container {container} asks for more by `{option}` in `options:` than the {most} of rule {rule} \
             of the runner's policy"
    )]
    TooMuch {
        /// The container.
        container: String,
        /// The flag.
        option: String,
        /// The most.
        most: String,
        /// The rule.
        rule: String,
    },
    /// A volume's source or target.
    #[error(
        "Container {container}: volume {volume:?} has {what}, which rule {rule} of the runner's policy \
             does not allow"
    )]
    VolumeNotAllowed {
        /// The container.
        container: String,
        /// The volume as the workflow has it.
        volume: String,
        /// Its source or target.
        what: String,
        /// The rule.
        rule: String,
    },
    /// An event that may not build.
    #[error(
        "A Dockerfile is to be built for the event {event:?}, which rule {rule} of the runner's policy \
             does not allow"
    )]
    EventNotAllowed {
        /// The event.
        event: String,
        /// The rule.
        rule: String,
    },
    /// An event that is not known, or that a step could have named.
    #[error(
        "A Dockerfile is to be built, and the workflow's event is not known for certain: rule {rule} of \
             the runner's policy does not allow it"
    )]
    EventUnknown {
        /// The rule.
        rule: String,
    },
    /// The file cannot be read.
    #[error("The policy {file} of HOOKD_POLICY cannot be read")]
    Unreadable {
        /// Its path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no policy.
    #[error("The policy {file} of HOOKD_POLICY is wrong: {source}")]
    Malformed {
        /// Its path.
        file: String,
        /// The line, and what is wrong with it.
        source: YamlError,
    },
    /// A key without a value.
    #[error("The policy {file} of HOOKD_POLICY is wrong: {} has no value", shown_key(.key))]
    NoValue {
        /// Its path.
        file: String,
        /// The path of the key; empty: the whole file.
        key: String,
    },
}

fn shown_key(key: &str) -> &str {
    if key.is_empty() { "the file" } else { key }
}

impl PolicyError {
    /// The rule's path in the file; empty: the file itself is wrong.
    pub fn rule(&self) -> &str {
        match self {
            Self::ImageNotAllowed { rule, .. }
            | Self::NoImageName { rule, .. }
            | Self::ImageById { rule, .. }
            | Self::NoDigest { rule, .. }
            | Self::OptionNotAllowed { rule, .. }
            | Self::TooMuch { rule, .. }
            | Self::VolumeNotAllowed { rule, .. }
            | Self::EventNotAllowed { rule, .. }
            | Self::EventUnknown { rule } => rule,
            Self::Unreadable { .. } | Self::Malformed { .. } | Self::NoValue { .. } => "",
        }
    }

    /// What is said in place of a refusal, in `mode: audit`.
    pub fn would_be(&self) -> String {
        format!("{self}. It is not refused: the policy only audits. {}.", self.help())
    }
}

impl Explain for PolicyError {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable { .. } | Self::Malformed { .. } | Self::NoValue { .. } => {
                Reason::PolicyInvalid
            }
            _ => Reason::PolicyDenied,
        }
    }

    fn help(&self) -> String {
        let rule = self.rule();
        match self {
            Self::ImageNotAllowed { allowed, .. } if allowed.is_empty() => format!(
                "The rule allows no image: ask the administrator of the runner to add this one to {rule}"
            ),
            Self::ImageNotAllowed { allowed, .. } => {
                let more = if allowed.len() > LISTED { ", ..." } else { "" };
                let listed = allowed[..allowed.len().min(LISTED)].join(", ");
                format!(
                    "Use an image of {listed}{more}, or ask the administrator of the runner to add this one \
                     to {rule}"
                )
            }
            Self::NoImageName { .. } => {
                "Correct the name: [registry/]path[:tag][@digest], its path in lower case".to_owned()
            }
            Self::ImageById { .. } => "Name the image by its repository".to_owned(),
            Self::NoDigest { .. } => {
                "Name the image by its digest, as in registry/path@sha256:<digest>".to_owned()
            }
            Self::OptionNotAllowed { .. } => format!(
                "Remove the option from the workflow, or ask the administrator of the runner to change {rule}"
            ),
            Self::TooMuch { most, .. } => format!(
                "Ask for {most} at most, or ask the administrator of the runner to raise {rule}"
            ),
            Self::VolumeNotAllowed { .. } => format!(
                "Mount something else, or ask the administrator of the runner to change {rule}"
            ),
            Self::EventNotAllowed { .. } => format!(
                "Use an image that is built elsewhere, or ask the administrator of the runner to add the \
                 event to {rule}"
            ),
            Self::EventUnknown { .. } => format!(
                "Use an image that is built elsewhere. The event is known in container actions of runners \
                 with ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER=true and hook.js; otherwise the administrator \
                 has to leave {rule} out"
            ),
            Self::Unreadable { .. } => {
                "Mount the ConfigMap with the policy in the hookd container, and set HOOKD_POLICY to the \
                 path of its key there"
                    .to_owned()
            }
            Self::Malformed { .. } => "Correct the file; docs/policy.md describes each key".to_owned(),
            Self::NoValue { .. } => {
                "Write [] for a list that allows nothing, or leave the key out".to_owned()
            }
        }
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let (place, container) = (|| "Container job".to_owned(), || "job".to_owned());
    let file = || "/etc/hookd/policy.yaml".to_owned();
    let image = || "docker.io/someone/tool:latest".to_owned();
    let malformed =
        crate::yaml::parse_strict::<super::file::PolicyFile>(b"mode: audit\nimage: {}\n");
    let all: Vec<PolicyError> = vec![
        PolicyError::ImageNotAllowed {
            place: place(),
            image: image(),
            rule: "images.allowed".to_owned(),
            allowed: vec!["docker.io/library/*".to_owned(), "ghcr.io/my-org/**".to_owned()],
        },
        PolicyError::NoImageName {
            place: place(),
            image: "docker.io/a b".to_owned(),
            rule: "images.allowed".to_owned(),
        },
        PolicyError::ImageById {
            place: place(),
            image: format!("docker.io/library/sha256:{}", "0".repeat(64)),
            rule: "images.allowed".to_owned(),
        },
        PolicyError::NoDigest {
            place: "Line 3 of /home/runner/_work/_actions/o/action/v1/Dockerfile".to_owned(),
            image: image(),
            rule: "images.builds.digestRequired".to_owned(),
        },
        PolicyError::OptionNotAllowed {
            container: container(),
            option: "--privileged".to_owned(),
            rule: "options.privileged".to_owned(),
        },
        PolicyError::TooMuch {
            container: container(),
            option: "--memory".to_owned(),
            most: "8Gi".to_owned(),
            rule: "options.memory".to_owned(),
        },
        PolicyError::VolumeNotAllowed {
            container: container(),
            volume: "data:/opt".to_owned(),
            what: "target \"/opt\"".to_owned(),
            rule: "volumes.targets".to_owned(),
        },
        PolicyError::EventNotAllowed {
            event: "pull_request".to_owned(),
            rule: "builds.events".to_owned(),
        },
        PolicyError::EventUnknown { rule: "builds.events".to_owned() },
        PolicyError::Unreadable {
            file: file(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        },
        PolicyError::Malformed { file: file(), source: malformed.unwrap_err() },
        PolicyError::NoValue { file: file(), key: "images.allowed".to_owned() },
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_policy() {
        assert_complete(include_str!("error.rs"), "PolicyError", &super::examples());
    }
}
