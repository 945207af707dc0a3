use serde_json::{Value, json};

use super::*;
use crate::error::Reason;
use crate::names::{self, RUNNER_LABEL};

mod containers;
mod reading;

/// As hookd plans it, for a job with options and a service.
fn planned() -> Value {
    json!({
        "metadata": {"name": "p", "labels": {RUNNER_LABEL: "r"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 5,
            "hostname": "asked",
            "volumes": [{"name": "work"}],
            "initContainers": [{"name": "hookd-tools"}],
            "imagePullSecrets": [{"name": "job-credentials"}],
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["redis", "cache"]}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [on("metadata.name", "n")]}]}}},
            "securityContext": {"supplementalGroups": [7],
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "job", "image": "i", "command": ["stepd"],
                 "volumeMounts": [{"name": "work", "mountPath": "/__w"},
                    {"name": "mine", "mountPath": "/data"}],
                 "securityContext": {"runAsUser": 1001, "runAsGroup": 1001},
                 "resources": {"limits": {"memory": "1Gi"}}},
                {"name": "redis", "image": "redis:7", "args": ["--save"],
                 "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "v0"}}}],
                 "ports": [{"containerPort": 6379}]}],
        },
    })
}

fn on(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "In", "values": [value]})
}

fn try_merge(template: &str, target: Target, pod: Value) -> Result<(Value, String), Failure> {
    let template = Template::parse("t.yaml", template)?;
    let merged = template.merge(serde_json::from_value(pod).unwrap(), target)?;
    Ok((serde_json::to_value(merged.pod).unwrap(), merged.warnings.join("\n")))
}

/// The pod of a job with this template, and the warnings.
fn merged(template: &str) -> (Value, String) {
    try_merge(template, Target::JobPod, planned()).unwrap()
}

/// What is said of a template that hookd cannot work with.
fn refused(template: &str) -> String {
    let failure = try_merge(template, Target::JobPod, planned()).unwrap_err();
    assert_eq!(failure.reason, Reason::TemplateInvalid, "{template}");
    failure.message
}

// ARC#265: a template's hostAliases took the names of services away.
#[test]
fn hosts_of_the_template_and_names_of_services_both_resolve() {
    let (pod, warnings) = merged(
        "spec:\n  hostAliases:\n  - {ip: 10.20.30.40, hostnames: [git.corp.example]}\n  \
         - {ip: 127.0.0.1, hostnames: [other]}",
    );
    let aliases = &pod["spec"]["hostAliases"];
    assert_eq!(aliases[0], json!({"ip": "127.0.0.1", "hostnames": ["redis", "cache", "other"]}));
    assert_eq!(aliases[1]["ip"], "10.20.30.40");
    assert_eq!(warnings, "");
    let (pod, warnings) = merged("spec: {hostAliases: [{ip: 10.0.0.1, hostnames: [redis]}]}");
    assert_eq!(pod["spec"]["hostAliases"][0]["ip"], "127.0.0.1");
    assert!(warnings.contains("redis") && warnings.contains("10.0.0.1"), "{warnings}");
}

// rch#208, ARC#2434, ARC#1730: pull Secrets, affinity and security context were replaced.
#[test]
fn lists_are_appended_to_and_objects_merged_by_field() {
    let (pod, warnings) = merged(
        "spec:\n  imagePullSecrets: [{name: corp-mirror}, {name: job-credentials}]\n  \
         tolerations: [{key: ci, operator: Exists}]\n  volumes: [{name: cache, emptyDir: {}}]\n  \
         initContainers: [{name: first, image: i}]\n  nodeSelector: {pool: ci}\n  \
         containers: [{name: proxy, image: p}]\n  \
         topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]\n  \
         readinessGates: [{conditionType: example.com/x}]\n  \
         securityContext: {fsGroup: 1001, supplementalGroups: [8, 7], sysctls: [{name: a, value: b}]}",
    );
    insta::assert_yaml_snapshot!("merged_pod", pod);
    assert_eq!(warnings, "");
}

#[test]
fn the_node_must_fulfil_our_condition_and_one_of_the_templates() {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let (pod, _) = merged(
        "spec:\n  affinity:\n    nodeAffinity:\n      requiredDuringSchedulingIgnoredDuringExecution:\n        \
         nodeSelectorTerms:\n        - matchExpressions: [{key: a, operator: In, values: [x]}]\n        \
         - matchExpressions: [{key: b, operator: In, values: [x]}]\n        - {}\n    podAntiAffinity:\n      \
         preferredDuringSchedulingIgnoredDuringExecution:\n      \
         - {weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname}}",
    );
    let affinity = &pod["spec"]["affinity"];
    let ours = || json!([on("metadata.name", "n")]);
    let term = |key: &str| json!({"matchFields": ours(), "matchExpressions": [on(key, "x")]});
    let terms = &affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"];
    assert_eq!(*terms, json!([term("a"), term("b")]));
    assert!(affinity["podAntiAffinity"].is_object());
    let (pod, _) = merged("spec: {affinity: {nodeAffinity: null, podAffinity: {}}}");
    let terms = &pod["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"];
    assert_eq!(*terms, json!([{"matchFields": ours()}]));
}

