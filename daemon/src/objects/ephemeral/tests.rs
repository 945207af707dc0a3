use serde_json::{Value, json};

use super::*;
use crate::runner::job_volumes::Agents;

fn pod() -> JobVolumes {
    let agents =
        Agents { job: "agents-job".into(), services: "agents-s".into(), steps: "agents-t".into() };
    JobVolumes {
        work: "w".into(),
        tools: "tools".into(),
        externals: "ext".into(),
        github: "gh".into(),
        agents,
        spare: vec!["hookd-volume-0".into(), "hookd-volume-1".into()],
        all: vec!["ca".into()],
        local_names: Vec::new(),
    }
}

/// The container "job" with these mounts and fields, among these volumes.
fn lowered(
    fields: &Value,
    volumes: &Value,
    spare: &mut SpareVolumes,
) -> Result<Lowered, SpecError> {
    let mut container = json!({"name": "job", "image": "debian"});
    for (name, value) in fields.as_object().unwrap() {
        container[name] = value.clone();
    }
    let container: Container = serde_json::from_value(container).unwrap();
    let volumes: Vec<Volume> = serde_json::from_value(volumes.clone()).unwrap();
    let request = Request {
        container: &container,
        volumes: &volumes,
        name: "job-1a2b",
        agent: "agents-job",
        secret: "own",
    };
    lower(request, &pod(), spare)
}

fn mounts(lowered: &Lowered) -> Vec<(&str, &str)> {
    let mounts = lowered.container.volume_mounts.iter().flatten();
    mounts.map(|mount| (mount.name.as_str(), mount.mount_path.as_str())).collect()
}

const OWN: [(&str, &str); 2] = [("tools", "/__hookd"), ("agents-job", "/__hookd_run")];

#[test]
fn the_runners_directories_are_mounted_whole_or_linked() {
    let fields = json!({"volumeMounts": [
        {"name": "work", "mountPath": "/__w"},
        {"name": "work", "mountPath": "/__w/_temp", "subPath": "_temp"},
        {"name": "work", "mountPath": "/github/home", "subPath": "_temp/_github_home"},
        {"name": "externals", "mountPath": "/__e"},
    ]});
    let lowered = lowered(&fields, &json!([]), &mut SpareVolumes::default()).unwrap();
    let more = [("w", "/__w"), ("ext", "/__e"), ("gh", "/github")];
    assert_eq!(mounts(&lowered), [OWN.as_slice(), &more].concat());
    assert_eq!(lowered.links["home"], "/__w/_temp/_github_home");
    let by_name = |name: &str| {
        let mut mounts = lowered.container.volume_mounts.iter().flatten();
        mounts.find(|mount| mount.name == name).unwrap().read_only
    };
    // What a step could put there would run as, or lead, another container's program.
    for name in ["tools", "ext", "gh"] {
        assert_eq!(by_name(name), Some(true), "{name}");
    }
    assert_eq!(lowered.warnings, Vec::<String>::new());
}

#[test]
fn a_directory_of_the_runner_at_a_place_of_its_own_is_a_link() {
    let fields = json!({"volumeMounts": [
        {"name": "work", "mountPath": "/cache", "subPath": "shop/cache", "readOnly": true}]});
    let lowered = lowered(&fields, &json!([]), &mut SpareVolumes::default()).unwrap();
    let command = lowered.container.command.unwrap();
    assert_eq!(command[command.len() - 3..], ["--link", "/cache", "/__w/shop/cache"]);
    let text = lowered.warnings.join("\n");
    assert!(text.contains("/cache is not read-only"), "{text}");
}

#[test]
fn a_named_volume_is_one_volume_and_none_is_given_twice() {
    let volumes =
        json!([{"name": "named-a", "emptyDir": {}}, {"name": "job-user-0", "emptyDir": {}}]);
    let fields = json!({"volumeMounts": [
        {"name": "named-a", "mountPath": "/a"}, {"name": "job-user-0", "mountPath": "/b"}]});
    let mut spare = SpareVolumes::default();
    let first = lowered(&fields, &volumes, &mut spare).unwrap();
    let given = [("hookd-volume-0", "/a"), ("hookd-volume-1", "/b")];
    assert_eq!(mounts(&first), [OWN.as_slice(), &given].concat());
    // Another container of the same job.
    assert_eq!(mounts(&lowered(&fields, &volumes, &mut spare).unwrap()), mounts(&first));
    // Another job finds none left.
    let error = lowered(&fields, &volumes, &mut spare.next()).unwrap_err();
    assert!(error.to_string().contains("/a"), "{error}");
}

