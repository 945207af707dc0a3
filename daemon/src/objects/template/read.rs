//! From the file to a template: nulls are left out, wrong types are refused with their path, and
//! fields that hookd does not know are named.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Template;
use super::error::TemplateError;
use super::values::{is_empty, without_nulls};
use crate::error::{CommonError, Failure};

/// Longest file, in bytes.
const LONGEST: usize = crate::yaml::LIMIT;
/// Fields that hold quantities by a name of the user's choice.
const QUANTITIES: [&str; 3] = ["limits", "requests", "overhead"];
/// Fields that are quantities.
const QUANTITY: [&str; 2] = ["sizeLimit", "divisor"];

/// The text of the file.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        // One byte more shows that there is more.
        File::open(path)?.take(LONGEST as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let file = || path.display().to_string();
    Ok(read().map_err(|source| TemplateError::Unreadable { file: file(), source })?)
}

/// Reads a template without merging it with anything.
pub(super) fn template(file: &str, text: &str) -> Result<Template, Failure> {
    let own = || file.to_owned();
    if text.len() > LONGEST {
        return Err(TemplateError::TooLong { file: own(), limit: LONGEST }.into());
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Template::default());
    }
    let value: Value = crate::yaml::parse(text.as_bytes())
        .map_err(|error| TemplateError::NotYaml { file: own(), source: error.into() })?;
    let fields = match with_quantities(without_nulls(value)) {
        Value::Null => return Ok(Template::default()),
        Value::Object(fields) => fields,
        _ => return Err(TemplateError::NoObject { file: own() }.into()),
    };
    let mut warnings = Vec::new();
    for name in fields.keys() {
        if !matches!(name.as_str(), "metadata" | "spec" | "apiVersion" | "kind") {
            warnings.push(unknown(file, name));
        }
    }
    let metadata = part::<ObjectMeta>(file, &fields, "metadata", &mut warnings)?;
    for name in metadata.keys().filter(|name| !matches!(name.as_str(), "labels" | "annotations")) {
        warnings.push(format!(
            "The hook template {file} sets metadata.{name}, which is not used: only labels and \
             annotations are"
        ));
    }
    let spec = part::<PodSpec>(file, &fields, "spec", &mut warnings)?;
    check_containers(file, &spec)?;
    Ok(Template { metadata, spec, warnings })
}

fn unknown(file: &str, path: &str) -> String {
    format!("The hook template {file} has a field that hookd does not know and leaves out: {path}")
}

/// One part of the template, of the right types.
fn part<T: DeserializeOwned + Serialize>(
    file: &str,
    fields: &Map<String, Value>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Map<String, Value>, Failure> {
    let part = match fields.get(name) {
        None => return Ok(Map::new()),
        Some(Value::Object(part)) => part.clone(),
        Some(_) => {
            let (part, file) = (name.to_owned(), file.to_owned());
            return Err(TemplateError::PartNoObject { part, file }.into());
        }
    };
    let typed: T =
        serde_path_to_error::deserialize(Value::Object(part.clone())).map_err(|error| {
            let (path, source) = (error.path().to_string(), error.into_inner());
            let path = if path == "." { name.to_owned() } else { format!("{name}.{path}") };
            TemplateError::WrongType { path, file: file.to_owned(), source }
        })?;
    let known = serde_json::to_value(typed)
        .map_err(|error| CommonError::defect("A template has no JSON form", error))?;
    let whole = Value::Object(part.clone());
    unknown_fields(&whole, &known, name, &mut |path| warnings.push(unknown(file, path)));
    Ok(part)
}

/// Reports the paths of fields that the type did not take.
fn unknown_fields(given: &Value, known: &Value, path: &str, report: &mut dyn FnMut(&str)) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => unknown_fields(value, known, &path, report),
                    None if is_empty(value) => {}
                    None => report(&path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (at, (value, known)) in given.iter().zip(known).enumerate() {
                let name = value["name"].as_str().map_or_else(|| at.to_string(), str::to_owned);
                unknown_fields(value, known, &format!("{path}[{name}]"), report);
            }
        }
        _ => {}
    }
}

/// Kubernetes takes numbers for quantities, its Rust types do not.
fn with_quantities(value: Value) -> Value {
    let text = |value: Value| match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let value = match value {
                    Value::Object(amounts) if QUANTITIES.contains(&name.as_str()) => {
                        amounts.into_iter().map(|(name, value)| (name, text(value))).collect()
                    }
                    value if QUANTITY.contains(&name.as_str()) => text(value),
                    value => with_quantities(value),
                };
                (name, value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(list) => list.into_iter().map(with_quantities).collect(),
        other => other,
    }
}

/// What the API would refuse in the middle of a job.
fn check_containers(file: &str, spec: &Map<String, Value>) -> Result<(), Failure> {
    for list in ["containers", "initContainers"] {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let missing = match container["name"].as_str().unwrap_or_default() {
                "" => "name",
                name if name.starts_with('$') && list == "containers" => continue,
                _ if container["image"].as_str().unwrap_or_default().is_empty() => "image",
                _ => continue,
            };
            let path = format!("spec.{list}[{at}].{missing}");
            return Err(TemplateError::Missing { path, file: file.to_owned() }.into());
        }
    }
    Ok(())
}