#[test]
fn what_hookd_cannot_work_without_is_refused_by_its_field() {
    for (template, field) in [
        ("spec: {restartPolicy: Always}", "spec.restartPolicy"),
        ("spec: {hostPID: true}", "spec.hostPID"),
        ("spec: {shareProcessNamespace: true}", "spec.shareProcessNamespace"),
        ("spec: {nodeName: other}", "spec.nodeName"),
        ("spec: {os: {name: windows}}", "spec.os.name"),
        ("spec: {ephemeralContainers: [{name: x}]}", "spec.ephemeralContainers"),
        ("spec: {volumes: [{name: work, emptyDir: {}}]}", "spec.volumes[work]"),
        ("spec: {initContainers: [{name: hookd-tools, image: i}]}", "initContainers[hookd-tools]"),
        ("spec: {containers: [{name: job, image: i}]}", "spec.containers[job]"),
        ("spec: {containers: [{name: redis, image: i}]}", "spec.containers[redis]"),
        ("spec: {containers: [{name: $job, command: [x]}]}", "spec.containers[$job].command"),
        ("spec: {containers: [{name: $job, args: [x]}]}", "spec.containers[$job].args"),
        ("spec: {containers: [{name: $job, restartPolicy: Always}]}", "[$job].restartPolicy"),
        ("metadata: {labels: {runner-pod: stolen}}", "metadata.labels[runner-pod]"),
        ("metadata: {labels: {hookd.dev/step: x}}", "metadata.labels[hookd.dev/step]"),
        (
            "metadata: {annotations: {hookd.dev/repository: x}}",
            "metadata.annotations[hookd.dev/repository]",
        ),
    ] {
        let message = refused(template);
        assert!(message.contains(field), "{field} is not in: {message}");
    }
    // What changes nothing is none of that.
    let (pod, _) = merged(
        "spec: {restartPolicy: Never, hostPID: false, shareProcessNamespace: false, nodeName: n, \
         os: {name: linux}}",
    );
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
}

#[test]
fn null_and_empty_values_count_as_absent() {
    for template in [
        "",
        "# nothing yet\n",
        "---\n",
        "{}",
        "metadata:\nspec:\n",
        "metadata: {labels: null, annotations: }",
        "spec: {hostAliases: , imagePullSecrets: [], affinity: {}, nodeName: '', nodeSelector: null}",
        "spec: {securityContext: , serviceAccountName: '', priorityClassName: null}",
        "spec: {volumes: [null], containers: [null, null], initContainers: }",
        "spec: {containers: [{name: $job, env: , command: [], args: null, resources: {limits: }}]}",
        "spec: {containers: [{name: $job, env: [null], volumeMounts: , securityContext: {}}]}",
    ] {
        let (pod, warnings) = merged(template);
        let unchanged: Pod = serde_json::from_value(planned()).unwrap();
        assert_eq!(pod, serde_json::to_value(unchanged).unwrap(), "{template}");
        assert_eq!(warnings, "", "{template}");
    }
}

#[test]
fn a_service_account_brings_what_it_has_itself() {
    let automount = |template: &str| {
        let spec = merged(template).0["spec"].clone();
        (spec["serviceAccountName"].clone(), spec["automountServiceAccountToken"].clone())
    };
    assert_eq!(automount("spec: {serviceAccountName: a}"), (json!("a"), Value::Null));
    assert_eq!(automount("spec: {serviceAccount: a}"), (json!("a"), Value::Null));
    let without = "spec: {serviceAccountName: a, automountServiceAccountToken: false}";
    assert_eq!(automount(without), (json!("a"), json!(false)));
    let with = "spec: {automountServiceAccountToken: true}";
    assert_eq!(automount(with), (Value::Null, json!(true)));
    assert_eq!(automount("spec: {}"), (Value::Null, json!(false)));
}

#[test]
fn labels_and_annotations_are_added() {
    let (pod, _) = merged("metadata: {labels: {team: a}, annotations: {x: 'y'}}");
    assert_eq!(pod["metadata"]["labels"], json!({RUNNER_LABEL: "r", "team": "a"}));
    assert_eq!(pod["metadata"]["annotations"], json!({"x": "y"}));
}

#[test]
fn single_values_are_the_templates_with_a_warning() {
    let (pod, warnings) = merged(
        "spec: {hostname: theirs, priorityClassName: high, terminationGracePeriodSeconds: 30}",
    );
    assert_eq!(pod["spec"]["hostname"], "theirs");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(
        warnings,
        "The hook template sets spec.hostname to theirs; the workflow's asked is not used"
    );
}

#[test]
fn a_pod_of_a_build_gets_the_fields_of_placement_only() {
    let template = "metadata: {labels: {team: a}}\nspec:\n  nodeSelector: {pool: ci}\n  \
                    tolerations: [{key: ci}]\n  serviceAccountName: a\n  volumes: [{name: x}]\n  \
                    priorityClassName: low\n  containers:\n  - {name: $job, env: [{name: A}]}\n  \
                    - {name: proxy, image: i}\n  - {name: $build, resources: {limits: {cpu: 4}}}";
    let pod = json!({"spec": {"containers": [{"name": names::BUILD_CONTAINER}]}});
    let (pod, _) = try_merge(template, Target::BuildPod, pod).unwrap();
    let kaniko = json!({"name": names::BUILD_CONTAINER, "resources": {"limits": {"cpu": "4"}}});
    assert_eq!(
        pod["spec"],
        json!({"nodeSelector": {"pool": "ci"}, "tolerations": [{"key": "ci"}],
            "priorityClassName": "low", "containers": [kaniko]})
    );
    assert_eq!(pod["metadata"]["labels"], json!({"team": "a"}));
}
