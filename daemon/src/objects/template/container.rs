//! The containers of the template: those that change ours, and those that are added.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::TemplateError;
use super::pod::{check_refused, overridden};
use super::rules::{Clash, Rule, of_container};
use super::values::{List, append, is_empty, merge as merge_values, replace, text_of};
use crate::config::quantity::quantity;
use crate::error::Failure;
use crate::objects::tools::STEPD_DIR;

/// Which of ours is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The job container.
    Job,
    /// That of a container step.
    Step,
    /// A service.
    Service,
    /// Kaniko.
    Build,
}

/// Directories of stepd and of its tools, in which nothing else may be mounted.
const STEPDS: [&str; 3] = ["/__hookd", STEPD_DIR, "/__r"];
/// Paths that the runner relies on.
const CONTRACT: [&str; 3] = ["/__w", "/__e", "/github"];

/// Names of containers.
pub(super) fn names(containers: &Value) -> Vec<String> {
    let containers = containers.as_array().into_iter().flatten();
    containers.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
}

/// Adds a container beside ours.
pub(super) fn add(pod: &mut Value, theirs: &Value, own: &[String]) -> Result<(), Failure> {
    let name = text_of(&theirs["name"]);
    if own.contains(&name) {
        return Err(TemplateError::OwnContainer { name }.into());
    }
    if let Some(containers) = pod["spec"]["containers"].as_array_mut() {
        containers.push(theirs.clone());
    }
    Ok(())
}

/// Changes a container of ours.
pub(super) fn merge(
    ours: &mut Value,
    theirs: &Value,
    kind: Kind,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let name = text_of(&ours["name"]);
    let at = format!("spec.containers[{}]", text_of(&theirs["name"]));
    let fields = theirs.as_object().into_iter().flatten();
    for (field, value) in fields.filter(|(_, value)| !is_empty(value)) {
        let path = format!("{at}.{field}");
        let mut report = |path: &str, ours: &Value, theirs: &Value| {
            // A variable's value is not for a log.
            let both = if field == "env" { (&Value::Null, &Value::Null) } else { (ours, theirs) };
            warnings.push(overridden(&name, path, both.0, both.1));
        };
        let mine = &mut ours[field.as_str()];
        match of_container(field, kind == Kind::Service, kind == Kind::Step) {
            Rule::Refuse { unless, why } => check_refused(&path, value, unless, why)?,
            Rule::Append { by, clash: Clash::Keep } => {
                let mut kept = |path: &str, _: &Value, _: &Value| warnings.push(stays(&name, path));
                let list = List { path: &path, by, clash: Clash::Keep };
                append(mine, value, list, &mut kept)?;
            }
            Rule::Append { by, clash } => {
                append(mine, value, List { path: &path, by, clash }, &mut report)?;
            }
            Rule::Keep if !is_empty(mine) => warnings.push(stays(&name, &path)),
            Rule::Ignore => warnings.push(stays(&name, &path)),
            Rule::Special => special(field, mine, value, &path, &mut report)?,
            Rule::Merge => merge_values(mine, value, &path, &mut report),
            Rule::Keep | Rule::Replace | Rule::Override => {
                replace(mine, value, &path, &mut report);
            }
        }
    }
    Ok(())
}

fn stays(container: &str, path: &str) -> String {
    format!("Container {container}: {path} of the hook template is not used: the workflow's stays")
}

/// Fields with a rule of their own.
fn special(
    field: &str,
    ours: &mut Value,
    theirs: &Value,
    path: &str,
    report: &mut dyn FnMut(&str, &Value, &Value),
) -> Result<(), Failure> {
    match field {
        "volumeMounts" => merge_mounts(ours, theirs, path, report)?,
        "resources" => {
            merge_values(ours, theirs, path, report);
            for dropped in lower_of_two(ours, theirs) {
                dropped.report(path, report);
            }
        }
        "securityContext" => {
            for dropped in without_contradictions(ours, theirs) {
                dropped.report(path, report);
            }
            merge_values(ours, theirs, path, report);
        }
        _ => {}
    }
    Ok(())
}

/// What the workflow asked for and the template rules out.
struct Dropped {
    /// The field of the template that does.
    field: String,
    /// What was asked for.
    asked: Value,
    /// What holds instead.
    stays: Value,
}

impl Dropped {
    fn new(field: impl Into<String>, asked: impl Into<Value>, stays: impl Into<Value>) -> Self {
        Self { field: field.into(), asked: asked.into(), stays: stays.into() }
    }

    /// `path`: of the object that has the field.
    fn report(&self, path: &str, report: &mut dyn FnMut(&str, &Value, &Value)) {
        report(&format!("{path}.{}", self.field), &self.asked, &self.stays);
    }
}