#[test]
fn what_an_ephemeral_container_cannot_have_is_named() {
    let volumes = json!([
        {"name": "job-user-0", "emptyDir": {"medium": "Memory"}},
        {"name": "job-user-1", "emptyDir": {"medium": "Memory"}},
    ]);
    let fields = json!({
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1"}},
        "volumeMounts": [
            {"name": "job-user-0", "mountPath": "/dev/shm"},
            {"name": "job-user-1", "mountPath": "/fast"},
            {"name": "ca", "mountPath": "/ca", "readOnly": true},
            {"name": "unknown", "mountPath": "/x"},
        ],
        "env": [{"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "own", "key": "v0"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}],
    });
    let lowered = lowered(&fields, &volumes, &mut SpareVolumes::default()).unwrap();
    let text = lowered.warnings.join("\n");
    for word in ["--shm-size", "/fast", "limits", "volume unknown"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(mounts(&lowered).contains(&("ca", "/ca")));
    let names: Vec<_> =
        lowered.container.env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["A", "C"]);
    let container = serde_json::to_value(&lowered.container).unwrap();
    for field in ["ports", "resources", "lifecycle", "startupProbe"] {
        assert!(container[field].is_null(), "{field}");
    }
}

#[test]
fn what_a_template_gives_a_pod_is_named_or_refused() {
    let own = ["job".to_owned()];
    let unused = |pod: Value| unused_of_pod(&serde_json::from_value(pod).unwrap(), &own);
    let lines = unused(json!({
        "containers": [{"name": "job"}, {"name": "sidecar"}],
        "volumes": [], "restartPolicy": "Never", "hostname": "box",
        "securityContext": {"supplementalGroups": [5], "seccompProfile": {"type": "RuntimeDefault"}},
    }));
    let text = lines.unwrap().join("\n");
    for word in ["container sidecar", "`spec.hostname`", "--group-add"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    for (pod, field) in [
        (json!({"containers": [], "runtimeClassName": "gvisor"}), "runtimeClassName"),
        (json!({"containers": [], "securityContext": {"runAsNonRoot": true}}), "runAsNonRoot"),
    ] {
        let error = unused(pod).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn only_containers_of_ours_that_run_are_found_in_a_pod() {
    let container = |name: &str, program: &str| json!({"name": name, "command": [program]});
    let status = |name: &str, state: &str| {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {state: {"exitCode": 0}}})
    };
    let pod = serde_json::from_value(json!({
        "spec": {"containers": [], "ephemeralContainers": [
            container("job-a", STEPD), container("step-b", STEPD), container("debugger-x", "sh"),
            container("step-c", STEPD)]},
        "status": {"ephemeralContainerStatuses": [status("job-a", "running"),
            status("step-b", "terminated"), status("debugger-x", "running")]},
    }));
    assert_eq!(running(&pod.unwrap()), ["job-a"]);
}

#[test]
fn a_container_without_a_seccomp_profile_gets_the_runtimes() {
    let profile = |fields: &Value| {
        let lowered = lowered(fields, &json!([]), &mut SpareVolumes::default()).unwrap();
        lowered.container.security_context.unwrap().seccomp_profile.unwrap().type_
    };
    assert_eq!(profile(&json!({})), "RuntimeDefault");
    let own = json!({"securityContext": {"seccompProfile": {"type": "Localhost",
        "localhostProfile": "p"}}});
    assert_eq!(profile(&own), "Localhost");
}

#[test]
fn a_container_under_another_name_has_another_socket_only() {
    let words = |name: &str| vec!["/__hookd/stepd".to_owned(), format!("/__hookd_run/{name}")];
    let container = EphemeralContainer {
        name: "job-1".into(),
        command: Some(words("job-1")),
        ..EphemeralContainer::default()
    };
    let other = renamed(container.clone(), "jobx-1");
    assert_eq!((other.name.as_str(), &other.command), ("jobx-1", &Some(words("jobx-1"))));
    assert_eq!(renamed(other, "job-1"), container);
}
