//! Examples of errors, for the list of all messages.

use std::collections::BTreeSet;

use super::Explain;

pub(crate) use super::common::examples as common;

/// Compares `examples` with the variants of an enum in its source: each has at least one example, and
/// a reason and a remedy that a user can read.
pub(crate) fn assert_complete(source: &str, name: &str, examples: &[Box<dyn Explain>]) {
    let shown: BTreeSet<_> = examples.iter().map(|error| variant(&format!("{error:?}"))).collect();
    let declared = variants(source, name);
    assert!(!declared.is_empty(), "{name} is not in its source");
    for variant in declared {
        assert!(shown.contains(&variant), "no example of {name}::{variant}");
    }
    for error in examples {
        // A message may end with the words of a server.
        let (message, help) = (error.to_string(), error.help());
        assert!(!message.is_empty() && !message.contains('\n'), "{error:?} says {message:?}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{error:?} helps with {help:?}");
    }
}

/// The name of a variant in its derived Debug form.
fn variant(debug: &str) -> String {
    debug.chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

/// The variants that stand in a source, as rustfmt indents them.
fn variants(source: &str, name: &str) -> Vec<String> {
    let body = source.split_once(&format!("pub enum {name} {{\n")).map_or("", |(_, body)| body);
    let lines = body.lines().take_while(|line| *line != "}");
    lines
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(variant)
        .collect()
}
