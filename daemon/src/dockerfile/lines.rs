//! Instructions of a Dockerfile: parser directives, comments, continuations and heredocs.

use super::DockerfileError;
use super::heredoc::{self, Heredoc};

/// What [`parse`] finds.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The escape character: a directive may change it.
    pub(super) escape: char,
    /// The program that docker would read the Dockerfile with, from the `syntax` directive.
    pub(super) syntax: Option<Directive>,
    pub(super) instructions: Vec<Instruction>,
}

/// A parser directive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) value: String,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// In lower case.
    pub(super) keyword: String,
    /// All behind the keyword, on one line.
    pub(super) text: String,
    /// The words before its arguments that begin with `--`, without quotes.
    pub(super) flags: Vec<String>,
    /// What follows the flags.
    pub(super) rest: String,
    /// Texts that follow the line.
    pub(super) heredocs: Vec<Heredoc>,
}

impl Instruction {
    fn of(line: usize, text: &str, escape: char) -> Self {
        let text = text.trim();
        let (keyword, text) = text.split_once(is_space).unwrap_or((text, ""));
        let text = text.trim_start_matches(is_space);
        let (flags, rest) = flags(text, escape);
        Self {
            line,
            keyword: keyword.to_ascii_lowercase(),
            text: text.to_owned(),
            flags,
            rest: rest.trim().to_owned(),
            heredocs: Vec::new(),
        }
    }

    /// The instruction that ONBUILD keeps for later.
    pub(super) fn trigger(&self, escape: char) -> Option<Self> {
        (self.keyword == "onbuild").then(|| Self {
            heredocs: self.heredocs.clone(),
            ..Self::of(self.line, &self.rest, escape)
        })
    }

    /// Bytes of its texts.
    pub(super) fn size(&self) -> usize {
        let heredocs = self.heredocs.iter().map(|heredoc| heredoc.text.len());
        heredocs.fold(self.text.len() + self.rest.len(), usize::saturating_add)
    }

    /// Its arguments, if they are a JSON list.
    pub(super) fn json(&self) -> Option<Vec<String>> {
        serde_json::from_str(&self.rest).ok()
    }

    fn may_have_heredocs(&self, escape: char) -> bool {
        match self.keyword.as_str() {
            // In the form of a JSON list `<<` is text.
            "add" | "copy" | "run" => self.json().is_none(),
            "onbuild" => self
                .trigger(escape)
                .is_some_and(|one| one.keyword != "onbuild" && one.may_have_heredocs(escape)),
            _ => false,
        }
    }
}

/// Whitespace between the words of an instruction.
fn is_space(letter: char) -> bool {
    matches!(letter, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Finds the instructions of a Dockerfile.
///
/// # Errors
/// A directive that docker refuses, and a heredoc without its end.
pub(super) fn parse(text: &str) -> Result<Parsed, DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split('\n').enumerate();
    let mut parsed = Parsed { escape: '\\', syntax: None, instructions: Vec::new() };
    let mut directives = true;
    let mut seen = Vec::new();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_end_matches('\r').trim_start();
        if directives {
            directives = directive(line, at + 1, &mut parsed, &mut seen)?;
        }
        let escape = parsed.escape;
        let line = if line.starts_with('#') { "" } else { line };
        let (first, mut continues) = continued(line, escape);
        if first.is_empty() && !continues {
            continue;
        }
        let mut whole = first.to_owned();
        while continues {
            let Some((_, line)) = lines.next() else { break };
            let line = line.trim_end_matches('\r');
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (piece, more) = continued(line, escape);
            whole.push_str(piece);
            continues = more;
        }
        let mut instruction = Instruction::of(at + 1, &whole, escape);
        if whole.contains("<<") && instruction.may_have_heredocs(escape) {
            instruction.heredocs = heredoc::begun(&whole);
            for heredoc in &mut instruction.heredocs {
                heredoc.read(at + 1, &mut lines)?;
            }
        }
        parsed.instructions.push(instruction);
    }
    Ok(parsed)
}

/// Reads a parser directive; false: there are no more of them.
fn directive(
    line: &str,
    at: usize,
    parsed: &mut Parsed,
    seen: &mut Vec<String>,
) -> Result<bool, DockerfileError> {
    let Some((name, value)) = line.strip_prefix('#').and_then(|text| text.split_once('=')) else {
        return Ok(false);
    };
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let is_known = matches!(name.as_str(), "check" | "escape" | "syntax") && !value.is_empty();
    if is_known && seen.contains(&name) {
        let problem = format!("only one {name} parser directive can be used");
        return Err(DockerfileError::new(at, problem));
    }
    seen.extend(is_known.then(|| name.clone()));
    match (name.as_str(), value) {
        (_, "") => Ok(false),
        ("escape", "`" | "\\") => {
            parsed.escape = if value == "`" { '`' } else { '\\' };
            Ok(true)
        }
        ("escape", _) => {
            let problem = format!("{value:?} is not an escape character: use ` or \\");
            Err(DockerfileError::new(at, problem))
        }
        ("syntax", _) => {
            parsed.syntax.get_or_insert_with(|| Directive { line: at, value: value.to_owned() });
            Ok(true)
        }
        ("check", _) => Ok(true),
        _ => Ok(false),
    }
}

/// The line without the escape character at its end, and whether it had one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

/// Splits the flags off: words with `--`, in which quotes hold spaces.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, after) = flag(rest, escape);
        rest = after;
        if word == "--" {
            return (flags, rest);
        }
        flags.push(word);
    }
}

fn flag(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            None if letter.is_whitespace() => return (word, &text[at..]),
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(open) if letter == open => quote = None,
            _ if letter == escape => word.extend(letters.next().map(|(_, next)| next)),
            _ => word.push(letter),
        }
    }
    (word, "")
}

/// Words of ARG: quotes and escapes stay as they are.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match quote {
            None if letter.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(open) if letter == open => quote = None,
            _ => {}
        }
        word.push(letter);
        if letter == escape && quote != Some('\'') {
            word.extend(letters.next());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
