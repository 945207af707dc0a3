//! What the runner reads back after a step.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::layout::{FileCommand, StepFiles, WorkDir};
use crate::variables::Variables;

/// What a hook or step left behind and the runner would fail on.
#[derive(Debug, Error)]
pub enum OutcomeError {
    /// A file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The response is not one JSON value.
    #[error("the hook's response is malformed")]
    Response(#[source] serde_json::Error),
    /// `state` must be an object.
    #[error("the hook's response has a state that is no object: {0}")]
    State(Value),
    /// A file command is malformed.
    #[error("the file behind {variable} is malformed")]
    FileCommand {
        /// The variable that names it.
        variable: &'static str,
        /// Why.
        #[source]
        source: CommandFileError,
    },
}

/// A line that is neither `NAME=VALUE` nor `NAME<<DELIMITER`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandFileError {
    /// No name, no delimiter, or neither form.
    #[error("invalid format '{0}'")]
    Format(String),
    /// The file ends before the value does.
    #[error("matching delimiter '{0}' not found")]
    Delimiter(String),
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Exit code of the hook.
    pub exit_code: i32,
    /// The hook's response; nothing if it wrote none or failed.
    pub response: Option<Value>,
    /// From `GITHUB_OUTPUT`.
    pub outputs: Variables,
    /// From `GITHUB_ENV`.
    pub env: Variables,
    /// From `GITHUB_STATE`.
    pub saved: Variables,
    /// From `GITHUB_PATH`.
    pub path: Vec<String>,
    /// From `GITHUB_STEP_SUMMARY`.
    pub summary: String,
}

impl Outcome {
    /// Reads a step's files: the commands whatever the exit code is, the response after a success
    /// only, when it is deleted too.
    ///
    /// # Errors
    ///
    /// [`OutcomeError`] where the runner would fail the step.
    pub fn read(work: &WorkDir, files: &StepFiles, exit_code: i32) -> Result<Self, OutcomeError> {
        let text = |command| read(&work.local(&files.command_file(command)));
        let variables = |command: FileCommand| {
            parse(&text(command)?.unwrap_or_default()).map_err(|source| OutcomeError::FileCommand {
                variable: command.variable(),
                source,
            })
        };
        let path = text(FileCommand::AddPath)?.unwrap_or_default();
        let outcome = Self {
            exit_code,
            response: None,
            outputs: variables(FileCommand::SetOutput)?,
            env: variables(FileCommand::SetEnv)?,
            saved: variables(FileCommand::SaveState)?,
            path: path.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            summary: text(FileCommand::StepSummary)?.unwrap_or_default(),
        };
        match exit_code {
            0 => Ok(Self { response: response(&work.local(&files.response))?, ..outcome }),
            _ => Ok(outcome),
        }
    }
}

/// Reads and deletes the response of a hook that succeeded; an empty or missing one is none.
///
/// # Errors
///
/// [`OutcomeError`] if it is not what the runner can read.
pub fn response(path: &Path) -> Result<Option<Value>, OutcomeError> {
    let Some(text) = read(path)? else { return Ok(None) };
    // The runner deletes it in passing too and goes on if it cannot.
    let _ = fs::remove_file(path);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    let response: Value = serde_json::from_str(text).map_err(OutcomeError::Response)?;
    match response.get("state") {
        None | Some(Value::Null | Value::Object(_)) => Ok(Some(response)),
        Some(state) => Err(OutcomeError::State(state.clone())),
    }
}

fn read(path: &Path) -> Result<Option<String>, OutcomeError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OutcomeError::Read { path: path.to_owned(), source }),
    }
}

/// Reads a file of names and values as the runner does: `NAME=VALUE` or `NAME<<DELIMITER`, the
/// value, `DELIMITER`. Empty lines between them mean nothing.
///
/// # Errors
///
/// [`CommandFileError`] for anything else.
pub fn parse(text: &str) -> Result<Variables, CommandFileError> {
    let mut variables = Variables::default();
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(line) = next_line(&mut rest) {
        let format = || CommandFileError::Format(line.to_owned());
        if line.is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (Some(at), _) if heredoc.is_none_or(|heredoc| at < heredoc) => {
                if at == 0 {
                    return Err(format());
                }
                variables.set(&line[..at], &line[at + 1..]);
            }
            (_, Some(at)) => {
                let (name, delimiter) = (&line[..at], &line[at + 2..]);
                if name.is_empty() || delimiter.is_empty() {
                    return Err(format());
                }
                variables.set(name, heredoc_value(&mut rest, delimiter)?);
            }
            _ => return Err(format()),
        }
    }
    Ok(variables)
}

fn heredoc_value<'a>(rest: &mut &'a str, delimiter: &str) -> Result<&'a str, CommandFileError> {
    let text = *rest;
    loop {
        let value = text.len() - rest.len();
        match next_line(rest) {
            Some(line) if line == delimiter => {
                let value = &text[..value];
                return Ok(value.strip_suffix('\n').unwrap_or(value));
            }
            Some(_) => {}
            None => return Err(CommandFileError::Delimiter(delimiter.to_owned())),
        }
    }
}

fn next_line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
    *rest = after;
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_value_are_read() {
        let text = "a=1\nb==x<<y\n\nc<<EOF\nline 1\n\nEOF \nEOF\nd<<E\nE\na=2\r";
        let expected = [("a", "2\r"), ("b", "=x<<y"), ("c", "line 1\n\nEOF "), ("d", "")];
        assert_eq!(parse(text).unwrap(), Variables::from_iter(expected));
    }

    #[test]
    fn malformed_lines_are_refused() {
        let format = |line: &str| Err(CommandFileError::Format(line.to_owned()));
        for line in ["word", "<<EOF", "a<<", "=value"] {
            assert_eq!(parse(line), format(line));
        }
        assert_eq!(parse("a<<EOF\nb"), Err(CommandFileError::Delimiter("EOF".into())));
    }

    #[test]
    fn a_response_is_read_once_and_only_as_one_object() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        fs::write(&path, "").unwrap();
        assert_eq!(response(&path).unwrap(), None);
        assert_eq!(response(&path).unwrap(), None);
        fs::write(&path, "\u{feff}{\"state\":{\"a\":1}}\n").unwrap();
        assert_eq!(response(&path).unwrap().unwrap()["state"]["a"], 1);
        assert!(!path.exists());
        fs::write(&path, "{} x").unwrap();
        assert!(matches!(response(&path), Err(OutcomeError::Response(_))));
        fs::write(&path, r#"{"state":"s"}"#).unwrap();
        assert!(matches!(response(&path), Err(OutcomeError::State(_))));
    }
}
