//! Facts about build pods under a template.

use serde_json::json;

use super::*;
use crate::error::Reason;

fn job() -> Job {
    serde_json::from_value(json!({
        "metadata": {"name": "b"},
        "spec": {"template": {
            "metadata": {"labels": {"runner-pod": "r"}},
            "spec": {
                "volumes": [{"name": "ca", "configMap": {"name": "c"}}],
                "imagePullSecrets": [{"name": "ours"}],
                "containers": [{
                    "name": "kaniko", "image": "k", "args": ["a"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
                    "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }},
    }))
    .unwrap()
}

/// The pod template of a build under this template.
fn placed(template: &str) -> Value {
    let template = Template::parse("t.yaml", template).unwrap();
    let job = place(Some(&template), None, job()).unwrap().job;
    serde_json::to_value(job.spec.unwrap().template).unwrap()
}

fn refused(template: &str) -> String {
    let error = Template::parse("t.yaml", template).unwrap_err();
    assert_eq!(error.reason, Reason::TemplateInvalid, "{error}");
    error.message
}

#[test]
fn the_template_in_building_md_is_that_of_a_build() {
    let docs = include_str!("../../../../../docs/building.md");
    let template = docs.split("```yaml\n").find(|block| block.starts_with("metadata:")).unwrap();
    let pod = placed(template.split("```").next().unwrap());
    assert_eq!(pod["metadata"]["labels"]["cost-center"], "ci");
    assert_eq!(pod["spec"]["nodeSelector"]["pool"], "builds");
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "8Gi");
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 2);
}

// ARC#1730, ARC#2434
#[test]
fn a_build_goes_where_the_pods_of_jobs_go() {
    let pod = placed(
        "metadata:\n  labels: {team: ci}\n  annotations: {a: b}\n\
         spec:\n  nodeSelector: {pool: ci, kubernetes.io/arch: s390x}\n  priorityClassName: high\n  runtimeClassName: gvisor\n  \
         schedulerName: mine\n  imagePullSecrets: [{name: theirs}]\n  \
         tolerations: [{key: dedicated, operator: Equal, value: ci, effect: NoSchedule}]\n  \
         affinity: {podAntiAffinity: {}}\n  serviceAccountName: jobs\n  volumes: [{name: cache}]\n  \
         containers: [{name: $job, env: [{name: X, value: y}]}, {name: proxy, image: p}]",
    );
    insta::assert_yaml_snapshot!("placed_build", pod);
    let spec = &pod["spec"];
    // What is the job's own is not the build's.
    assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
    assert_eq!(spec["containers"][0]["env"].as_array().unwrap().len(), 2);
    assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(spec.get("serviceAccountName"), None);
}

#[test]
fn a_build_has_the_architecture_of_the_runners_node() {
    let own = architecture(std::env::consts::ARCH).unwrap();
    let job = place(None, None, job()).unwrap().job;
    let spec = serde_json::to_value(job.spec.unwrap().template.spec).unwrap();
    assert_eq!(spec["nodeSelector"], json!({"kubernetes.io/arch": own}));
    assert_eq!(placed("spec: {nodeSelector: null}")["spec"]["nodeSelector"], spec["nodeSelector"]);
    let chosen = placed("spec: {nodeSelector: {kubernetes.io/arch: s390x}}");
    assert_eq!(chosen["spec"]["nodeSelector"], json!({"kubernetes.io/arch": "s390x"}));
    let affinity = placed(
        "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/arch, operator: In, \
         values: [arm64]}]}]}}}}",
    );
    assert_eq!(affinity["spec"].get("nodeSelector"), None);
}

#[test]
fn the_entry_build_changes_the_container_that_builds() {
    let pod = placed(
        "spec:\n  volumes: [{name: certs, configMap: {name: c}}, {name: other}]\n  containers:\n  \
         - name: $build\n    image: ignored\n    env: [{name: B, value: new}, {name: C, value: '3'}]\n    \
         resources: {limits: {memory: 8Gi}, requests: {cpu: '1'}}\n    \
         securityContext: {allowPrivilegeEscalation: false}\n    \
         volumeMounts: [{name: certs, mountPath: /certs}]",
    );
    let kaniko = &pod["spec"]["containers"][0];
    assert_eq!(kaniko["image"], "k");
    let set = |name: &str, value: &str| json!({"name": name, "value": value});
    assert_eq!(kaniko["env"], json!([set("A", "1"), set("B", "new"), set("C", "3")]));
    let limits = json!({"limits": {"cpu": "2", "memory": "8Gi"}, "requests": {"cpu": "1"}});
    assert_eq!(kaniko["resources"], limits);
    let security = &kaniko["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(kaniko["volumeMounts"], json!([{"name": "certs", "mountPath": "/certs"}]));
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["ca", "certs"]);
}

#[test]
fn the_entry_build_is_no_service_of_that_name() {
    let template = "spec: {containers: [{name: $build, env: [{name: A, value: '1'}]}]}";
    let template = Template::parse("t.yaml", template).unwrap();
    let pod = json!({"spec": {"containers": [{"name": "job"}, {"name": "build"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    let pod = template.merge(pod, Target::JobPod).unwrap().pod;
    assert_eq!(pod.spec.unwrap().containers[1].env, None);
}

#[test]
fn an_entry_build_that_would_break_a_build_names_the_field() {
    let entry = |fields: &str| format!("spec: {{containers: [{{name: $build, {fields}}}]}}");
    let table = [
        (entry("command: [x]"), "`command` of `$build`"),
        (entry("stdin: false"), "`stdin` of `$build`"),
        (entry("env: {a: b}"), "spec.containers[0].env"),
        (entry("securityContext: {runAsNonRoot: true}"), "`securityContext.runAsNonRoot`"),
        (entry("securityContext: {runAsUser: 1000}"), "`securityContext.runAsUser`"),
        (entry("securityContext: {readOnlyRootFilesystem: true}"), "readOnlyRootFilesystem"),
        (entry("volumeMounts: [{name: x, mountPath: /x}]"), "not a volume of the template"),
        (entry("volumeMounts: [{name: x, mountPath: /kaniko/.docker}]"), "Kaniko needs its own"),
        (entry("resources: {limits: text}"), "wrong type"),
        ("spec: {tolerations: [{key: 1}]}".to_owned(), "wrong type"),
    ];
    for (template, words) in table {
        let message = refused(&template);
        assert!(message.contains(words), "{template}: {message}");
        assert!(message.contains("t.yaml"), "{message}");
    }
    let template = "spec: {volumes: [{name: ca}], containers: [{name: $build, \
                    volumeMounts: [{name: ca, mountPath: /x}]}]}";
    let template = Template::parse("t.yaml", template).unwrap();
    let error = place(Some(&template), None, job()).unwrap_err();
    assert!(error.message.contains("a name that a volume of the build's pod has"), "{error}");
}

#[test]
fn a_build_goes_to_nodes_of_the_platform_that_it_is_for() {
    let selector = |template: &str| {
        let template = Template::parse("t.yaml", template).unwrap();
        let placed = place(Some(&template), Some("arm64"), job());
        placed.map(|placed| {
            let spec = placed.job.spec.unwrap().template.spec.unwrap();
            serde_json::to_value(spec.node_selector).unwrap()
        })
    };
    let expected =
        json!({"pool": "ci", "kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux"});
    assert_eq!(selector("spec: {nodeSelector: {pool: ci}}").unwrap(), expected);
    let same = "spec: {nodeSelector: {pool: ci, kubernetes.io/arch: arm64}}";
    assert_eq!(selector(same).unwrap(), expected);
    let error = selector("spec: {nodeSelector: {kubernetes.io/arch: amd64}}").unwrap_err();
    assert!(error.message.contains("arm64") && error.message.contains("amd64"), "{error}");
}
