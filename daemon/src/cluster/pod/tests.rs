use serde_json::{Value, json};

use super::*;
use crate::error::Reason;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "step", "resources": {"limits": {"memory": "64Mi"}}}]},
        "status": status,
    }))
    .unwrap()
}

fn container(state: Value) -> Pod {
    pod(json!({"phase": "Pending", "containerStatuses": [{
        "name": "step", "image": "busybox:9", "imageID": "", "ready": false, "restartCount": 0,
        "state": state,
    }]}))
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    container_state(&container(json!({"waiting": {"reason": reason, "message": message}})), "step")
}

fn failed(state: ContainerState) -> Failure {
    match state {
        ContainerState::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn degraded(state: ContainerState) -> Failure {
    match state {
        ContainerState::Degraded(_, failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_misspelt_image_is_final_with_the_registrys_message() {
    let failure = failed(waiting(
        "ErrImagePull",
        "rpc error: code = NotFound desc = failed to pull and unpack image \
         \"docker.io/library/busybox:9\": docker.io/library/busybox:9: not found",
    ));
    assert_eq!(failure.reason, Reason::ImagePullFailed);
    assert!(failure.message.contains("busybox:9: not found"), "{failure}");
    assert!(!failure.message.contains("rpc error"), "{failure}");
}

#[test]
fn an_image_that_may_not_be_read_is_final() {
    let failure = failed(waiting("ErrImagePull", "pull access denied, repository does not exist"));
    assert_eq!(failure.reason, Reason::ImagePullFailed);
    assert!(failed(waiting("ErrImagePull", "401 Unauthorized")).remedy.contains("imagePullSecret"));
}

#[test]
fn a_registry_that_is_down_gets_a_minute() {
    let failure =
        degraded(waiting("ErrImagePull", "dial tcp 127.0.0.1:1: connect: connection refused"));
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    assert!(failure.remedy.contains("kube-proxy"));
}

#[test]
fn a_throttled_pull_gets_a_minute() {
    assert_eq!(
        degraded(waiting("ErrImagePull", "429 Too Many Requests")).reason,
        Reason::ImagePullFailed
    );
    assert_eq!(
        degraded(waiting("ImagePullBackOff", "Back-off pulling image \"x\"")).reason,
        Reason::ImagePullFailed
    );
}

#[test]
fn the_name_not_being_one_is_final() {
    assert!(failed(waiting("InvalidImageName", "x")).message.contains("is not an image name"));
}

#[test]
fn an_unschedulable_pod_waits_and_says_why() {
    let pod = pod(json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }]}));
    match container_state(&pod, "step") {
        ContainerState::Waiting(why) => assert!(why.contains("Insufficient cpu"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_claim_is_final() {
    let pod = pod(json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: persistentvolumeclaim \"w\" not found.",
    }]}));
    let failure = failed(container_state(&pod, "step"));
    assert_eq!(failure.reason, Reason::ClaimUnusable);
    assert!(failure.message.contains("\"w\" not found"));
}

#[test]
fn a_program_that_cannot_start_is_final() {
    let pod = container(json!({"terminated": {
        "exitCode": 128, "reason": "StartError",
        "message": "exec: \"/nope\": stat /nope: no such file or directory",
    }}));
    let failure = failed(container_state(&pod, "step"));
    assert_eq!(failure.reason, Reason::StartFailed);
    assert!(failure.message.contains("/nope") && failure.remedy.contains("entrypoint"));
}

#[test]
fn an_exit_code_is_the_programs_own() {
    for code in [0, 1, 3, 126, 127, 128, 137, 255] {
        let pod = container(json!({"terminated": {"exitCode": code, "reason": "Error"}}));
        match container_state(&pod, "step") {
            ContainerState::Terminated(ended) => assert_eq!(ended.exit_code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_oom_kill_is_named_with_the_limit() {
    let pod = container(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
    let failure = failed(container_state(&pod, "step"));
    assert_eq!(failure.reason, Reason::OomKilled);
    assert!(failure.message.contains("64Mi") && failure.message.contains("OOMKilled"));
}

#[test]
fn a_program_that_outlives_an_oom_kill_ends_with_its_own_code() {
    for code in [0, 1, 143] {
        let pod = container(json!({"terminated": {"exitCode": code, "reason": "OOMKilled"}}));
        match container_state(&pod, "step") {
            ContainerState::Terminated(ended) => {
                assert_eq!((ended.exit_code, &*ended.reason), (code, OOM_KILLED));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_eviction_is_named_before_the_exit_code() {
    let mut pod = container(json!({"terminated": {"exitCode": 137, "reason": "Error"}}));
    let status = pod.status.as_mut().unwrap();
    status.reason = Some("Evicted".into());
    status.message = Some("The node was low on resource: memory".into());
    let failure = failed(container_state(&pod, "step"));
    assert_eq!(failure.reason, Reason::Evicted);
    assert!(failure.message.contains("low on resource"));
}

#[test]
fn a_running_container_runs_even_if_the_pod_is_pending() {
    let pod = container(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    assert!(matches!(container_state(&pod, "step"), ContainerState::Running));
}

/// A pod whose program ended at 12:00:01, with a grace of its own of 3 s.
fn deleted_pod(code: i32, deadline: &str, grace: i64) -> Pod {
    let mut pod =
        container(json!({"terminated": {"exitCode": code, "finishedAt": "2026-01-01T12:00:01Z"}}));
    pod.spec.get_or_insert_default().termination_grace_period_seconds = Some(3);
    pod.metadata.deletion_timestamp = Some(serde_json::from_value(json!(deadline)).unwrap());
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

#[test]
fn an_end_after_the_pods_deletion_is_a_loss_whatever_its_code() {
    // Go programs end with 2 at TERM, servers with 0.
    for code in [0, 2, 137, 143] {
        let failure =
            failed(container_state(&deleted_pod(code, "2026-01-01T12:00:03Z", 3), "step"));
        assert_eq!(failure.reason, Reason::StepLost);
    }
}

#[test]
fn a_shortened_grace_hides_no_deletion() {
    // A Job's pod keeps its finalizer, and shows how the kubelet ended its deletion long after the
    // program's end; or it was deleted twice.
    for (deadline, grace) in [("2026-01-01T12:00:09Z", 0), ("2026-01-01T12:00:09Z", 1)] {
        let failure = failed(container_state(&deleted_pod(0, deadline, grace), "step"));
        assert_eq!(failure.reason, Reason::StepLost);
    }
}

#[test]
fn an_end_before_the_pods_deletion_is_the_programs_own() {
    for code in [0, 2] {
        // Asked for a second after the end; and not at all.
        let later = deleted_pod(code, "2026-01-01T12:00:05Z", 3);
        let mut kept = later.clone();
        kept.metadata.deletion_timestamp = None;
        for pod in [later, kept] {
            let state = container_state(&pod, "step");
            assert!(matches!(&state, ContainerState::Terminated(end) if end.exit_code == code));
        }
    }
}

#[test]
fn a_kubelet_cut_off_from_the_api_server_gets_more_time() {
    let grace_period = |message: &str| match waiting("CreateContainerConfigError", message) {
        ContainerState::Degraded(period, failure) => (period, failure.message),
        other => panic!("{other:?}"),
    };
    let (missing, _) = grace_period("secret \"x\" not found");
    let (cut_off, message) =
        grace_period("failed to sync secret cache: timed out waiting for the condition");
    assert!(cut_off > missing * 3, "{cut_off:?}, {missing:?}");
    assert!(message.contains("has not read the pod's Secrets"), "{message}");
}

/// A pod with a sidecar in this state, whose own container is in the other.
fn beside(sidecar: Value, own: Value) -> ContainerState {
    let status = |name: &str, image: &str, state: Value| {
        json!({"name": name, "image": image, "imageID": "", "ready": false, "restartCount": 0,
            "state": state})
    };
    let pod = pod(json!({
        "phase": "Pending",
        "initContainerStatuses": [status("registry-endpoint", "hookd:1", sidecar)],
        "containerStatuses": [status("step", "busybox:9", own)],
    }));
    container_state(&pod, "step")
}

#[test]
fn a_sidecar_that_cannot_start_names_its_error_and_settings() {
    let initializing = json!({"waiting": {"reason": "PodInitializing"}});
    let ended = json!({"terminated": {"exitCode": 1, "message": "ca.crt cannot be read"}});
    let failure = failed(beside(ended.clone(), initializing.clone()));
    assert!(failure.message.contains("ca.crt cannot be read"), "{failure}");
    assert!(failure.remedy.contains("HOOKD_REGISTRY_CA_CONFIGMAP"), "{}", failure.remedy);
    // The kubelet starts it again while the build goes on.
    assert!(matches!(beside(ended.clone(), json!({"running": {}})), ContainerState::Running));
    let pulling = json!({"waiting": {"reason": "ErrImagePull", "message": "hookd:1: not found"}});
    let failure = failed(beside(pulling, initializing));
    assert_eq!(failure.reason, Reason::ImagePullFailed);
    assert!(failure.message.contains("hookd:1"), "{failure}");
}

#[test]
fn a_sidecar_that_ends_before_it_listens_names_its_error() {
    let state = |reason: &str, last: &Value| {
        let message = "command '/usr/local/bin/hookd registry-endpoint --wait' exited with 126";
        let waiting = json!({"waiting": {"reason": reason, "message": message}});
        container_state(
            &pod(json!({
                "phase": "Pending",
                "initContainerStatuses": [{"name": "registry-endpoint", "image": "hookd:1",
                    "imageID": "", "ready": false, "restartCount": 1, "state": waiting,
                    "lastState": last}],
                "containerStatuses": [{"name": "step", "image": "busybox:9", "imageID": "",
                    "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "PodInitializing"}}}],
            })),
            "step",
        )
    };
    let ended = json!({"terminated": {"exitCode": 1, "message": "ca.crt cannot be read"}});
    // One that the kubelet has ended, since the runtime could not run the hook, is started again.
    let by_kubelet = json!({"terminated": {"exitCode": 0}});
    for reason in ["PostStartHookError", "CrashLoopBackOff"] {
        let failure = failed(state(reason, &ended));
        assert!(failure.message.contains("ca.crt cannot be read"), "{failure}");
        assert!(matches!(state(reason, &by_kubelet), ContainerState::Waiting(_)));
    }
}

#[test]
fn a_sidecar_that_was_not_started_is_waited_for() {
    let status = |name: &str, state: Value| {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": state})
    };
    let state = |policy: Value, reason: &str| {
        let ended = json!({"terminated": {"exitCode": 128, "reason": reason,
            "message": "failed to start containerd task: context canceled"}});
        let initializing = json!({"waiting": {"reason": "PodInitializing"}});
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [], "initContainers": [
                {"name": "registry-endpoint", "restartPolicy": policy}]},
            "status": {"phase": "Pending", "initContainerStatuses": [status("registry-endpoint", ended)],
                "containerStatuses": [status("step", initializing)]},
        }))
        .unwrap();
        container_state(&pod, "step")
    };
    let failure = degraded(state(json!("Always"), "StartError"));
    assert!(failure.message.contains("context canceled"), "{failure}");
    failed(state(json!("Always"), "Error"));
    failed(state(Value::Null, "StartError"));
}

#[test]
fn a_start_that_the_runtimes_end_interrupted_is_waited_for() {
    let state = |message| {
        let pod =
            container(json!({"waiting": {"reason": "RunContainerError", "message": message}}));
        match container_state(&pod, "step") {
            ContainerState::Degraded(grace, _) => grace.as_secs(),
            _ => 0,
        }
    };
    for message in [
        "error reading from server: EOF",
        "connection error: desc = \"transport: Error while dialing: dial unix c.sock: connect: connection refused\"",
        "failed to start containerd task \"x\": context canceled",
    ] {
        assert_eq!(state(message), 60, "{message}");
    }
    assert_eq!(state("exec: \"/x\": no such file or directory"), 10);
}

#[test]
fn a_container_that_was_made_and_not_started_is_told_apart() {
    let reported = |id: Value, state: Value| {
        let pod = pod(json!({"phase": "Running", "ephemeralContainerStatuses": [{
            "name": "job-1", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "containerID": id, "state": state,
        }]}));
        is_unstarted(&pod, "job-1")
    };
    let (id, creating) =
        (json!("containerd://1"), json!({"waiting": {"reason": "ContainerCreating"}}));
    assert!(reported(id.clone(), json!({"waiting": {}})));
    assert!(!reported(id.clone(), creating.clone()));
    assert!(!reported(Value::Null, json!({"waiting": {}})));
    let failed = |message| json!({"waiting": {"reason": "RunContainerError", "message": message}});
    assert!(reported(id.clone(), failed("error reading from server: EOF")));
    assert!(!reported(id.clone(), failed("exec: \"/x\": no such file or directory")));
    assert!(!reported(id, json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})));
    assert!(!is_unstarted(&container(creating), "job-1"));
}
