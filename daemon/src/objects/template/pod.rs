//! Metadata and the pod's own fields.

use serde_json::{Map, Value, json};

use super::Target;
use super::error::TemplateError;
use super::rules::{Clash, POD, Rule, Unless};
use super::values::{List, append, is_empty, merge, replace, text_of};
use crate::error::Failure;
use crate::names::{JOB_LABEL, JOB_UID_LABEL, RUNNER_LABEL, STEP_LABEL};

/// Labels by which hookd and the Job controller find their pods.
const OWN_LABELS: [&str; 6] =
    [RUNNER_LABEL, STEP_LABEL, JOB_LABEL, JOB_UID_LABEL, "controller-uid", "job-name"];
/// Fields of the pod's security context that a container's own overrides.
const OF_CONTAINERS_TOO: [&str; 7] = [
    "appArmorProfile",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "windowsOptions",
];

pub(super) fn merge_metadata(pod: &mut Value, theirs: &Map<String, Value>) -> Result<(), Failure> {
    for kind in ["labels", "annotations"] {
        let Some(Value::Object(added)) = theirs.get(kind) else { continue };
        for (name, value) in added {
            if OWN_LABELS.contains(&name.as_str()) || name.starts_with("hookd.dev/") {
                return Err(TemplateError::OwnMetadata { kind, name: name.clone() }.into());
            }
            pod["metadata"][kind][name] = value.clone();
        }
    }
    Ok(())
}

/// Merges all fields but `containers`.
pub(super) fn merge_spec(
    pod: &mut Value,
    theirs: &Map<String, Value>,
    target: Target,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    for (name, value) in theirs.iter().filter(|(_, value)| !is_empty(value)) {
        let row = POD.iter().find(|row| row.name == name);
        if target == Target::BuildPod && !row.is_some_and(|row| row.placement) {
            continue;
        }
        let path = format!("spec.{name}");
        let ours = &mut pod["spec"][name.as_str()];
        match row.map_or(Rule::Replace, |row| row.rule) {
            Rule::Replace | Rule::Keep | Rule::Ignore => *ours = value.clone(),
            Rule::Override => replace(ours, value, &path, &mut reporter(warnings)),
            Rule::Merge => merge(ours, value, &path, &mut reporter(warnings)),
            Rule::Append { by, clash } => {
                let list = List { path: &path, by, clash };
                append(ours, value, list, &mut reporter(warnings))?;
            }
            Rule::Refuse { unless, why } => check_refused(&path, value, unless, why)?,
            Rule::Special => special(pod, theirs, name, warnings)?,
        }
    }
    let security = &mut pod["spec"]["securityContext"];
    if security.as_object().is_some_and(|fields| fields.values().all(Value::is_null)) {
        *security = Value::Null;
    }
    Ok(())
}

/// A field that hookd cannot let the template have.
pub(super) fn check_refused(
    path: &str,
    value: &Value,
    unless: Unless,
    why: &str,
) -> Result<(), Failure> {
    let is_harmless = match unless {
        Unless::Never => false,
        Unless::False => *value == Value::Bool(false),
        Unless::Text(text) => *value == text,
    };
    if is_harmless {
        return Ok(());
    }
    Err(TemplateError::Forbidden { path: path.to_owned(), why: why.to_owned() }.into())
}

fn special(
    pod: &mut Value,
    theirs: &Map<String, Value>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let (spec, value) = (&mut pod["spec"], &theirs[name]);
    match name {
        "affinity" => merge_affinity(&mut spec["affinity"], value),
        "hostAliases" => merge_host_aliases(&mut spec["hostAliases"], value, warnings),
        "nodeName" => {
            if let Some(node) = required_node(&spec["affinity"])
                && *value != node.as_str()
            {
                return Err(TemplateError::OtherNode { node: text_of(value), own: node }.into());
            }
            spec["nodeName"] = value.clone();
        }
        "os" => check_refused("spec.os.name", &value["name"], Unless::Text("linux"), LINUX)?,
        "securityContext" => merge_security(&mut spec["securityContext"], value, warnings)?,
        "serviceAccount" | "serviceAccountName" => {
            spec["serviceAccountName"] = value.clone();
            // The template wants what the account has; the account itself, or the
            // template's own field, says whether its token is mounted.
            if !theirs.contains_key("automountServiceAccountToken") {
                spec["automountServiceAccountToken"] = Value::Null;
            }
        }
        // Merged by the calling function.
        _ => {}
    }
    Ok(())
}

const LINUX: &str = "stepd is a program for Linux";

fn is_set(fields: &Value, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !is_empty(value))
}

/// All of ours and all of theirs: each of their alternatives for the node gets each of ours.
fn merge_affinity(ours: &mut Value, theirs: &Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |affinity: &Value| -> Vec<Value> {
        let terms = &affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"];
        // A term without a condition matches no node: it must not become ours.
        let has_condition = |term: &&Value| term.as_object().is_some_and(|term| !term.is_empty());
        terms.as_array().into_iter().flatten().filter(has_condition).cloned().collect()
    };
    let (own, added) = (terms(ours), terms(theirs));
    let both = |own: &Value, added: &Value| {
        let mut term = own.clone();
        merge(&mut term, added, "", &mut |_, _, _| {});
        term
    };
    let all: Vec<Value> = match (own.is_empty(), added.is_empty()) {
        (true, _) => added,
        (_, true) => own,
        _ => added.iter().flat_map(|added| own.iter().map(|own| both(own, added))).collect(),
    };
    merge(ours, theirs, "", &mut |_, _, _| {});
    if !all.is_empty() {
        ours["nodeAffinity"][REQUIRED] = json!({"nodeSelectorTerms": all});
    }
}

