//! cleanup_job: asks hookd to delete what the job left in the cluster.

use hookd_api::v1::{CleanupJobRequest, CleanupJobResponse};

use crate::connect::{ConnectError, Connection};
use crate::job;
use crate::report::Explain;
use crate::status::{ErrorClass, HookdError, classify};

/// The clean-up could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanupError {
    /// hookd cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// hookd reported a failure.
    #[error(transparent)]
    Hookd(HookdError),
}

/// Cleans up; what was deleted, and what services wrote. Repeated when the connection
/// breaks: the call is idempotent.
pub(crate) async fn run(
    connection: &mut Connection<'_>,
) -> Result<CleanupJobResponse, CleanupError> {
    loop {
        let mut client = connection.connect().await?;
        match client
            .cleanup_job(CleanupJobRequest { job: Some(job::of_environment()) })
            .await
            .map_err(classify)
        {
            Ok(response) => {
                connection.answered();
                return Ok(response.into_inner());
            }
            Err(ErrorClass::Lost(status)) => connection.broke(&status, false),
            Err(ErrorClass::Final(error)) => return Err(CleanupError::Hookd(error)),
        }
    }
}

// === impl CleanupError ===

impl Explain for CleanupError {
    fn title(&self) -> String {
        match self {
            Self::Connect(error) => error.title(),
            Self::Hookd(error) => error.title(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Connect(error) => error.remedy(),
            Self::Hookd(error) => error.remedy(),
        }
    }
}
