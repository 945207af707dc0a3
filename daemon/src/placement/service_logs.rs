//! What the services of a job have written, for the end of it.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use hookd_api::v1::ServiceLog;

use crate::cluster::{ContainerRef, logs};
use crate::context::Context;
use crate::error::report;
use crate::stepd::pods::ServiceContainer;
use crate::workload::ended_services::EndedService;

/// The end of a service's log that is shown.
const LINES: i64 = 1000;
/// Bytes of all logs together: one message carries them, which may have 4 MiB.
const LOGS: usize = 2 << 20;
/// Services whose logs are shown, and those that are read at the same time.
const SERVICES: usize = 256;
const LOGS_AT_ONCE: usize = 4;
/// The runner waits for a clean-up, so a log may not delay it for long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The logs of services of this pod, of which some have `ended`. A clean-up does not fail because one
/// cannot be read.
pub(super) async fn read(
    context: &Context,
    pod: &str,
    services: Vec<ServiceContainer>,
    ended: &[EndedService],
) -> Vec<ServiceLog> {
    let pods = context.cluster.pods();
    let share = LOGS / services.len().clamp(1, SERVICES);
    let logs = services.into_iter().take(SERVICES).map(|service| {
        let pods = &pods;
        let ended = ended.iter().find(|ended| ended.container == service.container);
        let end = ended.map(|ended| format!("\n({})\n", ended.message)).unwrap_or_default();
        async move {
            let container = ContainerRef { pod, container: &service.container };
            let asked = logs::tail(pods, container, LINES);
            let text = match tokio::time::timeout(TIMEOUT, asked).await {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => format!("(the log cannot be read: {})", report(&error)),
                Err(_) => "(the log cannot be read: no answer)".to_owned(),
            };
            ServiceLog { name: service.name, text: logs::last_lines(text, share) + &end }
        }
    });
    stream::iter(logs).buffered(LOGS_AT_ONCE).collect().await
}
