//! Patterns of `.dockerignore` files: those of Go's `filepath.Match`, and `**`.
//!
//! A pattern is a small automaton that reads a path once, whatever the pattern: the job may
//! choose one that would keep a backtracking matcher busy for hours. The memory of thousands of compiled
//! `regex`es would have no bound (docs/decisions/0007-parsers-of-our-own.md).

use super::ContextError;
use super::bounds::Meter;

const SLASH: u32 = '/' as u32;
/// Where the bytes that are not UTF-8 begin among the characters.
const BEYOND_UNICODE: u32 = 0x11_0000;

/// A pattern.
#[derive(Debug)]
pub(super) struct Glob {
    tokens: Box<[Token]>,
    /// Those of all classes.
    ranges: Box<[Range]>,
    /// What every path that the pattern matches starts with, and ends with.
    start: Box<[u8]>,
    end: Box<[u8]>,
}

/// The first and the last character.
type Range = (u32, u32);

/// Small, since a job chooses how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    One(u32),
    /// `?`: any but a slash.
    Any,
    /// `[a-z]` or `[^a-z]`; a slash is a character like others there.
    Class { negated: bool, first: u16, count: u16 },
    /// `*`: any number of characters, but no slash.
    Part,
    /// `**` before more: nothing, or anything up to and with a slash.
    Directories,
    /// `**` at the end: anything.
    Anything,
}

/// The characters of a text. A byte that is not UTF-8 counts as one, which equals only itself.
pub(super) fn characters(text: &[u8]) -> Vec<u32> {
    let invalid = |byte: &u8| BEYOND_UNICODE + u32::from(*byte);
    let chunks = text.utf8_chunks();
    chunks
        .flat_map(|chunk| {
            chunk.valid().chars().map(u32::from).chain(chunk.invalid().iter().map(invalid))
        })
        .collect()
}

impl Glob {
    /// Reads a cleaned pattern of less than 64 KiB; nothing if it is malformed.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let characters = characters(pattern);
        let mut rest = &characters[..];
        let (mut tokens, mut ranges) = (Vec::new(), Vec::new());
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            let token = match char::from_u32(*first) {
                Some('*') => match rest.strip_prefix(&['*'.into()]) {
                    Some(tail) => {
                        let start = tokens.is_empty();
                        let slash = tail.strip_prefix(&[SLASH]);
                        rest = slash.unwrap_or(tail);
                        // "**x" at the start is "ends in x", if x is plain text: an oddity of
                        // docker's, where "a**x" and "**x*" want a slash before the x.
                        let suffix = start && slash.is_none() && rest.iter().all(is_plain);
                        if rest.is_empty() || suffix { Token::Anything } else { Token::Directories }
                    }
                    None => Token::Part,
                },
                Some('?') => Token::Any,
                Some('[') => class(&mut rest, &mut ranges)?,
                Some('\\') => Token::One(take(&mut rest)?),
                _ => Token::One(*first),
            };
            // The same again adds nothing but work.
            if token != Token::Directories || tokens.last() != Some(&token) {
                tokens.push(token);
            }
        }
        let literal = |token: &Token| match token {
            Token::One(character) => Some(*character),
            _ => None,
        };
        let start: Vec<_> = tokens.iter().map_while(literal).collect();
        let mut end: Vec<_> = tokens.iter().rev().map_while(literal).collect();
        end.reverse();
        let (start, end) = (bytes(&start), bytes(&end));
        Some(Self { tokens: tokens.into(), ranges: ranges.into(), start, end })
    }

    /// What every path that the pattern matches starts with.
    pub(super) fn literal_start(&self) -> &[u8] {
        &self.start
    }

    /// False for most of the paths that the pattern does not match, at once.
    pub(super) fn may_match(&self, path: &[u8]) -> bool {
        path.starts_with(&self.start) && path.ends_with(&self.end)
    }

    /// True if the pattern matches the whole path.
    pub(super) fn matches(&self, path: &[u32], meter: &Meter) -> Result<bool, ContextError> {
        let mut states = vec![false; self.tokens.len() + 1];
        let mut next = states.clone();
        self.enter(&mut states, 0);
        for character in path {
            meter.spend(states.len() as u64)?;
            next.fill(false);
            for (index, token) in self.tokens.iter().enumerate().filter(|(index, _)| states[*index])
            {
                match token {
                    Token::Anything => self.enter(&mut next, index),
                    Token::Part if *character != SLASH => self.enter(&mut next, index),
                    Token::Directories => {
                        next[index] = true;
                        if *character == SLASH {
                            self.enter(&mut next, index + 1);
                        }
                    }
                    token if self.is(*token, *character) => self.enter(&mut next, index + 1),
                    _ => {}
                }
            }
            if !next.contains(&true) {
                return Ok(false);
            }
            std::mem::swap(&mut states, &mut next);
        }
        Ok(states.last().copied().unwrap_or(false))
    }

    /// Adds a state and those that can be reached from it with no character.
    fn enter(&self, states: &mut [bool], index: usize) {
        let may_be_empty =
            |token: &&Token| matches!(token, Token::Part | Token::Directories | Token::Anything);
        let skipped = self.tokens[index..].iter().take_while(may_be_empty).count();
        states[index..=index + skipped].fill(true);
    }

    /// True if the token stands for this character alone.
    fn is(&self, token: Token, character: u32) -> bool {
        match token {
            Token::One(one) => one == character,
            Token::Any => character != SLASH,
            Token::Class { negated, first, count } => {
                let ranges = self.ranges.iter().skip(first.into()).take(count.into());
                let mut ranges = ranges.map(|(low, high)| *low..=*high);
                ranges.any(|range| range.contains(&character)) != negated
            }
            Token::Part | Token::Directories | Token::Anything => false,
        }
    }
}

/// The text that these characters are.
fn bytes(characters: &[u32]) -> Box<[u8]> {
    let mut text = Vec::new();
    for character in characters {
        match char::from_u32(*character) {
            Some(character) => text.extend(character.encode_utf8(&mut [0; 4]).bytes()),
            None => text.extend(u8::try_from(character.wrapping_sub(BEYOND_UNICODE))),
        }
    }
    text.into()
}

fn is_plain(character: &u32) -> bool {
    !char::from_u32(*character).is_some_and(|character| "*?[]\\".contains(character))
}

fn take(rest: &mut &[u32]) -> Option<u32> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    Some(*first)
}

fn take_if(rest: &mut &[u32], character: char) -> bool {
    let tail = rest.strip_prefix(&[character.into()]);
    *rest = tail.unwrap_or(rest);
    tail.is_some()
}

/// Reads a class behind its `[`.
fn class(rest: &mut &[u32], ranges: &mut Vec<Range>) -> Option<Token> {
    let negated = take_if(rest, '^');
    let first = ranges.len();
    while ranges.len() == first || !take_if(rest, ']') {
        let low = bound(rest)?;
        let high = if take_if(rest, '-') { bound(rest)? } else { low };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
    let count = u16::try_from(ranges.len() - first).ok()?;
    Some(Token::Class { negated, first: u16::try_from(first).ok()?, count })
}

/// One end of a range: `-`, `]` and `\` need a backslash.
fn bound(rest: &mut &[u32]) -> Option<u32> {
    let character = take(rest)?;
    match char::from_u32(character) {
        Some('-' | ']') => None,
        Some('\\') => take(rest),
        _ => Some(character),
    }
}
