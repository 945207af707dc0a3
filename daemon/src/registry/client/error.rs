//! Why a registry did not answer as asked.

use reqwest::StatusCode;

/// A request to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The HTTP client cannot be built.
    #[error("the client for registries cannot be built")]
    Client(#[source] reqwest::Error),
    /// What is given as a certificate or key for a registry is none.
    #[error("{what} for registry {host} has no certificate and key that can be used")]
    Certificate {
        /// Host and port.
        host: String,
        /// Key of the Secret.
        what: &'static str,
        /// What is wrong with it, if it is known.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// No connection, or it broke.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The client's message.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{host} does not answer in time")]
    Timeout {
        /// Host and port.
        host: String,
    },
    /// A document whose rest does not arrive in time.
    #[error("{host} does not send the rest of a {what} in time")]
    Silent {
        /// Host and port.
        host: String,
        /// What was expected.
        what: &'static str,
    },
    /// An answer with another status than the one that means success.
    #[error("{host} answers {status}")]
    Refused {
        /// Host and port.
        host: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The answer does not follow the specification.
    #[error("{host} sends an invalid {what}")]
    Invalid {
        /// Host and port.
        host: String,
        /// What was expected.
        what: &'static str,
    },
    /// The bytes are not those that their digest names.
    #[error("{host} sends a {what} that does not match {expected}")]
    DigestMismatch {
        /// Host and port.
        host: String,
        /// What was expected.
        what: &'static str,
        /// Its digest, or its size.
        expected: String,
    },
    /// The answer is larger than what is accepted.
    #[error("{host} sends a {what} of more than {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// What was expected.
        what: &'static str,
        /// Accepted size.
        limit: usize,
    },
    /// The repository has more tags than are looked at.
    #[error(
        "{host} has more tags in one repository than {tags}, or more pages of them than {pages}"
    )]
    TooManyTags {
        /// Host and port.
        host: String,
        /// Tags that are looked at.
        tags: usize,
        /// Pages that are asked for.
        pages: usize,
    },
    /// The registry wants its password sent to a host that is not its own, or in plain text.
    #[error("{host} asks to send its password to {realm}, which is not trusted with it")]
    ForeignRealm {
        /// Host and port.
        host: String,
        /// Scheme and host of the token service.
        realm: String,
    },
    /// The registry redirects to where no request of ours goes.
    #[error("{host} redirects to {target}, which is not allowed")]
    Redirect {
        /// Host and port.
        host: String,
        /// Scheme and host of the target.
        target: String,
    },
    /// The path that was asked for leads out of the repository.
    #[error("{path:?} is not a path within a repository")]
    Path {
        /// The path.
        path: String,
    },
}

impl RegistryError {
    /// True for what may be over when it is asked for once more.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            error => error.is_no_answer(),
        }
    }

    /// True if there was no answer at all, or no whole one, so that asking again soon is of no use.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Silent { .. })
    }

    /// True if it took all of the time that a registry has, so that asking again takes as long.
    pub fn is_late(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Silent { .. } => true,
            Self::Unreachable { source, .. } => source.is_timeout(),
            _ => false,
        }
    }
}
