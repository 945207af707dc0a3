//! What is no template, and what is not quite one.

use super::*;
use crate::error::Reason;

#[test]
fn what_is_no_template_is_reported_with_its_file() {
    for text in ["[a]", "text", "spec: text", "metadata: [a]", ": :", "a: &x [*x]", "--- a\n--- b"]
    {
        let error = Template::parse("/t/x.yaml", text).unwrap_err();
        assert_eq!(error.reason, Reason::TemplateInvalid, "{text}");
        assert!(error.message.contains("/t/x.yaml"), "{error}");
    }
    let long = "#".repeat(2 << 20);
    assert!(Template::parse("t", &long).unwrap_err().message.contains("longer"));
}

#[test]
fn a_value_of_a_wrong_type_is_reported_with_its_path() {
    for (text, path) in [
        ("spec: {volumes: {}}", "spec.volumes"),
        ("spec: {containers: [{name: 1}]}", "spec.containers[0].name"),
        ("spec: {containers: [{name: $job, env: [{name: A, value: 8080}]}]}", "[0].env[0].value"),
        ("spec: {containers: [{name: $job, resources: 5}]}", "spec.containers[0].resources"),
        ("spec: {hostNetwork: 'yes'}", "spec.hostNetwork"),
        ("metadata: {labels: {team: 1}}", "metadata.labels.team"),
        ("spec: {containers: [{image: i}]}", "spec.containers[0].name"),
        ("spec: {containers: [{name: proxy}]}", "spec.containers[0].image"),
        ("spec: {initContainers: [{name: $job}]}", "spec.initContainers[0].image"),
    ] {
        let error = Template::parse("t.yaml", text).unwrap_err();
        assert_eq!(error.reason, Reason::TemplateInvalid, "{text}");
        assert!(error.message.contains(path), "{path} is not in: {error}");
    }
}

#[test]
fn a_field_that_hookd_does_not_know_is_named_and_left_out() {
    let text = "kind: PodTemplate\ntemplate: {}\nmetadata: {name: x}\nspec:\n  nodeSelektor: {a: b}\n  \
                containers:\n  - {name: $job, securityContext: {runAsUsr: 5}, resources: {limits: {cpu: 2}}}";
    let template = Template::parse("t.yaml", text).unwrap();
    let warnings = template.warnings().join("\n");
    for path in [
        "out: template",
        "metadata.name",
        "spec.nodeSelektor",
        "spec.containers[$job].securityContext.runAsUsr",
    ] {
        assert!(warnings.contains(path), "{path} is not in: {warnings}");
    }
    assert_eq!(template.warnings().len(), 4, "{warnings}");
}

#[test]
fn a_template_out_of_reach_changes_nothing_but_warns() {
    let template = Template::unreachable("not there".to_owned());
    assert_eq!(template.warnings(), ["not there"]);
    let pod = Target::JobPod.bare_pod();
    let merged = template.merge(pod.clone(), Target::JobPod).unwrap();
    assert_eq!((merged.pod, merged.warnings), (pod, Vec::new()));
}
