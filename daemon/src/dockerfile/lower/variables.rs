//! ENV and ARG, and the words of other instructions.

use super::stage::Writer;
use super::{Builder, Expansion};
use crate::dockerfile::lines::{self, Instruction};

/// The names that ENV or ARG sets.
pub(super) fn names(instruction: &Instruction, escape: char) -> Vec<String> {
    pairs(instruction, escape).into_iter().map(|pair| pair.name).collect()
}

/// A name and its value as it stands in the Dockerfile.
struct Pair {
    name: String,
    value: Option<String>,
}

fn pairs(instruction: &Instruction, escape: char) -> Vec<Pair> {
    let words = lines::words(&instruction.rest, escape);
    let may_be_old = matches!(instruction.keyword.as_str(), "env" | "label");
    if may_be_old && !words.first().is_some_and(|word| word.contains('=')) {
        // ENV NAME the rest of the line
        let (name, value) =
            instruction.rest.split_once(char::is_whitespace).unwrap_or((&instruction.rest, ""));
        let value = Some(value.trim().to_owned());
        return vec![Pair { name: name.to_owned(), value }];
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Pair { name: name.to_owned(), value: Some(value.to_owned()) },
        None => Pair { name: word, value: None },
    };
    words.into_iter().map(pair).collect()
}

/// Writes ENV or ARG.
pub(super) fn write(writer: &mut Writer<'_>, instruction: &Instruction) {
    let escape = writer.escape;
    let pairs = pairs(instruction, escape);
    if instruction.keyword == "env" {
        // Each value is expanded with the variables of before.
        let value =
            |pair: &Pair| pair.value.as_ref().and_then(|one| writer.scope.expand(one, escape));
        let values: Vec<_> = pairs.iter().map(value).collect();
        for (Pair { name, .. }, value) in pairs.into_iter().zip(values) {
            writer.scope.set_env(name, value);
        }
        writer.same(instruction);
        return;
    }
    let values = values(writer, instruction);
    for Pair { name, value } in pairs {
        let given = writer.stages.given(&name).cloned();
        let is_set = given.is_some() || value.is_some();
        if writer.builder == Builder::Original && is_set && writer.scope.has_env(&name) {
            let problem = format!("ARG {name} has no effect: the builder prefers its ENV");
            writer.warn(instruction.line, problem);
        }
        match (given, value) {
            (Some(given), _) => writer.scope.set_argument(name, Some(given)),
            (None, Some(value)) => {
                let value = writer.scope.expand(&value, escape);
                writer.scope.set_argument(name, value);
            }
            // Without a value it changes nothing.
            (None, None) => {
                if let Some(value) = writer.stages.value(&name) {
                    writer.scope.set_argument(name, Some(value));
                }
            }
        }
    }
    write_argument(writer, instruction, &values);
}

/// Writes ARG, each word by itself if one of them gets a value.
fn write_argument(writer: &mut Writer<'_>, instruction: &Instruction, values: &[Option<String>]) {
    if values.iter().all(Option::is_none) {
        writer.same(instruction);
        return;
    }
    for (word, value) in lines::words(&instruction.text, writer.escape).iter().zip(values) {
        match value {
            Some(value) => {
                let name = word.split('=').next().unwrap_or_default();
                write_value(writer, name, value);
            }
            None => {
                let text = with_backslash(word, writer.escape);
                writer.line(&format!("ARG {text}"));
            }
        }
    }
}

/// Writes an ARG with this very value. A value that the build gives may be in those of others.
pub(super) fn write_value(writer: &mut Writer<'_>, name: &str, value: &str) {
    let line = format!("ARG {name}={}", escaped_word(value));
    let has_arguments = !writer.stages.options.arguments.is_empty();
    if has_arguments && !value.is_empty() {
        writer.hide(&line, &format!("ARG {name}"));
    }
    writer.line(&line);
}

/// Writes LABEL, and each value that a second reading would change so that it does not.
pub(super) fn write_label(writer: &mut Writer<'_>, instruction: &Instruction) {
    let escape = writer.escape;
    let pairs = pairs(instruction, escape);
    let changes = |value: &str| value.contains(['\'', '"', '\\', '$']);
    let (mut changed, mut words) = (Vec::new(), Vec::new());
    for Pair { name, value } in pairs {
        let known = value.as_ref().and_then(|value| writer.scope.expand(value, escape));
        words.push(match (known.filter(|value| changes(value)), value) {
            (Some(value), _) => {
                let word = format!("{name}={}", escaped_word(&escaped(&value)));
                changed.push(name);
                word
            }
            (None, Some(value)) => format!("{name}={}", with_backslash(&value, escape)),
            (None, None) => name,
        });
    }
    if changed.is_empty() {
        writer.same(instruction);
        return;
    }
    writer.lowered.has_delicate_labels = true;
    if writer.expansion == Expansion::Twice {
        let keyword = instruction.keyword.to_ascii_uppercase();
        writer.line(&format!("{keyword} {}", words.join(" ")));
        return;
    }
    if writer.expansion == Expansion::Unknown {
        let names = changed.join(", ");
        let problem = format!(
            "LABEL {names} may lose quotes, backslashes and variables: the tag of the builder's image does not \
             say whether it is a Kaniko that expands them twice"
        );
        writer.warn(instruction.line, problem);
    }
    writer.same(instruction);
}

/// As [`escaped`], with the whitespace that would end the word.
pub(super) fn escaped_word(text: &str) -> String {
    let spaced = |letter: char| letter.is_whitespace().then_some('\\').into_iter().chain([letter]);
    escaped(text).chars().flat_map(spaced).collect()
}

/// The values of the words of an ARG that the builder does not know: one that the build gives, one that docker
/// predefines, and one from before the first FROM, which the builder does not compute as docker does once the
/// build gives any, and which the original Kaniko mistakes for that of another stage.
fn values(writer: &Writer<'_>, instruction: &Instruction) -> Vec<Option<String>> {
    let stages = writer.stages;
    let value = |word: &String| {
        let (name, has_default) = word.split_once('=').map_or((&**word, false), |(n, _)| (n, true));
        if let Some(given) = stages.given(name) {
            return Some(given.clone());
        }
        if has_default || writer.scope.argument(name).is_some() {
            return None;
        }
        if writer.leaked.has(name) {
            return Some(stages.value(name).unwrap_or_default());
        }
        let is_known = stages.arguments.contains_key(name) && stages.options.arguments.is_empty();
        if is_known { None } else { stages.value(name) }
    };
    lines::words(&instruction.text, writer.escape).iter().map(value).collect()
}

/// The text with the backslash as its escape character.
pub(super) fn with_backslash(text: &str, escape: char) -> String {
    if escape == '\\' {
        return text.to_owned();
    }
    let mut written = String::with_capacity(text.len());
    let (mut letters, mut is_single) = (text.chars().peekable(), false);
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => is_single = !is_single,
            '\\' if !is_single => written.push('\\'),
            _ if letter == escape && !is_single => {
                written.push('\\');
                written.extend(letters.next());
                continue;
            }
            _ => {}
        }
        written.push(letter);
    }
    written
}

/// The text as a word whose letters all stand for themselves.
pub(super) fn escaped(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '$' | '\'' | '"') {
            word.push('\\');
        }
        word.push(letter);
    }
    word
}
