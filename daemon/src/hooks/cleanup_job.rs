//! `cleanup_job`: nothing of ours stays.

use std::sync::Arc;

use hookd_api::v1::CleanupJobResponse;

use crate::context::Context;
use crate::error::Failure;
use crate::hooks::{built_images, prebuild};
use crate::placement;

/// Ends and deletes everything of the runner's job. Returns the number of objects, and what the job's
/// services wrote.
///
/// # Errors
/// When the API refuses or stays away.
pub async fn cleanup(context: &Arc<Context>) -> Result<CleanupJobResponse, Failure> {
    context.sessions.steps.cancel_all();
    prebuild::end(context).await;
    context.network.clear().await;
    let cleaned = placement::known(context).clean_up(context).await?;
    context.agents.clear();
    context.sessions.crashes.clear();
    built_images::delete(context).await;
    let deleted = u32::try_from(cleaned.deleted).unwrap_or(u32::MAX);
    Ok(CleanupJobResponse { deleted, service_logs: cleaned.service_logs })
}
