//! The last lines of a container that ended, for the job's log.

use std::time::Duration;

use hookd_api::v1::Phase;

use crate::cluster::{Cluster, ContainerRef, logs};
use crate::error::{Failure, report};
use crate::session::events::Session;

/// How many lines are shown.
const LINES: i64 = 20;
/// Longest line that is shown, in characters.
const LONGEST: usize = 2000;

/// Prints the container's last lines, each with its name. A log that cannot be read within `limit`
/// is reported as such.
///
/// # Errors
/// `CANCELLED` when the client is gone.
pub async fn print(
    cluster: &Cluster,
    container: ContainerRef<'_>,
    limit: Duration,
    session: &mut Session,
) -> Result<(), Failure> {
    let (pods, retry) = (cluster.pods(), cluster.retry());
    let asked = retry.attempt(|| logs::tail(&pods, container, LINES));
    let lines = match tokio::time::timeout(limit, asked).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => format!("(its log cannot be read: {})", report(&error)),
        Err(_) => "(its log cannot be read: no answer)".to_owned(),
    };
    for line in lines.lines() {
        session
            .progress(Phase::RunPending, format!("{}: {}", container.container, printable(line)))
            .await?;
    }
    Ok(())
}

/// A line that the runner does not take for a command of its own, wherever it has its mark.
fn printable(line: &str) -> String {
    let line: String = line.chars().take(LONGEST).collect();
    line.replace("##[", "## [")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_service_is_no_command_and_has_an_end() {
        assert_eq!(printable("x ##[error]y"), "x ## [error]y");
        assert_eq!(printable(&"é".repeat(5000)).chars().count(), LONGEST);
    }
}
