//! Containers of ours that the template changes.

use serde_json::json;

use super::*;

fn job(template: &str) -> (Value, String) {
    let fields = template.replace('\n', " ");
    let (pod, warnings) = merged(&format!("spec: {{containers: [{{name: $job, {fields}}}]}}"));
    (pod["spec"]["containers"][0].clone(), warnings)
}

// rch#116, ARC#2890: a securityContext for `$job` took `--user` and `--memory` away.
#[test]
fn what_the_template_does_not_name_stays_as_the_workflow_asked() {
    let (job, warnings) = job(
        "securityContext: {allowPrivilegeEscalation: false}, resources: {requests: {cpu: 100m}}",
    );
    let security =
        json!({"runAsUser": 1001, "runAsGroup": 1001, "allowPrivilegeEscalation": false});
    assert_eq!(job["securityContext"], security);
    assert_eq!(job["resources"], json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}}));
    assert_eq!(warnings, "");
}

#[test]
fn a_template_that_contradicts_options_wins_with_a_warning() {
    let (changed, warnings) = job("securityContext: {runAsUser: 0}");
    assert_eq!(changed["securityContext"]["runAsUser"], 0);
    assert_eq!(changed["securityContext"]["runAsGroup"], 1001);
    assert_eq!(
        warnings,
        "Container job: the hook template sets spec.containers[$job].securityContext.runAsUser to 0; \
         the workflow's 1001 is not used"
    );
    let (changed, warnings) = job("resources: {limits: {memory: 2Gi, cpu: 1}}");
    assert_eq!(changed["resources"]["limits"], json!({"memory": "2Gi", "cpu": "1"}));
    assert!(warnings.contains("limits.memory to 2Gi; the workflow's 1Gi"), "{warnings}");
    // A request above the workflow's limit would make no pod.
    let (changed, warnings) = job("resources: {requests: {memory: 2Gi}}");
    assert_eq!(changed["resources"], json!({"limits": {}, "requests": {"memory": "2Gi"}}));
    assert!(warnings.contains("limits.memory to 2Gi; the workflow's 1Gi"), "{warnings}");
}

fn with_options(options: &Value, template: &str) -> (Value, String) {
    let mut pod = planned();
    pod["spec"]["containers"][0]["securityContext"] = options.clone();
    let (pod, warnings) = try_merge(template, Target::JobPod, pod).unwrap();
    (pod["spec"]["containers"][0]["securityContext"].clone(), warnings)
}

#[test]
fn what_makes_no_pod_with_a_security_context_is_dropped() {
    let template = |fields: &str| {
        format!("spec: {{containers: [{{name: $job, securityContext: {{{fields}}}}}]}}")
    };
    for (options, fields, expected, word) in [
        (
            json!({"privileged": true}),
            "allowPrivilegeEscalation: false",
            json!({"allowPrivilegeEscalation": false}),
            "--privileged",
        ),
        (
            json!({"runAsUser": 0}),
            "runAsNonRoot: true",
            json!({"runAsNonRoot": true}),
            "runAsNonRoot",
        ),
        (
            json!({"capabilities": {"add": ["NET_ADMIN", "SYS_PTRACE"]}}),
            "capabilities: {drop: [CAP_NET_ADMIN]}",
            json!({"capabilities": {"add": ["SYS_PTRACE"], "drop": ["CAP_NET_ADMIN"]}}),
            "NET_ADMIN",
        ),
    ] {
        let (security, warnings) = with_options(&options, &template(fields));
        assert_eq!(security, expected, "{fields}");
        assert!(warnings.contains(word), "{fields}: {warnings}");
    }
    let options = json!({"capabilities": {"add": ["SYS_PTRACE"]}});
    let (security, warnings) = with_options(&options, &template("capabilities: {drop: [ALL]}"));
    assert_eq!(security, json!({"capabilities": {"add": ["SYS_PTRACE"], "drop": ["ALL"]}}));
    assert_eq!(warnings, "");
}

#[test]
fn the_templates_security_context_holds_against_options() {
    let options = json!({"runAsUser": 0, "runAsGroup": 5});
    let (security, warnings) =
        with_options(&options, "spec: {securityContext: {runAsUser: 1000, runAsNonRoot: true}}");
    assert_eq!(security, json!({"runAsGroup": 5}));
    assert!(warnings.contains("spec.securityContext.runAsUser to 1000; the workflow's 0"));
    let template = "spec: {securityContext: {runAsUser: 1000}, \
                    containers: [{name: $job, securityContext: {runAsUser: 5}}]}";
    assert_eq!(with_options(&options, template).0["runAsUser"], 5);
}

