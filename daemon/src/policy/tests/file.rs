//! The file, its schema and its description agree.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[test]
fn a_file_that_is_no_policy_is_refused_with_its_place() {
    for (text, words) in [
        ("mode: audit\nimage: {}\n", vec!["image", "line 2"]),
        ("images:\n  allow: []\n", vec!["allow", "line 2"]),
        ("options: {cpu: 1}", vec!["cpu", "line 1"]),
        ("images: {allowed: []}\nimages: {}\n", vec!["images", "line 2"]),
        ("images:\n  allowed:\n  # - x\n", vec!["images.allowed has no value"]),
        ("images:\n", vec!["images has no value"]),
        ("", vec!["the file has no value"]),
        ("# nothing\n", vec!["the file has no value"]),
        ("[]", vec!["line 1"]),
        ("mode: off\n", vec!["line 1"]),
        ("mode: {\n", vec!["line"]),
        ("a: 1\n---\nmode: audit\n", vec!["line"]),
        ("images: {allowed: [busybox]}", vec!["busybox", "begins with its registry"]),
        ("images: {allowed: ['docker.io/busybox']}", vec!["two parts"]),
        ("images: {allowed: ['*.example.com/**']}", vec!["no registry"]),
        ("images: {allowed: ['library/busybox']}", vec!["no registry"]),
        ("images: {allowed: ['ghcr.io/Org/x']}", vec!["lower-case"]),
        ("images: {allowed: ['ghcr.io/o/x@sha256:0']}", vec!["digest is none"]),
        ("options: {allowed: [--cpu]}", vec!["--cpu"]),
        ("options: {allowed: [cpus]}", vec!["cpus"]),
        ("options: {cpus: lots}", vec!["lots"]),
        ("options: {memory: 0}", vec!["above 0"]),
        ("options: {users: [root]}", vec!["line 1"]),
        ("volumes: {targets: [/a/../b]}", vec!["/a/../b"]),
        ("volumes: {sources: [a/b]}", vec!["a/b"]),
        ("templates: [{file: /x}]", vec!["runnerLabels"]),
    ] {
        let error = read::rules("policy.yaml", text.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), Reason::PolicyInvalid, "{text}");
        let message = error.to_string();
        for word in words {
            assert!(message.contains(word), "{text:?} has {word:?} not in: {message}");
        }
    }
    let missing = Policy::read(Path::new("/nowhere/policy.yaml")).unwrap_err();
    assert_eq!(missing.reason(), Reason::PolicyInvalid);
}

/// A policy with every key.
const FULL: &str = include_str!("../../../../deploy/policy/policy.yaml");

/// The paths of all keys.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        let item = value.as_array().and_then(|items| items.first()).unwrap_or(value);
        keys(item, &path, found);
    }
}

/// The paths of all keys that a schema has, which takes no others.
fn schema_keys(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    let of = schema["$ref"].as_str().map(|name| name.trim_start_matches('#'));
    let schema = of.map_or(schema, |name| root.pointer(name).unwrap());
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{path}");
        for (name, schema) in properties {
            let path = format!("{path}.{name}");
            found.insert(path.clone());
            schema_keys(schema, root, &path, found);
        }
    }
    if schema["items"].is_object() {
        schema_keys(&schema["items"], root, path, found);
    }
}

#[test]
fn the_schema_has_the_keys_of_the_file() {
    let schema = include_str!("../../../../deploy/policy/policy.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let mut in_schema = BTreeSet::new();
    schema_keys(&schema, &schema, "", &mut in_schema);
    let mut known = BTreeSet::new();
    // As the code has them: what is not set is written too.
    let rules = serde_json::to_value(policy(FULL).rules).unwrap();
    keys(&rules, "", &mut known);
    known.retain(|key| !key.starts_with(".templates.runnerLabels."));
    assert_eq!(in_schema, known);
    // The example leaves none out.
    let mut written = BTreeSet::new();
    keys(&crate::yaml::parse(FULL.as_bytes()).unwrap(), "", &mut written);
    written.retain(|key| !key.starts_with(".templates.runnerLabels."));
    assert_eq!(written, known);
}

/// Helm reads no schema but that of the values.
#[test]
fn the_chart_has_the_same_schema_for_a_policy() {
    let chart = include_str!("../../../../deploy/chart/hookd/values.schema.json");
    let chart: Value = serde_json::from_str(chart).unwrap();
    let schema = include_str!("../../../../deploy/policy/policy.schema.json");
    let schema = schema.replace("\"#/$defs/", "\"#/$defs/policy/$defs/");
    let mut schema: Value = serde_json::from_str(&schema).unwrap();
    schema.as_object_mut().unwrap().remove("$schema");
    assert_eq!(chart["$defs"]["policy"], schema);
}

#[test]
fn the_examples_in_the_docs_are_policies() {
    let docs = include_str!("../../../../docs/policy.md");
    let blocks = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<_> = blocks.filter(|block| !block.contains("apiVersion")).collect();
    assert!(blocks.len() > 5, "{}", blocks.len());
    for block in blocks {
        policy(block);
    }
    let mut known = BTreeSet::new();
    keys(&serde_json::to_value(policy(FULL).rules).unwrap(), "", &mut known);
    for key in known.iter().filter_map(|key| key.rsplit('.').next()) {
        assert!(docs.contains(&format!("`{key}`")) || docs.contains(&format!("{key}:")), "{key}");
    }
}
