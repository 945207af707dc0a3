//! Why an image goes to no registry.

use crate::error::{Explain, Reason};

/// An error of the settings for registries; those of requests are
/// [`RegistryError`](crate::registry::client::RegistryError).
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// No registry is configured.
    #[error("Dockerfile actions need a registry, and none is configured")]
    NotConfigured,

    /// The administrator does not allow an image to have this name.
    #[error("No image of a build may be pushed as {name}")]
    NotAllowed {
        /// The name.
        name: String,
    },

    /// Images get no further tags among those that are found by their key.
    #[error(
        "{name} is in a repository of built images or their layers, whose tags are hookd's own"
    )]
    OwnRepository {
        /// The name.
        name: String,
    },
}

impl Explain for DestinationError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotConfigured => Reason::Unsupported,
            Self::NotAllowed { .. } | Self::OwnRepository { .. } => Reason::PolicyDenied,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NotConfigured => {
                "Set ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST, _REGISTRY_PORT and \
                 _REGISTRY_NODE_PORT on the hookd container (docs/config.md), or let jobs run in the \
                 runner pod, where none is needed (docs/placement.md)"
            }
            Self::NotAllowed { .. } => {
                "Choose a name that HOOKD_BUILD_DESTINATIONS on the hookd container allows, or have the \
                 administrator allow this one (docs/config.md)"
            }
            Self::OwnRepository { .. } => "Choose another repository",
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let name = || "registry.example/team/app:1".to_owned();
    vec![
        Box::new(DestinationError::NotConfigured),
        Box::new(DestinationError::NotAllowed { name: name() }),
        Box::new(DestinationError::OwnRepository {
            name: "registry.example/hookd/build:1".to_owned(),
        }),
    ]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_destination() {
        assert_complete(include_str!("error.rs"), "DestinationError", &super::examples());
    }
}
