//! Steps whose hook did not come back after a restart of the daemon.

use crate::context::Context;
use crate::placement;

/// After a restart of hookd: waits for the hooks of the steps that run to come back, and ends the steps
/// whose hook does not.
pub async fn delete_orphans(context: &Context) {
    tokio::time::sleep(context.config.reattach_timeout).await;
    placement::known(context).end_orphans(context).await;
}
