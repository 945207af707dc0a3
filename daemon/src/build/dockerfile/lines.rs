//! Instructions of a Dockerfile: parser directives, comments, continuations and heredocs.

use super::DockerfileError;

/// What [`parse`] finds.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The escape character: a directive may change it.
    pub(super) escape: char,
    /// The last instruction would take another line for its own.
    pub(super) is_open: bool,
    pub(super) instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// Its last line, from 1; without the heredocs that follow it.
    pub(super) last_line: usize,
    /// In lower case.
    pub(super) keyword: String,
    /// The words before its arguments that begin with `--`.
    pub(super) flags: Vec<String>,
    pub(super) rest: String,
}

impl Instruction {
    fn of(line: usize, text: &str, escape: char) -> Self {
        let text = text.trim();
        let (keyword, rest) = text.split_once(is_space).unwrap_or((text, ""));
        let (flags, rest) = flags(rest.trim_start_matches(is_space), escape);
        Self {
            line,
            last_line: line,
            keyword: keyword.to_ascii_lowercase(),
            flags,
            rest: rest.trim().to_owned(),
        }
    }

    /// The instruction that ONBUILD keeps for later.
    pub(super) fn trigger(&self, escape: char) -> Option<Self> {
        (self.keyword == "onbuild").then(|| Self::of(self.line, &self.rest, escape))
    }

    fn may_have_heredocs(&self, escape: char) -> bool {
        match self.keyword.as_str() {
            // In the form of a JSON list `<<` is text.
            "add" | "copy" | "run" => serde_json::from_str::<Vec<String>>(&self.rest).is_err(),
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
    let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r')).enumerate();
    let mut parsed = Parsed { escape: '\\', is_open: false, instructions: Vec::new() };
    let mut directives = true;
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start();
        if directives {
            directives = directive(line, at + 1, &mut parsed.escape)?;
        }
        let escape = parsed.escape;
        let line = if line.starts_with('#') { "" } else { line };
        let (first, mut continues) = continued(line, escape);
        if first.is_empty() && !continues {
            continue;
        }
        let (mut whole, mut last) = (first.to_owned(), at);
        while continues {
            let Some((number, line)) = lines.next() else { break };
            last = number;
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (piece, more) = continued(line, escape);
            whole.push_str(piece);
            continues = more;
        }
        let instruction =
            Instruction { last_line: last + 1, ..Instruction::of(at + 1, &whole, escape) };
        if whole.contains("<<") && instruction.may_have_heredocs(escape) {
            for heredoc in heredocs(&whole) {
                if !lines.by_ref().any(|(_, line)| heredoc.ends_at(line)) {
                    let problem = format!("the heredoc {} has no end", heredoc.name);
                    return Err(DockerfileError::new(at + 1, problem));
                }
            }
        }
        parsed.is_open = continues;
        parsed.instructions.push(instruction);
    }
    Ok(parsed)
}

/// Reads a parser directive; false: there are no more of them.
fn directive(line: &str, at: usize, escape: &mut char) -> Result<bool, DockerfileError> {
    let Some((name, value)) = line.strip_prefix('#').and_then(|text| text.split_once('=')) else {
        return Ok(false);
    };
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    match (name.as_str(), value) {
        (_, "") => Ok(false),
        ("escape", "`" | "\\") => {
            *escape = if value == "`" { '`' } else { '\\' };
            Ok(true)
        }
        ("escape", _) => {
            let problem = format!("{value:?} is not an escape character: use ` or \\");
            Err(DockerfileError::new(at, problem))
        }
        ("syntax" | "check", _) => Ok(true),
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

/// The begin of a heredoc.
#[derive(Debug, PartialEq, Eq)]
struct Heredoc {
    name: String,
    /// Tabs before its end are left out.
    chomp: bool,
}

impl Heredoc {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredocs that begin in an instruction; none where docker finds a quote without its end.
fn heredocs(text: &str) -> Vec<Heredoc> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                word.push(letter);
                if !quoted(letter, &mut letters, &mut word) {
                    return Vec::new();
                }
            }
            '\\' => {
                word.push(letter);
                word.extend(letters.next());
            }
            '<' if letters.peek() == Some(&'<') => {
                letters.next();
                word.push_str("<<");
                while letters.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
            }
            _ if letter.is_whitespace() => found.extend(heredoc(&std::mem::take(&mut word))),
            _ => word.push(letter),
        }
    }
    found.extend(heredoc(&word));
    found
}

/// Takes what a quote holds, with its end; false: it has none.
fn quoted(
    quote: char,
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
) -> bool {
    while let Some(letter) = letters.next() {
        word.push(letter);
        if letter == quote {
            return true;
        }
        if letter == '\\' && quote == '"' {
            word.extend(letters.next());
        }
    }
    false
}

/// `3<<-"EOF"`
fn heredoc(word: &str) -> Option<Heredoc> {
    let rest =
        word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    if rest.contains('<') {
        return None;
    }
    let mut name = String::new();
    let mut letters = rest.trim_start().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => name.extend(letters.by_ref().take_while(|next| *next != letter)),
            '\\' => name.extend(letters.next()),
            _ => name.push(letter),
        }
    }
    (!name.is_empty()).then_some(Heredoc { name, chomp })
}
