//! Why there is no registry for built images.

use crate::error::{Explain, Reason};

/// An error of the settings for registries; those of requests are
/// [`RegistryError`](crate::registry::client::RegistryError).
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// No registry is configured.
    #[error("Dockerfile actions need a registry, and none is configured")]
    NotConfigured,
}

impl Explain for DestinationError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotConfigured => Reason::Unsupported,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::NotConfigured => {
                "Set ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST, _REGISTRY_PORT and \
                 _REGISTRY_NODE_PORT on the hookd container (docs/config.md), or let jobs run in the \
                 runner pod, where none is needed (docs/placement.md)"
            }
        }
        .to_owned()
    }
}

/// One error of each kind.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    vec![Box::new(DestinationError::NotConfigured)]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_destination() {
        assert_complete(include_str!("error.rs"), "DestinationError", &super::examples());
    }
}
