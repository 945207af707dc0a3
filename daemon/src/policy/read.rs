//! From the file to its rules.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::error::PolicyError;
use super::file::PolicyFile;
use crate::yaml;

/// Reads the rules.
pub(super) fn file(path: &Path) -> Result<PolicyFile, PolicyError> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        // One byte more shows that there is more.
        File::open(path)?.take(yaml::LIMIT as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let file = || path.display().to_string();
    let text = read().map_err(|source| PolicyError::Unreadable { file: file(), source })?;
    rules(&file(), &text)
}

/// Reads a text; `file` is its name for messages.
pub(super) fn rules(file: &str, text: &[u8]) -> Result<PolicyFile, PolicyError> {
    let malformed = |source| PolicyError::Malformed { file: file.to_owned(), source };
    // A key without a value would be taken for one that is not there, and so for no rule.
    let value: Value = yaml::parse_strict(text).map_err(malformed)?;
    if let Some(key) = without_value(&value) {
        return Err(PolicyError::NoValue { file: file.to_owned(), key });
    }
    yaml::parse_strict(text).map_err(malformed)
}

/// The path of the first key that has no value.
fn without_value(value: &Value) -> Option<String> {
    let below = |name: String, value: &Value| {
        let path = without_value(value)?;
        Some(if path.is_empty() { name } else { format!("{name}.{path}") })
    };
    match value {
        Value::Null => Some(String::new()),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| below(name.clone(), value)),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, value)| below(at.to_string(), value))
        }
        _ => None,
    }
}
