//! Arguments within a word, as docker expands them.

use std::cell::Cell;
use std::iter::Peekable;
use std::str::Chars;

use super::pattern::Pattern;

/// Letters that a value may have: arguments that contain each other twice grow without end.
const LONGEST: usize = 4096;
/// Searches of values for patterns, in one stage.
pub(super) const MOST_SEARCHES: u32 = 1000;
/// Letters of a value in which parts are replaced.
const LONGEST_SEARCHED: usize = 256;
/// Letters of a pattern, and of what replaces it.
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
    #[error("the substitution of {0} has a pattern that docker refuses")]
    Pattern(String),
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

    /// The text up to `stop` as the raw text of a pattern, or of what replaces it: escapes stay.
    fn raw_until(
        &self,
        stop: char,
        letters: &mut Letters<'_>,
        depth: usize,
        is_pattern: bool,
    ) -> Result<String, ExpandError> {
        if depth > DEEPEST {
            return Err(ExpandError::Deep);
        }
        let mut result = String::new();
        let mut quote = None;
        while let Some(letter) = letters.next() {
            match (letter, quote) {
                (_, None) if letter == stop => return Ok(result),
                ('$', None | Some('"')) => result.push_str(&self.argument(letters, depth)?),
                ('\'' | '"', None) => quote = Some(letter),
                (_, Some(open)) if letter == open => quote = None,
                (_, Some('\'')) if letter == self.escape && is_pattern => {
                    result.extend([letter, letter]);
                }
                (_, Some('"')) if letter == self.escape => {
                    let special = |next: &char| matches!(next, '"' | '$') || *next == self.escape;
                    result.extend([letter, letters.next_if(special).unwrap_or(letter)]);
                }
                (_, None) if letter == self.escape => {
                    result.push(letter);
                    result.extend(letters.next());
                }
                _ => result.push(letter),
            }
            if result.len() > LONGEST {
                return Err(ExpandError::Long);
            }
        }
        Err(if quote.is_some() { ExpandError::Quote } else { ExpandError::Open })
    }

    /// What stands for `$name` or `${name...}`; the `$` is read.
    fn argument(&self, letters: &mut Letters<'_>, depth: usize) -> Result<String, ExpandError> {
        if letters.next_if_eq(&'{').is_none() {
            let name = name(letters);
            let value = || self.value(&name).unwrap_or_default();
            return Ok(if name.is_empty() { "$".to_owned() } else { value() });
        }
        let name = name(letters);
        if name.is_empty() {
            return Err(ExpandError::Unknown("${...} without a name".to_owned()));
        }
        let value = self.value(&name);
        match letters.next().ok_or(ExpandError::Open)? {
            '}' => Ok(value.unwrap_or_default()),
            modifier @ ('#' | '%') => {
                let longest = letters.next_if_eq(&modifier).is_some();
                let text = self.raw_until('}', letters, depth + 1, true)?;
                let value = value.unwrap_or_default();
                if value.len() > LONGEST {
                    return Err(ExpandError::Unknown(name));
                }
                let pattern = self.pattern(&name, &text)?;
                Ok(match modifier {
                    '#' => pattern.without_begin(&value, longest),
                    _ => pattern.without_end(&value, longest),
                })
            }
            '/' => self.replaced(&name, &value.unwrap_or_default(), letters, depth + 1),
            ':' => {
                let modifier = letters.next().ok_or(ExpandError::Open)?;
                let given = value.filter(|value| !value.is_empty());
                self.chosen(&name, given, modifier, letters, depth + 1)
            }
            modifier => self.chosen(&name, value, modifier, letters, depth + 1),
        }
    }

    /// `${name-word}`, `${name+word}` or `${name?word}`; the modifier is read.
    fn chosen(
        &self,
        name: &str,
        given: Option<String>,
        modifier: char,
        letters: &mut Letters<'_>,
        depth: usize,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), letters, depth)?;
        match modifier {
            '-' => Ok(given.unwrap_or(word)),
            '+' => Ok(given.map(|_| word).unwrap_or_default()),
            '?' => given.ok_or_else(|| ExpandError::Required(name.to_owned(), word)),
            _ => Err(ExpandError::Unknown(name.to_owned())),
        }
    }

    /// `${name/pattern/text}`, or `//` for all places; the first slash is read.
    fn replaced(
        &self,
        name: &str,
        value: &str,
        letters: &mut Letters<'_>,
        depth: usize,
    ) -> Result<String, ExpandError> {
        let all = letters.next_if_eq(&'/').is_some();
        let pattern = self.raw_until('/', letters, depth, true)?;
        let text = self.raw_until('}', letters, depth, false)?;
        // In docker's regular expressions it names a group.
        let is_special = all && text.contains('$');
        if is_special || text.len() > LONGEST_PATTERN || value.len() > LONGEST_SEARCHED {
            return Err(ExpandError::Unknown(name.to_owned()));
        }
        let pattern = self.pattern(name, &pattern)?;
        Ok(pattern.replace(value, &text, all))
    }

    /// A pattern, within the limits of searches.
    fn pattern(&self, name: &str, text: &str) -> Result<Pattern, ExpandError> {
        let left = self.searches.get().checked_sub(1);
        self.searches.set(left.unwrap_or_default());
        if text.len() > LONGEST_PATTERN || left.is_none() {
            return Err(ExpandError::Unknown(name.to_owned()));
        }
        Pattern::parse(text).ok_or_else(|| ExpandError::Pattern(name.to_owned()))
    }

    fn value(&self, name: &str) -> Option<String> {
        // The shell's own: nothing sets them.
        let is_name = name.starts_with(|letter: char| letter == '_' || letter.is_alphabetic());
        if is_name { (self.value)(name) } else { None }
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

/// A name, the number of an argument, or one of the shell's signs.
fn name(letters: &mut Letters<'_>) -> String {
    let mut name = String::new();
    if let Some(sign) = letters.next_if(|letter| "@*#?-$!".contains(*letter)) {
        return sign.to_string();
    }
    let is_number = letters.peek().is_some_and(|letter| letter.is_ascii_digit());
    let is_part = |letter: &char| {
        letter.is_ascii_digit() || !is_number && (letter.is_alphanumeric() || *letter == '_')
    };
    while let Some(letter) = letters.next_if(is_part) {
        name.push(letter);
    }
    name
}
