//! Heredocs: texts that follow an instruction's line.

use super::DockerfileError;

/// A heredoc with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// What ends it.
    pub(super) name: String,
    /// Its begin as it stands in the line: `3<<-"EOF"`.
    pub(super) begin: String,
    /// Each line with its end, as it stands in the Dockerfile.
    pub(super) text: String,
    /// Tabs at the begin of its lines are left out: `<<-`.
    pub(super) chomp: bool,
    /// Variables in it are expanded: no letter of its name is quoted.
    pub(super) expand: bool,
}

impl Heredoc {
    /// Its text as docker writes it to a file.
    pub(super) fn content(&self) -> String {
        if !self.chomp {
            return self.text.clone();
        }
        self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Takes its text from the lines that follow.
    pub(super) fn read<'t>(
        &mut self,
        at: usize,
        lines: &mut impl Iterator<Item = (usize, &'t str)>,
    ) -> Result<(), DockerfileError> {
        for (_, line) in lines {
            if self.ends_at(line.trim_end_matches('\r')) {
                return Ok(());
            }
            self.text.push_str(line);
            self.text.push('\n');
        }
        Err(DockerfileError::new(at, format!("the heredoc {} has no end", self.name)))
    }

    fn ends_at(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredoc that the text is, if it is nothing but the begin of one.
///
/// Docker runs the text of such a `RUN` itself: BuildKit, `dispatchRun`.
pub(super) fn alone(text: &str) -> Option<Heredoc> {
    let (before, after) = text.trim().split_once("<<")?;
    let whole = format!("{before}<<{}", after.trim_start());
    match begun(&whole).as_slice() {
        [one] if one.begin == whole && !whole.contains(char::is_whitespace) => Some(one.clone()),
        _ => None,
    }
}

/// The heredocs that begin in an instruction; none where docker finds a quote without its end.
pub(super) fn begun(text: &str) -> Vec<Heredoc> {
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
    let begin = word.to_owned();
    let rest =
        word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    if rest.contains('<') {
        return None;
    }
    let (mut name, mut expand) = (String::new(), true);
    let mut letters = rest.trim_start().chars();
    while let Some(letter) = letters.next() {
        expand &= !matches!(letter, '\'' | '"' | '\\');
        match letter {
            '\'' | '"' => name.extend(letters.by_ref().take_while(|next| *next != letter)),
            '\\' => name.extend(letters.next()),
            _ => name.push(letter),
        }
    }
    let text = String::new();
    (!name.is_empty()).then_some(Heredoc { name, begin, text, chomp, expand })
}
