//! Why stepd does not answer in a container whose job is not ready yet.

use std::time::Duration;

use crate::cluster::pod::{self, ContainerState};
use crate::cluster::watch::PodState;
use crate::cluster::{Cluster, ContainerRef};
use crate::error::Failure;
use crate::placement::error::PlacementError;
use crate::session::events::Session;
use crate::workload::last_lines;

/// How long the log of a container that ended is asked for.
const LOG_LIMIT: Duration = Duration::from_secs(15);

/// Why the agent in `container` does not answer, by what was seen of its pod: `silent` if the container has not
/// ended. The last lines of one that ended are printed.
///
/// # Errors
/// When the client is gone.
pub(super) async fn failure(
    cluster: &Cluster,
    container: ContainerRef<'_>,
    seen: &PodState,
    silent: PlacementError,
    session: &mut Session,
) -> Result<Failure, Failure> {
    let ContainerRef { pod, container: name } = container;
    Ok(match seen.pod().map(|seen| pod::container_state(seen, name)) {
        Some(ContainerState::Failed(failure)) => failure,
        Some(ContainerState::Terminated(ended)) => {
            last_lines::print(cluster, container, LOG_LIMIT, session).await?;
            let (pod, container) = (pod.to_owned(), name.to_owned());
            PlacementError::AgentEnded { pod, container, exit_code: ended.exit_code }.into()
        }
        Some(_) => silent.into(),
        None => pod::deleted(pod),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::cluster::scripted::{ApiServer, Expected, get};
    use crate::session::cursor::{Cursor, Offsets};
    use crate::session::events::{Acked, EventKind};

    /// What is said of the container "job" in this state, and what the client reads.
    async fn of(state: Value, script: Option<Expected>) -> (Failure, Vec<String>) {
        let status = json!({"name": "job", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": state});
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "job"}]},
            "status": {"containerStatuses": [status]}});
        let seen = PodState::Present(serde_json::from_value(pod).unwrap());
        let api = ApiServer::expecting(script);
        let (cluster, container) = (api.cluster(), ContainerRef { pod: "p", container: "job" });
        let silent = PlacementError::NoSocket { pod: "p".into(), container: "job".into() };
        let (events, mut received) = mpsc::channel(16);
        let (_acks, acked) = watch::channel(Acked::ALL);
        let mut session = Session::new(Cursor::default(), Offsets::default(), events, acked);
        let asked = failure(&cluster, container, &seen, silent, &mut session);
        let failure = api.during(asked).await.unwrap();
        let mut lines = Vec::new();
        while let Ok(event) = received.try_recv() {
            if let EventKind::Progress { message, .. } = event.kind {
                lines.push(message);
            }
        }
        (failure, lines)
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_lines_of_an_agent_that_ended_are_printed() {
        let log = get("/api/v1/namespaces/ns/pods/p/log").with_query("container=job");
        let log = log.answers_text("stepd: the volume is read-only\n");
        let (failure, lines) = of(json!({"terminated": {"exitCode": 3}}), Some(log)).await;
        assert!(failure.message.contains("stepd ended with exit code 3"), "{failure}");
        assert_eq!(lines, ["job: stepd: the volume is read-only"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_runs_and_is_silent_has_no_last_lines() {
        let (failure, lines) = of(json!({"running": {}}), None).await;
        assert!(failure.message.contains("does not listen"), "{failure}");
        assert_eq!(lines, Vec::<String>::new());
    }
}
