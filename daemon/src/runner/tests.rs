use super::*;
use crate::error::Reason;
use serde_json::json;

fn pod(volume: serde_json::Value) -> Pod {
    serde_json::from_value(json!({"spec": {
        "containers": [{"name": "runner", "volumeMounts": [
            {"name": "work", "mountPath": "/home/runner/_work/", "subPath": "w"}]}],
        "volumes": [volume],
    }}))
    .unwrap()
}

fn work_volume(pod: &Pod, config: &Config) -> Option<WorkVolume> {
    super::work_volume(pod, config).0
}

fn check(volume: serde_json::Value, settings: &[&str]) -> Result<(), Failure> {
    Runner::from_pod(&pod(volume), "ns", &Config::of(settings)).check_work()
}

#[test]
fn a_part_of_a_claim_that_is_neither_own_nor_trusted_is_refused() {
    let claim = || json!({"name": "work", "persistentVolumeClaim": {"claimName": "c"}});
    let own = || json!({"name": "work", "ephemeral": {}});
    let failure = check(claim(), &[]).unwrap_err();
    assert_eq!(failure.reason, Reason::ClaimUnusable);
    for word in ["claim c", "\"w\""] {
        assert!(failure.message.contains(word), "{failure}");
    }
    assert!(failure.remedy.contains("HOOKD_TRUST_SHARED_CLAIM"));
    assert!(check(own(), &[]).is_ok());
    assert!(check(own(), &["--claim-name", "r-work"]).is_ok());
    assert!(check(own(), &["--claim-name", "other"]).is_err());
    assert!(check(json!({"name": "work", "emptyDir": {}}), &["--claim-name", "c"]).is_err());
    assert!(check(claim(), &["--trust-shared-claim", "true"]).is_ok());
}

#[test]
fn a_sub_path_expression_is_a_part_of_the_claim_too() {
    let mut pod = pod(json!({"name": "work", "persistentVolumeClaim": {"claimName": "c"}}));
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    let mount = &mut container.volume_mounts.as_mut().unwrap()[0];
    (mount.sub_path, mount.sub_path_expr) = (None, Some("$(POD)/work".to_owned()));
    container.env = serde_json::from_value(json!([{"name": "POD", "value": "r-1"}])).unwrap();
    let runner = |pod: &Pod, settings: &[&str]| Runner::from_pod(pod, "n", &Config::of(settings));
    assert!(runner(&pod, &[]).check_work().unwrap_err().message.contains("r-1/work"));
    let trusted = runner(&pod, &["--trust-shared-claim", "true"]);
    assert_eq!(trusted.work.as_ref().map(|work| work.sub_path.as_str()), Some("r-1/work"));
    trusted.check_work().unwrap();
    pod.spec.as_mut().unwrap().containers[0].env = None;
    let unknown = runner(&pod, &["--trust-shared-claim", "true"]).check_work().unwrap_err();
    assert!(unknown.message.contains("POD"), "{unknown}");
}

#[test]
fn the_claim_is_found_in_the_runner_pod() {
    let pod = pod(json!({"name": "work", "persistentVolumeClaim": {"claimName": "c"}}));
    let work = work_volume(&pod, &Config::of(&[])).unwrap();
    assert_eq!((work.claim.as_str(), work.sub_path.as_str()), ("c", "w"));
}

#[test]
fn the_claim_of_an_ephemeral_volume_is_named_after_the_pod() {
    let pod = pod(json!({"name": "work", "ephemeral": {}}));
    assert_eq!(work_volume(&pod, &Config::of(&[])).unwrap().claim, "r-work");
}

#[test]
fn a_claim_that_the_administrator_named_wins() {
    let pod = pod(json!({"name": "work", "emptyDir": {}}));
    assert_eq!(work_volume(&pod, &Config::of(&[])), None);
    let named = Config::of(&["--claim-name", "mine"]);
    assert_eq!(work_volume(&pod, &named).unwrap().claim, "mine");
}

#[test]
fn the_images_of_hookd_and_of_the_runner_are_known_by_digest() {
    let mount = |read_only: bool| {
        json!([{"name": "hookd", "mountPath": "/run/hookd",
        "readOnly": read_only}])
    };
    let pod: Pod = serde_json::from_value(json!({
        "spec": {
            "initContainers": [{"name": "h", "image": "r/hookd:1", "volumeMounts": mount(false)}],
            "containers": [{"name": "x", "image": "other"},
                {"name": "run", "image": "r/runner:1", "volumeMounts": mount(true)}],
        },
        "status": {
            "initContainerStatuses": [{"name": "h", "image": "", "ready": true,
                "restartCount": 0, "imageID": "r/hookd@sha256:1"}],
            "containerStatuses": [{"name": "run", "image": "", "ready": true,
                "restartCount": 0, "imageID": "sha256:2"}],
        },
    }))
    .unwrap();
    let runner = Runner::from_pod(&pod, "ns", &Config::of(&[]));
    assert_eq!(runner.hookd_image, "r/hookd@sha256:1");
    assert_eq!(runner.runner_image, "r/runner:1");
}

#[test]
fn only_a_shared_claim_lets_a_step_leave_the_runners_node() {
    let claim =
        |mode: &str| serde_json::from_value(json!({"spec": {"accessModes": [mode]}})).unwrap();
    assert!(same_node(&claim("ReadWriteOnce")).unwrap());
    assert!(!same_node(&claim("ReadWriteMany")).unwrap());
    assert_eq!(same_node(&claim("ReadWriteOncePod")).unwrap_err().reason, Reason::ClaimUnusable);
}

#[test]
fn hooks_are_alone_if_jobs_need_containers_and_no_shell_runs() {
    let is_alone = |required: &str, hook: &str| {
        let variables = [
            ("ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER", required),
            ("ACTIONS_RUNNER_CONTAINER_HOOKS", hook),
        ];
        let variables = variables.map(|(name, value)| json!({"name": name, "value": value}));
        let mount = json!({"name": "hookd", "mountPath": "/run/hookd", "readOnly": true});
        let runner = json!({"name": "runner", "env": variables, "volumeMounts": [mount]});
        let pod = serde_json::from_value(json!({"spec": {"containers": [runner]}})).unwrap();
        Runner::from_pod(&pod, "ns", &Config::of(&[])).hooks_are_alone
    };
    assert!(is_alone("true", "/run/hookd/hook.js") && is_alone("True", "/run/hookd/hook.js"));
    assert!(!is_alone("false", "/run/hookd/hook.js") && !is_alone("", "/run/hookd/hook.js"));
    // The job chooses the shell that starts it.
    assert!(!is_alone("true", "/run/hookd/hook.sh"));
}