#[test]
fn lists_of_a_container_are_appended_to() {
    let (job, warnings) = job(
        "image: other, env: [{name: B, value: '2'}], envFrom: [{secretRef: {name: s}}], ports: \
         [{containerPort: 80}], volumeMounts: [{name: cache, mountPath: /cache}]",
    );
    assert_eq!((job["name"].as_str(), job["image"].as_str()), (Some("job"), Some("i")));
    assert_eq!(job["volumeMounts"].as_array().unwrap().len(), 3);
    for list in ["env", "envFrom", "ports"] {
        assert_eq!(job[list].as_array().map(Vec::len), Some(1), "{list}");
    }
    assert!(warnings.contains("spec.containers[$job].image of the hook template is not used"));
}

#[test]
fn a_mount_of_the_template_takes_no_place_that_hookd_needs() {
    for path in ["/__w", "/__w/", "/__hookd", "/__hookd/usr/x", "/__hookd_run", "/__r"] {
        let message = refused(&format!(
            "spec: {{containers: [{{name: $job, volumeMounts: [{{name: x, mountPath: {path}}}]}}]}}"
        ));
        assert!(message.contains("volumeMounts") && message.contains(path.trim_end_matches('/')));
    }
    let (changed, warnings) = job("volumeMounts: [{name: x, mountPath: /data/}]");
    assert_eq!(changed["volumeMounts"][1]["name"], "x");
    assert!(warnings.contains("volumeMounts[/data"), "{warnings}");
    let (changed, warnings) = job("volumeMounts: [{name: x, mountPath: /__w/_tool}]");
    assert_eq!((changed["volumeMounts"].as_array().unwrap().len(), warnings.as_str()), (3, ""));
}

#[test]
fn a_service_is_changed_by_its_name() {
    let (pod, warnings) = merged(
        "spec:\n  containers:\n  - {name: $redis, command: [x], args: [--other], env: [{name: A, \
         value: secret}], ports: [{containerPort: 6379, name: main}]}\n  - {name: $none, args: [y]}",
    );
    let redis = &pod["spec"]["containers"][1];
    assert_eq!(redis["command"], json!(["x"]));
    assert_eq!(redis["args"], json!(["--other"]));
    assert_eq!(redis["env"], json!([{"name": "A", "value": "secret"}]));
    assert_eq!(redis["ports"], json!([{"containerPort": 6379, "name": "main"}]));
    for path in ["[$redis].args", "[$redis].env[A]"] {
        assert!(warnings.contains(path), "{path} is not in {warnings}");
    }
    assert!(!warnings.contains("secret"), "{warnings}");
    assert_eq!(pod["spec"]["containers"].as_array().unwrap().len(), 2);
}

#[test]
fn each_of_several_services_of_one_image_is_changed() {
    let pod = json!({"spec": {"containers": [
        {"name": "job"}, {"name": "redis-0"}, {"name": "redis-1"}, {"name": "job-0"}]}});
    let template = "spec: {containers: [{name: $redis, tty: true}, {name: $job, stdin: true}]}";
    let (pod, _) = try_merge(template, Target::JobPod, pod).unwrap();
    let set = |field: &str| -> Vec<_> {
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let set = containers.iter().filter(|one| one[field] == true);
        set.map(|one| one["name"].as_str().unwrap()).collect()
    };
    assert_eq!((set("tty"), set("stdin")), (vec!["redis-0", "redis-1"], vec!["job"]));
}

#[test]
fn a_container_step_keeps_its_directory_and_its_variables() {
    let pod = json!({"spec": {"containers": [{"name": "step", "command": ["c"],
        "workingDir": "/github/workspace", "env": [{"name": "A", "value": "1"}]}]}});
    let template = "spec: {containers: [{name: $job, workingDir: /w, imagePullPolicy: Always, \
                    env: [{name: A, value: '2'}, {name: B, value: '3'}]}]}";
    let (pod, warnings) = try_merge(template, Target::StepPod, pod).unwrap();
    let step = &pod["spec"]["containers"][0];
    assert_eq!(
        (&step["workingDir"], &step["command"]),
        (&json!("/github/workspace"), &json!(["c"]))
    );
    assert_eq!(step["imagePullPolicy"], "Always");
    assert_eq!(step["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]));
    assert!(warnings.contains("workingDir") && warnings.contains("env[A]"), "{warnings}");
}

#[test]
fn variables_of_the_job_container_are_known_by_name() {
    let template = "spec: {containers: [{name: $job, env: [{name: A, value: x}]}, {name: $x, env: \
                    [{name: B}]}]}";
    let template = Template::parse("t", template).unwrap();
    assert_eq!(template.job_variables().into_iter().collect::<Vec<_>>(), ["A"]);
}
