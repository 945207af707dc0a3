//! Arguments within a word, as docker expands them.

use std::cell::Cell;
use std::iter::Peekable;
use std::str::Chars;

/// Letters that a value may have: arguments that contain each other twice grow without end.
const LONGEST: usize = 4096;
/// Searches of values for patterns, in one stage.
pub(super) const MOST_SEARCHES: u32 = 1000;
/// Letters of a value that is searched.
const LONGEST_SEARCHED: usize = 256;
/// Letters of a pattern that is cut off a value.
const LONGEST_PATTERN: usize = 64;
/// Letters that a heredoc may have.
const LONGEST_TEXT: usize = 1 << 20;
/// Substitutions within each other.
const DEEPEST: usize = 16;

/// Expands words.
pub(super) struct Expander<'a> {
    /// The value of an argument, if it is set.
    pub(super) value: &'a dyn Fn(&str) -> Option<String>,
    pub(super) escape: char,
    /// How often a value may still be searched for a pattern, which takes time.
    pub(super) searches: &'a Cell<u32>,
}

/// Why a word has no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("a quote has no end")]
    Quote,
    #[error("a substitution has no end")]
    Open,
    #[error("the substitution of {0} is not one that hookd reads")]
    Unknown(String),
    #[error("{0}: {1}")]
    Required(String, String),
    #[error("the value is longer than {LONGEST} letters")]
    Long,
    #[error("more than {DEEPEST} substitutions are within each other")]
    Deep,
}

type Letters<'t> = Peekable<Chars<'t>>;

impl Expander<'_> {
    /// The word with its arguments in place and without its quotes.
    pub(super) fn expand(&self, text: &str) -> Result<String, ExpandError> {
        self.until(None, &mut text.chars().peekable(), 0)
    }

    /// The text with its arguments in place, in which quotes are letters: docker's heredocs.
    pub(super) fn expand_text(&self, text: &str) -> Result<String, ExpandError> {
        let mut result = String::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '$' => result.push_str(&self.argument(&mut letters, 0)?),
                _ if letter == self.escape => {
                    result.extend(letters.next());
                }
                _ => result.push(letter),
            }
            if result.len() > LONGEST_TEXT {
                return Err(ExpandError::Long);
            }
        }
        Ok(result)
    }

    fn until(
        &self,
        stop: Option<char>,
        letters: &mut Letters<'_>,
        depth: usize,
    ) -> Result<String, ExpandError> {
        if depth > DEEPEST {
            return Err(ExpandError::Deep);
        }
        let mut result = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                _ if Some(letter) == stop => return Ok(result),
                '$' => result.push_str(&self.argument(letters, depth)?),
                '\'' => single_quoted(letters, &mut result)?,
                '"' => self.double_quoted(letters, depth, &mut result)?,
                _ if letter == self.escape => result.extend(letters.next()),
                _ => result.push(letter),
            }
            if result.len() > LONGEST {
                return Err(ExpandError::Long);
            }
        }
        if stop.is_some() { Err(ExpandError::Open) } else { Ok(result) }
    }

    fn double_quoted(
        &self,
        letters: &mut Letters<'_>,
        depth: usize,
        result: &mut String,
    ) -> Result<(), ExpandError> {
        while let Some(letter) = letters.next() {
            match letter {
                '"' => return Ok(()),
                '$' => result.push_str(&self.argument(letters, depth)?),
                _ if letter == self.escape => {
                    let special = |next: &char| matches!(next, '"' | '$') || *next == self.escape;
                    result.push(letters.next_if(special).unwrap_or(letter));
                }
                _ => result.push(letter),
            }
            if result.len() > LONGEST {
                return Err(ExpandError::Long);
            }
        }
        Err(ExpandError::Quote)
    }

    /// What stands for `$name` or `${name...}`; the `$` is read.
    fn argument(&self, letters: &mut Letters<'_>, depth: usize) -> Result<String, ExpandError> {
        if letters.next_if_eq(&'{').is_none() {
            let name = name(letters);
            let value = || (self.value)(&name).unwrap_or_default();
            return Ok(if name.is_empty() { "$".to_owned() } else { value() });
        }
        let name = name(letters);
        if name.is_empty() {
            return Err(ExpandError::Unknown("${...} without a name".to_owned()));
        }
        let value = (self.value)(&name);
        let mut modifier = letters.next().ok_or(ExpandError::Open)?;
        if modifier == '}' {
            return Ok(value.unwrap_or_default());
        }
        let colon = modifier == ':';
        if colon {
            modifier = letters.next().ok_or(ExpandError::Open)?;
        }
        let mut longest = false;
        if matches!(modifier, '#' | '%') {
            longest = letters.next_if_eq(&modifier).is_some();
        }
        let word = self.until(Some('}'), letters, depth + 1)?;
        let given = value.clone().filter(|value| !colon || !value.is_empty());
        if matches!(modifier, '#' | '%') && word.contains(['*', '?']) {
            let longest = value.as_ref().map_or(0, String::len);
            let left = self.searches.get().checked_sub(1);
            self.searches.set(left.unwrap_or_default());
            if word.len() > LONGEST_PATTERN || longest > LONGEST_SEARCHED || left.is_none() {
                return Err(ExpandError::Unknown(name));
            }
        }
        match modifier {
            '-' => Ok(given.unwrap_or(word)),
            '+' => Ok(given.map(|_| word).unwrap_or_default()),
            '?' => given.ok_or(ExpandError::Required(name, word)),
            '#' if !colon => Ok(trimmed(&value.unwrap_or_default(), &word, longest, false)),
            '%' if !colon => Ok(trimmed(&value.unwrap_or_default(), &word, longest, true)),
            _ => Err(ExpandError::Unknown(name)),
        }
    }
}

fn single_quoted(letters: &mut Letters<'_>, result: &mut String) -> Result<(), ExpandError> {
    for letter in letters.by_ref() {
        if letter == '\'' {
            return Ok(());
        }
        result.push(letter);
    }
    Err(ExpandError::Quote)
}

fn name(letters: &mut Letters<'_>) -> String {
    let mut name = String::new();
    let is_first = |letter: &char| letter.is_ascii_alphabetic() || *letter == '_';
    let Some(first) = letters.next_if(is_first) else { return name };
    name.push(first);
    while let Some(letter) =
        letters.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
    {
        name.push(letter);
    }
    name
}

/// The value without the part at its begin, or at its end, that matches the pattern.
fn trimmed(value: &str, pattern: &str, longest: bool, at_end: bool) -> String {
    if !pattern.contains(['*', '?']) {
        let rest = if at_end { value.strip_suffix(pattern) } else { value.strip_prefix(pattern) };
        return rest.unwrap_or(value).to_owned();
    }
    let ends: Vec<_> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    let matching = |at: &&usize| {
        let part = if at_end { &value[**at..] } else { &value[..**at] };
        matches(pattern, part)
    };
    // The longest part is the one that leaves the least.
    let found = if longest == at_end {
        ends.iter().find(matching)
    } else {
        ends.iter().rev().find(matching)
    };
    let rest = match found {
        Some(at) if at_end => &value[..*at],
        Some(at) => &value[*at..],
        None => value,
    };
    rest.to_owned()
}

/// Whether a pattern of `*` and `?` matches the whole text: time is the product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(letter) if *letter == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}
