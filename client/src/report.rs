//! What the user reads: workflow commands of the runner, and errors with their remedies.

use std::error::Error;
use std::fmt::Write as _;

/// An error that says what to do about it. Its `Display` is a sentence for that reader
/// that says what happened, without the causes: those are its sources.
pub(crate) trait Explain: Error {
    /// A short text for the head of the annotation.
    fn title(&self) -> String;
    /// What the user can do, as one or more sentences; the last full stop may be left out.
    fn remedy(&self) -> String;
}

/// The `::error` line for `error`: what happened, why, and what to do.
pub(crate) fn annotation(error: &dyn Explain) -> String {
    let text = explained(error);
    format!("::error title={}::{}", escape_property(&error.title()), escape_data(&text))
}

/// Sentences for `error`: what happened, why, and what to do.
pub(crate) fn explained(error: &dyn Explain) -> String {
    let mut text = sentence(&chain(error));
    let remedy = error.remedy();
    if !remedy.trim().is_empty() {
        let _ = write!(text, " {}", sentence(&remedy));
    }
    text
}

/// The `::warning` line for `text`, a sentence.
pub(crate) fn warning(title: &str, text: &str) -> String {
    format!("::warning title={}::{}", escape_property(title), escape_data(text))
}

/// The `::debug::` line for `text`, which the runner shows when step debugging is on.
pub(crate) fn debug(text: &str) -> String {
    format!("::debug::{}", escape_data(text))
}

/// `text` as one plain line: no line breaks, and nothing that the runner takes for a command.
pub(crate) fn plain(text: &str) -> String {
    // `##[x]` counts anywhere in a line, `::x::` only at its start.
    let text = text.trim().replace(['\r', '\n'], " ").replace("##[", "## [");
    match text.strip_prefix("::") {
        Some(rest) => format!(": :{rest}"),
        None => text,
    }
}

/// A reason such as `IMAGE_PULL_FAILED` as plain text.
pub(crate) fn plain_text(reason: &str) -> String {
    const INITIALS: [&str; 4] = ["API", "OOM", "PVC", "TLS"];
    let words = reason
        .split('_')
        .filter(|word| !word.is_empty())
        .map(|word| if INITIALS.contains(&word) { word.to_owned() } else { word.to_lowercase() });
    let words = words.collect::<Vec<_>>().join(" ");
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// `error` and its causes, each once: some errors repeat their cause in their own text.
fn chain(error: &dyn Explain) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            let _ = write!(text, ": {message}");
        }
        source = cause.source();
    }
    text
}

/// `text` with a full stop at its end.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// Escapes the data of a workflow command.
fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Example(&'static str, #[source] Option<std::io::Error>);

    impl Explain for Example {
        fn title(&self) -> String {
            "A: 50%, done".to_owned()
        }

        fn remedy(&self) -> String {
            "Try again".to_owned()
        }
    }

    #[test]
    fn an_annotation_escapes_what_the_runner_would_take_apart() {
        assert_eq!(
            annotation(&Example("one\r\ntwo: 100%, yes", None)),
            "::error title=A%3A 50%25%2C done::one%0D%0Atwo: 100%25, yes. Try again."
        );
    }

    #[test]
    fn an_annotation_tells_the_cause_once() {
        let cause = || Some(std::io::Error::other("no space"));
        assert!(annotation(&Example("write x", cause())).contains("::write x: no space. Try"));
        assert!(
            annotation(&Example("write x: no space", cause())).contains("::write x: no space.")
        );
    }

    #[test]
    fn a_reason_becomes_plain_text() {
        assert_eq!(plain_text("IMAGE_PULL_FAILED"), "Image pull failed");
        assert_eq!(plain_text("OOM_KILLED"), "OOM killed");
        assert_eq!(plain_text(""), "");
    }

    #[test]
    fn a_plain_line_holds_no_command_and_no_line_break() {
        assert_eq!(plain("::set-output name=a::b"), ": :set-output name=a::b");
        assert_eq!(plain("a ##[error]b\nc"), "a ## [error]b c");
        assert_eq!(plain("Pod is Pending: no node"), "Pod is Pending: no node");
    }
}
