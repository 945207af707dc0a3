//! Credentials of a job that do not reach the node.

use std::time::Duration;

use crate::error::{Explain, Reason};
use crate::objects::shared_pull_secret::NoConfiguration;

/// Why the Secret that runner pods share cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PullSecretError {
    /// It does not exist.
    #[error("Secret {secret} does not exist")]
    Missing {
        /// Its name.
        secret: String,
    },

    /// It is no pull Secret.
    #[error("Secret {secret} cannot be used: {source}")]
    Unusable {
        /// Its name.
        secret: String,
        /// What is wrong with it.
        source: NoConfiguration,
    },

    /// The API server took too long.
    #[error("Secret {secret} was not changed within {} s", .limit.as_secs())]
    Late {
        /// Its name.
        secret: String,
        /// How long hookd tries.
        limit: Duration,
    },

    /// Each attempt to change it met a change by another runner, or an error that may pass.
    #[error("Secret {secret} was not changed in {attempts} attempts")]
    Busy {
        /// Its name.
        secret: String,
        /// Number of attempts.
        attempts: u32,
        /// The last answer.
        source: Box<kube::Error>,
    },
}

impl Explain for PullSecretError {
    fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } | Self::Unusable { .. } => Reason::RunnerPodUnusable,
            Self::Late { .. } | Self::Busy { .. } => Reason::ApiUnreachable,
        }
    }

    fn help(&self) -> String {
        match self {
            Self::Missing { .. } | Self::Unusable { .. } => {
                "Make it as the comment on HOOKD_PULL_SECRET in deploy/rbac-pull-secret.yaml says"
            }
            Self::Late { .. } | Self::Busy { .. } => {
                "Run the job again; if it lasts, check the API server"
            }
        }
        .to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let secret = || "hookd-pull".to_owned();
    let source = || Box::new(kube::Error::Service("no answer within 15 s".into()));
    vec![
        Box::new(PullSecretError::Missing { secret: secret() }),
        Box::new(PullSecretError::Unusable { secret: secret(), source: NoConfiguration }),
        Box::new(PullSecretError::Late { secret: secret(), limit: Duration::from_secs(20) }),
        Box::new(PullSecretError::Busy { secret: secret(), attempts: 20, source: source() }),
    ]
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_pull_secret() {
        assert_complete(include_str!("error.rs"), "PullSecretError", &super::examples());
    }
}
