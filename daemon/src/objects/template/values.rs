//! Merging of values of any type.

use serde_json::{Map, Value};

use super::error::TemplateError;
use super::rules::Clash;
use crate::error::Failure;

/// True for what a template may leave out as well.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Objects by field, lists appended to, a single value replaced; `overridden` hears the path of each
/// value of ours that is replaced by another one, with both.
pub(super) fn merge(
    ours: &mut Value,
    theirs: &Value,
    path: &str,
    overridden: &mut dyn FnMut(&str, &Value, &Value),
) {
    match (&mut *ours, theirs) {
        (_, Value::Null) => {}
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in theirs {
                let path = format!("{path}.{name}");
                // Of such a union the fields of both would contradict each other.
                if matches!(name.as_str(), "seccompProfile" | "appArmorProfile") {
                    replace(ours.entry(name).or_insert(Value::Null), value, &path, overridden);
                } else {
                    merge(ours.entry(name).or_insert(Value::Null), value, &path, overridden);
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for value in theirs {
                if !ours.contains(value) {
                    ours.push(value.clone());
                }
            }
        }
        _ => replace(ours, theirs, path, overridden),
    }
}

/// The template's value in place of ours.
pub(super) fn replace(
    ours: &mut Value,
    theirs: &Value,
    path: &str,
    overridden: &mut dyn FnMut(&str, &Value, &Value),
) {
    if !is_empty(ours) && ours != theirs {
        overridden(path, ours, theirs);
    }
    *ours = theirs.clone();
}

/// A list that a template may append to.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    /// Its name for messages.
    pub(super) path: &'a str,
    /// The fields that identify its entries; none: the whole entry.
    pub(super) by: &'a [&'a str],
    /// What becomes of an entry that both have.
    pub(super) clash: Clash,
}

/// Appends the entries of `theirs`; `overridden` is called as by [`merge`].
///
/// # Errors
/// `TEMPLATE_INVALID` for an entry of ours that hookd needs.
pub(super) fn append(
    ours: &mut Value,
    theirs: &Value,
    list: List<'_>,
    overridden: &mut dyn FnMut(&str, &Value, &Value),
) -> Result<(), Failure> {
    let List { path, by, clash } = list;
    let Value::Array(theirs) = theirs else { return Ok(()) };
    if !ours.is_array() {
        *ours = Value::Array(Vec::new());
    }
    let Value::Array(ours) = ours else { return Ok(()) };
    let known = ours.len();
    for entry in theirs {
        let Some(at) = ours.iter().position(|one| is_same(one, entry, by)) else {
            ours.push(entry.clone());
            continue;
        };
        let key = text_of(&entry[by.first().copied().unwrap_or("name")]);
        match clash {
            Clash::Same => {}
            Clash::Keep if ours[at] == *entry => {}
            Clash::Keep => overridden(&format!("{path}[{key}]"), entry, &ours[at]),
            Clash::Replace => {
                replace(&mut ours[at], entry, &format!("{path}[{key}]"), overridden);
            }
            Clash::Refuse => {
                let path = path.to_owned();
                return Err(if at < known {
                    TemplateError::OwnEntry { path, key }.into()
                } else {
                    TemplateError::DoubleEntry { path, key }.into()
                });
            }
            Clash::Merge => {
                merge(&mut ours[at], entry, &format!("{path}[{key}]"), overridden);
            }
        }
    }
    Ok(())
}

fn is_same(one: &Value, other: &Value, by: &[&str]) -> bool {
    // Kubernetes' own default; no other key has one.
    let part = |value: &Value, name: &str| match &value[name] {
        Value::Null if name == "protocol" => Value::from("TCP"),
        found => found.clone(),
    };
    if by.is_empty() {
        return one == other;
    }
    by.iter().all(|name| part(one, name) == part(other, name))
}

/// A single value as a user reads it.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        _ => "another value".to_owned(),
    }
}

/// Leaves out nulls, also from lists.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => {
            list.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect()
        }
        other => other,
    }
}