/// The path identifies a mount.
fn merge_mounts(
    ours: &mut Value,
    theirs: &Value,
    path: &str,
    report: &mut dyn FnMut(&str, &Value, &Value),
) -> Result<(), Failure> {
    let mut all = ours.as_array().cloned().unwrap_or_default();
    for mount in theirs.as_array().into_iter().flatten() {
        let target = Path::new(mount["mountPath"].as_str().unwrap_or_default());
        let own = || TemplateError::OwnMount {
            path: path.to_owned(),
            target: target.display().to_string(),
        };
        if STEPDS.iter().any(|directory| target.starts_with(directory)) {
            return Err(own().into());
        }
        let is_there = |one: &Value| one["mountPath"].as_str().map(Path::new) == Some(target);
        match all.iter().position(is_there) {
            None => all.push(mount.clone()),
            Some(_) if CONTRACT.iter().any(|directory| target.starts_with(directory)) => {
                return Err(own().into());
            }
            Some(at) => {
                replace(&mut all[at], mount, &format!("{path}[{}]", target.display()), report);
            }
        }
    }
    *ours = all.into();
    Ok(())
}

/// Drops the workflow's request or limit that the template's limit or request rules out.
fn lower_of_two(ours: &mut Value, theirs: &Value) -> Vec<Dropped> {
    let amount = |value: &Value| value.as_str().and_then(quantity);
    let requests = ours["requests"].as_object().cloned().unwrap_or_default();
    let mut dropped = Vec::new();
    for (resource, request) in requests {
        let limit = ours["limits"][resource.as_str()].clone();
        let (Some(wanted), Some(most)) = (amount(&request), amount(&limit)) else { continue };
        if wanted <= most {
            continue;
        }
        let by_template = |kind: &str| !theirs[kind][resource.as_str()].is_null();
        let (kind, gone, stays) = match (by_template("requests"), by_template("limits")) {
            (false, true) => ("requests", request, limit),
            (true, false) => ("limits", limit, request),
            _ => continue,
        };
        if let Some(fields) = ours[kind].as_object_mut() {
            fields.remove(&resource);
        }
        dropped.push(Dropped::new(format!("{kind}.{resource}"), gone, stays));
    }
    dropped
}

/// Drops what the workflow asked for and the template's security context rules out.
fn without_contradictions(ours: &mut Value, theirs: &Value) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    let Some(own) = ours.as_object_mut() else { return dropped };
    let is_set = |name: &str| theirs.get(name).is_some_and(|value| !is_empty(value));
    let no_more_privileges = theirs["allowPrivilegeEscalation"] == false;
    if no_more_privileges && !is_set("privileged") && own.get("privileged") == Some(&true.into()) {
        own.remove("privileged");
        dropped.push(Dropped::new("allowPrivilegeEscalation", "--privileged", false));
    }
    if theirs["runAsNonRoot"] == true
        && !is_set("runAsUser")
        && own.get("runAsUser").is_some_and(|user| *user == 0)
    {
        own.remove("runAsUser");
        dropped.push(Dropped::new("runAsNonRoot", "user 0", true));
    }
    if let Some(capabilities) = own.get_mut("capabilities").and_then(Value::as_object_mut) {
        dropped.extend(opposite(capabilities, "add", "drop", theirs));
        dropped.extend(opposite(capabilities, "drop", "add", theirs));
        let add = capabilities.get_mut("add").and_then(Value::as_array_mut);
        if let Some(add) = add.filter(|_| no_more_privileges) {
            let before = add.len();
            add.retain(|one| !matches!(one.as_str(), Some("SYS_ADMIN" | "CAP_SYS_ADMIN")));
            if add.len() < before {
                dropped.push(Dropped::new("allowPrivilegeEscalation", "SYS_ADMIN", false));
            }
        }
    }
    dropped
}

/// Takes from our list `mine` the capabilities that the template has in its list `others`, the
/// opposite one. `ALL` names the rest, so that it contradicts none.
fn opposite(
    ours: &mut Map<String, Value>,
    mine: &str,
    others: &str,
    theirs: &Value,
) -> Vec<Dropped> {
    let bare = |value: &Value| text_of(value).trim_start_matches("CAP_").to_owned();
    let list = |name: &str| theirs["capabilities"][name].as_array().cloned().unwrap_or_default();
    let (against, with) = (list(others), list(mine));
    let is_against = |value: &Value| {
        let is_it = |other: &Value| bare(other) == bare(value) && bare(other) != "ALL";
        against.iter().any(is_it) && !with.iter().any(is_it)
    };
    let Some(own) = ours.get_mut(mine).and_then(Value::as_array_mut) else { return Vec::new() };
    let gone: Vec<Value> = own.iter().filter(|value| is_against(value)).cloned().collect();
    own.retain(|value| !is_against(value));
    let dropped = |value: Value| {
        let asked = format!("{mine} {}", bare(&value));
        Dropped::new(format!("capabilities.{others}"), asked, value)
    };
    gone.into_iter().map(dropped).collect()
}
