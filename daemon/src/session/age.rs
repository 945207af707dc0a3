//! How long a step has run, whatever was restarted meanwhile.

use std::time::{Duration, SystemTime};

use hookd_api::v1::Phase;

use crate::error::Failure;
use crate::session::events::Session;

/// How long ago the step's program was first asked for, by this daemon or one before it.
///
/// # Errors
/// `CANCELLED` when the client is gone.
pub async fn of(session: &mut Session) -> Result<Duration, Failure> {
    let Some(started) = session.cursor.started else {
        session.cursor.started = Some(SystemTime::now());
        session.checkpoint(Phase::RunPending).await?;
        return Ok(Duration::ZERO);
    };
    // A clock that was set back only makes it younger.
    Ok(started.elapsed().unwrap_or_default())
}
