//! Kills whose reason is not known yet.
//!
//! containerd takes the end of a container and the kernel's out-of-memory kill from two events: a
//! status that the kubelet reads between them says `Error` and exit code 137 (TaskExit and TaskOOM in
//! containerd's internal/cri/server/events.go). The kubelet reads the status once more when the pod is
//! at its end.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};

use super::{KILLED, OOM_KILLED};

/// True if a container of the pod was killed since `before`, and its status may soon say why. The end
/// of a deleted pod has its reason.
pub fn awaits_reason(before: Option<&Pod>, now: &Pod) -> bool {
    now.metadata.deletion_timestamp.is_none()
        && killed(now).any(|name| {
            before.is_none_or(|before| !ended(before).any(|(earlier, _)| earlier == name))
        })
}

fn killed(pod: &Pod) -> impl Iterator<Item = &str> {
    let without_reason = |end: &ContainerStateTerminated| {
        end.exit_code == KILLED && end.reason.as_deref() != Some(OOM_KILLED)
    };
    ended(pod).filter(move |(_, end)| without_reason(end)).map(|(name, _)| name)
}

/// Name and end of each container that has ended.
fn ended(pod: &Pod) -> impl Iterator<Item = (&str, &ContainerStateTerminated)> {
    let statuses = pod.status.iter().flat_map(|status| &status.container_statuses).flatten();
    statuses.filter_map(|status| {
        Some((status.name.as_str(), status.state.as_ref()?.terminated.as_ref()?))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(state: &Value) -> Pod {
        let status = json!({"name": "job", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": state});
        serde_json::from_value(json!({"metadata": {}, "status": {"containerStatuses": [status]}}))
            .unwrap()
    }

    #[test]
    fn only_a_new_kill_without_a_reason_awaits_one() {
        let running = pod(&json!({"running": {}}));
        let end = |code: i32, reason: &str| {
            pod(&json!({"terminated": {"exitCode": code, "reason": reason}}))
        };
        let killed = end(137, "Error");
        assert!(awaits_reason(Some(&running), &killed) && awaits_reason(None, &killed));
        assert!(!awaits_reason(Some(&killed), &killed));
        for known in [end(137, OOM_KILLED), end(1, "Error"), end(0, "Completed"), running.clone()] {
            assert!(!awaits_reason(Some(&running), &known), "{:?}", known.status);
        }
        let mut deleted = killed;
        deleted.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!awaits_reason(Some(&running), &deleted));
    }
}