/// The one node that a pod of ours must run on.
fn required_node(affinity: &Value) -> Option<String> {
    let required = &affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array()?;
    let fields = terms.iter().flat_map(|term| term["matchFields"].as_array().into_iter().flatten());
    let mut named = fields.filter(|field| field["key"] == "metadata.name");
    Some(named.next()?["values"][0].as_str()?.to_owned())
}

/// Names are added to the addresses that are there; a name of ours keeps its address.
fn merge_host_aliases(ours: &mut Value, theirs: &Value, warnings: &mut Vec<String>) {
    let mut all = ours.as_array().cloned().unwrap_or_default();
    let known = all.clone();
    for theirs in theirs.as_array().into_iter().flatten() {
        for name in theirs["hostnames"].as_array().into_iter().flatten() {
            let other = known.iter().find(|alias| {
                alias["ip"] != theirs["ip"]
                    && alias["hostnames"].as_array().is_some_and(|names| names.contains(name))
            });
            if let Some(other) = other {
                warnings.push(format!(
                    "Hook template: the host {} is a service or host of the workflow: {} stays, and \
                     the template's {} comes second",
                    text_of(name),
                    text_of(&other["ip"]),
                    text_of(&theirs["ip"])
                ));
            }
        }
        match all.iter_mut().find(|alias| alias["ip"] == theirs["ip"]) {
            Some(alias) => merge(alias, theirs, "", &mut |_, _, _| {}),
            None => all.push(theirs.clone()),
        }
    }
    *ours = all.into();
}

fn merge_security(
    ours: &mut Value,
    theirs: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut rest = theirs.clone();
    if let Some(fields) = rest.as_object_mut() {
        let sysctls = fields.remove("sysctls").unwrap_or_default();
        let path = "spec.securityContext.sysctls";
        let list = List { path, by: &["name"], clash: Clash::Merge };
        if !is_empty(&sysctls) {
            append(&mut ours["sysctls"], &sysctls, list, &mut reporter(warnings))?;
        }
    }
    // What else is there of ours are defaults.
    merge(ours, &rest, "spec.securityContext", &mut |_, _, _| {});
    // Without it the kubelet changes the owner of every file of the work volume at every start.
    if ours["fsGroup"].is_number() && ours["fsGroupChangePolicy"].is_null() {
        ours["fsGroupChangePolicy"] = "OnRootMismatch".into();
    }
    Ok(())
}

/// The template's security context of the pod holds for the containers of the workflow too, whose
/// options would win otherwise.
pub(super) fn let_pod_security_rule(
    pod: &mut Value,
    theirs: &Map<String, Value>,
    warnings: &mut Vec<String>,
) {
    let Some(security) = theirs.get("securityContext") else { return };
    let named: Vec<_> = OF_CONTAINERS_TOO.iter().filter(|name| is_set(security, name)).collect();
    let by_template = |container: &str, field: &str| {
        let entries = theirs.get("containers").and_then(Value::as_array).into_iter().flatten();
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
        let mut mine = entries.filter(|entry| {
            let name = name(entry);
            // `$job` is the container `step` in pods of container steps.
            name == container || name == format!("${container}") || name == "$job"
        });
        mine.any(|entry| is_set(&entry["securityContext"], field))
    };
    let containers = pod["spec"]["containers"].as_array_mut().into_iter().flatten();
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let Some(own) = container["securityContext"].as_object_mut() else { continue };
        for field in named.iter().filter(|field| !by_template(&name, field)) {
            let is_other = own.get(**field).is_some_and(|value| *value != security[**field]);
            if is_other && let Some(asked) = own.remove(**field) {
                let path = format!("spec.securityContext.{field}");
                warnings.push(overridden(&name, &path, &asked, &security[**field]));
            }
        }
        let root = own.get("runAsUser").is_some_and(|user| *user == 0);
        if root && security["runAsNonRoot"] == true && !by_template(&name, "runAsUser") {
            own.remove("runAsUser");
            let path = "spec.securityContext.runAsNonRoot";
            warnings.push(overridden(&name, path, &"user 0".into(), &true.into()));
        }
    }
}

/// A line on what the template has in place of what the workflow asked for.
pub(super) fn overridden(container: &str, path: &str, asked: &Value, theirs: &Value) -> String {
    let value = |value: &Value| match value {
        Value::String(_) | Value::Bool(_) | Value::Number(_) => Some(text_of(value)),
        _ => None,
    };
    match (value(asked), value(theirs)) {
        (Some(asked), Some(theirs)) => format!(
            "Container {container}: the hook template sets {path} to {theirs}; the workflow's {asked} \
             is not used"
        ),
        _ => format!(
            "Container {container}: the hook template sets {path}; what the workflow asks for there \
             is not used"
        ),
    }
}

/// Writes a warning for each value of the workflow that the template overrides in the pod.
fn reporter(warnings: &mut Vec<String>) -> impl FnMut(&str, &Value, &Value) {
    |path, ours, theirs| {
        warnings.push(format!(
            "The hook template sets {path} to {}; the workflow's {} is not used",
            text_of(theirs),
            text_of(ours)
        ));
    }
}
