//! The API server: that it answers, its version, its clock.

use crate::context::minor_version;
use crate::doctor::facts::{Facts, Server};
use crate::doctor::report::Outcome;

use super::or_return;

/// Minor version from which native sidecars are stable enough for hookd (docs/operations.md).
const OLDEST: u32 = 30;
/// Seconds by which the clocks may differ: the server tells its own in whole seconds.
const SMALL: i64 = 5;
/// Seconds from which certificates and tokens are taken for expired, or for those of the future.
const LARGE: i64 = 60;

/// It answers, and is not too old.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let server = match (&facts.cluster, &facts.server) {
        (Err(failure), _) | (_, Err(failure)) => return failure.into(),
        (Ok(_), Ok(server)) => server,
    };
    let version = &server.version;
    match minor_version(version) {
        Some(minor) if minor < OLDEST => Outcome::failure(
            format!("the API server is {version}, older than 1.{OLDEST}"),
            "hookd is a native sidecar and uses what later versions have",
            format!("Upgrade the cluster to Kubernetes 1.{OLDEST} or later (docs/operations.md)"),
        ),
        Some(_) => Outcome::ok(format!("the API server answers; it is {version}")),
        None => Outcome::warning(
            format!("the API server answers, and {version:?} is no version that hookd knows"),
            "It is not Kubernetes, or a proxy answers in its place",
            "Check KUBERNETES_SERVICE_HOST and the network between the runner pod and the API server",
        ),
    }
}

/// Its clock and ours agree.
pub(super) async fn clock(facts: &Facts) -> Outcome {
    or_return!(facts.cluster());
    match facts.server.as_ref().ok().and_then(|server: &Server| server.ahead) {
        Some(ahead) => judge(ahead),
        None => Outcome::skipped("the API server's answer has no date"),
    }
}

fn judge(ahead: i64) -> Outcome {
    let by = ahead.abs();
    let direction = if ahead < 0 { "behind" } else { "ahead of" };
    let found = format!("the node's clock is {by} s {direction} the API server's");
    let remedy = "Let the node take its time from NTP (chrony, systemd-timesyncd), and compare it with the \
                  control plane's";
    match by {
        by if by <= SMALL => Outcome::ok("the node's clock and the API server's agree"),
        by if by <= LARGE => {
            Outcome::warning(found, "One of both clocks is not set by NTP", remedy)
        }
        _ => Outcome::failure(
            found,
            "Tokens and certificates are taken for expired, or for not yet valid",
            remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn clocks_may_differ_by_some_seconds_only() {
        for (ahead, expected) in [
            (0, Status::Ok),
            (-5, Status::Ok),
            (6, Status::Warning),
            (-60, Status::Warning),
            (61, Status::Failure),
            (-100_000, Status::Failure),
        ] {
            assert_eq!(judge(ahead).status, expected, "{ahead}");
        }
        assert!(judge(-100).found.contains("100 s behind"));
        assert!(judge(100).found.contains("100 s ahead of"));
    }
}
