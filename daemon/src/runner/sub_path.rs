//! Where in its volume the runner pod has the work directory.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, VolumeMount};

/// The part of the volume that is mounted: `subPath`, or `subPathExpr` with the variables of its
/// container; empty: all of it.
///
/// # Errors
/// The variable whose value the runner pod does not show.
pub(super) fn of_mount(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
) -> Result<String, String> {
    if let Some(path) = mount.sub_path.as_ref().filter(|path| !path.is_empty()) {
        return Ok(path.clone());
    }
    expand(mount.sub_path_expr.as_deref().unwrap_or_default(), &variables(pod, container))
}

/// The variables of a container, as far as its pod shows them. One may name earlier ones.
fn variables(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value {
            Some(value) => expand(value, &known).ok(),
            None => from_field(pod, variable),
        };
        if let Some(value) = value {
            known.insert(variable.name.clone(), value);
        }
    }
    known
}

fn from_field(pod: &Pod, variable: &EnvVar) -> Option<String> {
    let field = &variable.value_from.as_ref()?.field_ref.as_ref()?.field_path;
    let metadata = &pod.metadata;
    let in_map = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        map.as_ref()?.get(key).cloned()
    };
    match field.as_str() {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        other => match other.strip_prefix("metadata.labels") {
            Some(rest) => in_map(&metadata.labels, rest),
            None => in_map(&metadata.annotations, other.strip_prefix("metadata.annotations")?),
        },
    }
}

/// Replaces `$(NAME)` as the kubelet does; `$$` stands for `$`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) =
            after.strip_prefix('(').and_then(|after| after.split_once(')'))
        {
            expanded.push_str(variables.get(name).ok_or_else(|| name.to_owned())?);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_are_expanded_as_the_kubelet_does() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "r-1", "labels": {"set/name": "blue"}},
            "spec": {"containers": [{"name": "x", "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "SET", "valueFrom": {"fieldRef":
                    {"fieldPath": "metadata.labels['set/name']"}}},
                {"name": "BOTH", "value": "$(SET)-$(POD)"},
                {"name": "HIDDEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ]}]},
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        for (path, expression, expected) in [
            (None, None, Ok("")),
            (Some("a/b"), None, Ok("a/b")),
            (Some(""), Some(""), Ok("")),
            (None, Some("runners/$(POD)"), Ok("runners/r-1")),
            (None, Some("$(BOTH)$$(POD)$x"), Ok("blue-r-1$(POD)$x")),
            (None, Some("$(HIDDEN)"), Err("HIDDEN")),
            (None, Some("$(NONE)"), Err("NONE")),
        ] {
            let mount = VolumeMount {
                sub_path: path.map(str::to_owned),
                sub_path_expr: expression.map(str::to_owned),
                ..VolumeMount::default()
            };
            let found = of_mount(&pod, container, &mount);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{expression:?}");
        }
    }
}
