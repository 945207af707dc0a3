//! The words of an options string. Not `shlex`, which drops what follows a `#`
//! (docs/decisions/0007-parsers-of-our-own.md).

use super::invalid;
use crate::error::Failure;

/// Words as a shell sees them: quotes and backslashes, no expansion.
pub(super) fn split(text: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().extend(letters.next()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Takes the rest of a quotation.
fn quoted(
    quote: char,
    letters: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), Failure> {
    loop {
        match letters.next().ok_or_else(|| invalid(&quote.to_string(), "is not closed"))? {
            letter if letter == quote => return Ok(()),
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                other => word.extend(['\\'].into_iter().chain(other)),
            },
            letter => word.push(letter),
        }
    }
}
