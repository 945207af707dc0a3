//! How long a pod of ours took from its creation until its container ran, as the kubelet and the scheduler
//! stamp it: in whole seconds.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::cluster::pod;
use crate::metrics::Phase;
use crate::session::timings::Timings;

/// The condition of a pod whose sandbox has its volumes and its network.
const SANDBOX: &str = "PodReadyToStartContainers";

/// Counts the phases of a pod whose container runs, or has run. The last of them counts as ended now, whatever
/// the clocks of others say.
pub fn observe(pod: &Pod, container: &str, timings: &mut Timings) {
    let phases = phases(pod, container);
    let mut ago: Duration = phases.iter().map(|(_, time)| *time).sum();
    for (phase, time) in phases {
        ago -= time;
        timings.took_until(phase, time, ago);
    }
}

/// What is not stamped has no phase: its time is in the next one.
fn phases(pod: &Pod, container: &str) -> Vec<(Phase, Duration)> {
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let ends = [
        (Phase::Schedule, condition(pod, "PodScheduled")),
        (Phase::Start, condition(pod, SANDBOX)),
        (Phase::Pull, started(pod, container)),
    ];
    let Some(mut before) = created else { return Vec::new() };
    let mut phases = Vec::new();
    for (phase, end) in ends {
        let Some(end) = end else { continue };
        // Each stamp is of another clock.
        let time = Duration::try_from(end.duration_since(before)).unwrap_or_default();
        phases.push((phase, time));
        before = before.max(end);
    }
    phases
}

/// Since when a condition is true.
fn condition(pod: &Pod, name: &str) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.find(|one| one.type_ == name && one.status == "True")?;
    Some(found.last_transition_time.as_ref()?.0)
}

fn started(pod: &Pod, container: &str) -> Option<Timestamp> {
    let state = pod::container_status(pod, container)?.state.as_ref()?;
    let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.as_ref());
    running.or(ended).map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(conditions: &serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {
                "conditions": conditions,
                "containerStatuses": [{
                    "name": "step", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:10Z"}},
                }],
            },
        }))
        .unwrap()
    }

    fn condition(name: &str, time: &str) -> serde_json::Value {
        serde_json::json!({"type": name, "status": "True", "lastTransitionTime": time})
    }

    #[test]
    fn the_phases_of_a_pod_follow_each_other() {
        let scheduled = condition("PodScheduled", "2026-01-01T00:00:02Z");
        let sandbox = condition(SANDBOX, "2026-01-01T00:00:05Z");
        let all = pod(&serde_json::json!([scheduled, sandbox]));
        let seconds = Duration::from_secs;
        let expected =
            [(Phase::Schedule, seconds(2)), (Phase::Start, seconds(3)), (Phase::Pull, seconds(5))];
        assert_eq!(phases(&all, "step"), expected);
        let older = pod(&serde_json::json!([scheduled]));
        assert_eq!(
            phases(&older, "step"),
            [(Phase::Schedule, seconds(2)), (Phase::Pull, seconds(8))]
        );
        assert_eq!(phases(&Pod::default(), "step"), []);
    }

    #[test]
    fn a_clock_that_is_behind_takes_no_time() {
        let scheduled = condition("PodScheduled", "2025-12-31T23:59:00Z");
        let found = phases(&pod(&serde_json::json!([scheduled])), "step");
        assert_eq!(found[0], (Phase::Schedule, Duration::ZERO));
        assert_eq!(found[1], (Phase::Pull, Duration::from_secs(10)));
    }
}
