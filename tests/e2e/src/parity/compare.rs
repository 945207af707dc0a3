//! An image beside what docker makes.

use std::sync::Arc;

use serde_json::Value;

use super::tree::{Kind, Node, Tree};

/// What differs, in short; nothing if the image is as docker's.
pub(crate) fn differences(expected: &Value, config: &Value, files: &Tree) -> Vec<String> {
    let fields = expected["config"].as_object().into_iter().flatten();
    let of_config =
        fields.filter_map(|(name, value)| of_field(name, value, &config[name.as_str()]));
    let paths = expected["files"].as_object().into_iter().flatten();
    let of_files = paths.filter_map(|(path, value)| {
        let problems = of_file(path, value, files);
        (!problems.is_empty()).then(|| format!("{path}: {}", problems.join(", ")))
    });
    of_config.chain(of_files).collect()
}

/// A field of the configuration. Null, missing and empty are one.
fn of_field(name: &str, expected: &Value, actual: &Value) -> Option<String> {
    let (mut docker, mut here) = (items(expected), items(actual));
    // Ports and volumes are the keys of an object there and a list in the expectation.
    if expected.is_object() || actual.is_object() {
        docker.sort();
        here.sort();
    }
    if docker == here {
        return None;
    }
    let beside = |one: &[String], other: &[String]| {
        one.iter().filter(|item| !other.contains(item)).cloned().collect::<Vec<_>>().join(" ")
    };
    let (lost, added) = (beside(&docker, &here), beside(&here, &docker));
    Some(match (lost.as_str(), added.as_str()) {
        ("", "") if docker.len() == here.len() => {
            format!("{name}: in another order: {}", here.join(" "))
        }
        ("", "") => format!("{name}: some are twice: {}", here.join(" ")),
        (lost, "") => format!("{name}: without {lost}"),
        ("", added) => format!("{name}: with {added}"),
        (lost, added) => format!("{name}: {added}, not {lost}"),
    })
}

/// A value as a list of texts.
fn items(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| match value {
                Value::Object(empty) if empty.is_empty() => name.clone(),
                value => format!("{name}={}", text(value)),
            })
            .collect(),
        other => vec![text(other)],
    }
}

fn of_file(path: &str, expected: &Value, files: &Tree) -> Vec<String> {
    let node = match (files.get(path), expected.is_null()) {
        (None, true) => return Vec::new(),
        (Some(_), true) => return vec!["it is there".to_owned()],
        (None, false) => return vec!["it is missing".to_owned()],
        (Some(node), false) => node,
    };
    let mut problems = Vec::new();
    let mut note = |what: &str, docker: String, here: String| {
        if docker != here {
            problems.push(format!("{what} {here}, not {docker}"));
        }
    };
    let text = |name: &str| expected[name].as_str().map(str::to_owned);
    if let Some(kind) = text("type") {
        note("type", kind, node.kind.name().to_owned());
    }
    if let Some(mode) = text("mode") {
        note("mode", mode, format!("{:04o}", node.mode));
    }
    if let Some(owner) = text("owner") {
        note("owner", owner, node.owner.clone());
    }
    if let (Some(content), Kind::File(actual)) = (text("content"), &node.kind) {
        let actual = actual.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let actual = actual.unwrap_or_else(|| "<much>".to_owned());
        note("content", format!("{content:?}"), format!("{actual:?}"));
    }
    if let (Some(target), Kind::Link(actual)) = (text("target"), &node.kind) {
        note("target", target, actual.clone());
    }
    problems.extend(of_links_and_caps(node, expected, files));
    problems
}

fn of_links_and_caps(node: &Arc<Node>, expected: &Value, files: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(other) = expected["same_inode_as"].as_str()
        && !files.get(other).is_some_and(|other| Arc::ptr_eq(other, node))
    {
        problems.push(format!("no hard link to {other}"));
    }
    if expected["caps"].as_bool().is_some_and(|caps| caps != node.has_caps) {
        problems.push(format!("file capabilities {}", node.has_caps));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tree::Layer;
    use super::*;

    fn field(name: &str, expected: Value, actual: Value) -> String {
        of_field(name, &expected, &actual).unwrap_or_default()
    }

    #[test]
    fn null_missing_and_empty_are_the_same() {
        let expected = json!({"config": {"Cmd": null, "User": "", "Labels": {}, "Volumes": []}});
        let config = json!({"User": null, "Cmd": []});
        assert_eq!(differences(&expected, &config, &Tree::default()), Vec::<String>::new());
        assert_eq!(field("Volumes", json!(["/b", "/a"]), json!({"/a": {}, "/b": {}})), "");
        let health = json!({"Test": ["NONE"]});
        assert_eq!(field("Healthcheck", health, json!({"Test": ["NONE"], "Retries": null})), "");
    }

    #[test]
    fn a_field_that_differs_is_told_in_short() {
        assert_eq!(field("Cmd", json!(null), json!(["sh"])), "Cmd: with sh");
        assert_eq!(field("User", json!("app"), json!("")), "User: without app");
        assert_eq!(field("Env", json!(["A=1", "B=2"]), json!(["A=1", "B=3"])), "Env: B=3, not B=2");
        let swapped = field("Env", json!(["A=1", "B=2"]), json!(["B=2", "A=1"]));
        assert_eq!(swapped, "Env: in another order: B=2 A=1");
        let twice = field("Env", json!(["A=1"]), json!(["A=1", "A=1"]));
        assert_eq!(twice, "Env: some are twice: A=1 A=1");
        assert_eq!(field("Labels", json!({"a": ""}), json!({})), "Labels: without a=");
    }

    #[test]
    fn a_file_that_differs_is_told_with_its_path() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        header.set_uid(5);
        header.set_gid(6);
        archive.append_data(&mut header, "d/f", b"f\n".as_slice()).unwrap();
        let mut files = Tree::default();
        let archive = archive.into_inner().unwrap();
        files.apply(&Layer::read(archive.as_slice()).unwrap()).unwrap();
        let expected = json!({"files": {
            "/d/f": {"type": "file", "content": "f\n", "mode": "0644", "owner": "5:6"},
            "/d": {"type": "dir"},
            "/x": null,
        }});
        assert_eq!(differences(&expected, &Value::Null, &files), Vec::<String>::new());
        let expected = json!({"files": {
            "/d": null,
            "/d/f": {"content": "g", "mode": "4755", "owner": "0:0", "caps": true, "same_inode_as": "/d"},
            "/e": {"type": "dir"},
        }});
        let expected = differences(&expected, &Value::Null, &files);
        let file = "/d/f: mode 0644, not 4755, owner 5:6, not 0:0, content \"f\\n\", not \"g\", \
                    no hard link to /d, file capabilities false";
        assert_eq!(expected, ["/d: it is there", file, "/e: it is missing"]);
    }
}
