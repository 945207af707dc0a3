//! `cancel_step`: ends a step of any kind, started by any client.

use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::placement::{self, Call};
use crate::session::state::Event;

/// Cancels a step; true if something of it was there.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cancel(context: &Context, step: &StepId) -> Result<bool, Failure> {
    // One with a client is undone by its session.
    let unattended = context.sessions.steps.cancel(step);
    let found = placement::of(context).await?.cancel_step(Call { context, step }).await?;
    let attended = unattended.is_none();
    if let Some(undoing) = unattended {
        undoing.on(Event::Undone);
    }
    Ok(found || attended)
}
