//! Patterns of `.dockerignore` files: those of Go's `filepath.Match`, and `**`.
//!
//! A pattern is a small automaton that reads a path once, whatever the pattern: the job may
//! choose one that would keep a backtracking matcher busy for hours.

const SLASH: u32 = '/' as u32;

/// A pattern.
#[derive(Debug)]
pub(super) struct Glob(Vec<Token>);

#[derive(Debug)]
enum Token {
    /// This character.
    One(u32),
    /// `?`: any but a slash.
    Any,
    /// `[a-z]` or `[^a-z]`; a slash is a character like others there.
    Class { negated: bool, ranges: Vec<(u32, u32)> },
    /// `*`: any number of characters, but no slash.
    Part,
    /// `**` before more: nothing, or anything up to and with a slash.
    Directories,
    /// `**` at the end: anything.
    Anything,
}

/// The characters of a text. A byte that is not UTF-8 counts as one, which equals only itself.
pub(super) fn characters(text: &[u8]) -> Vec<u32> {
    const BEYOND_UNICODE: u32 = 0x11_0000;
    let invalid = |byte: &u8| BEYOND_UNICODE + u32::from(*byte);
    let chunks = text.utf8_chunks();
    chunks
        .flat_map(|chunk| {
            chunk.valid().chars().map(u32::from).chain(chunk.invalid().iter().map(invalid))
        })
        .collect()
}

impl Glob {
    /// Reads a cleaned pattern; nothing if it is malformed.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let characters = characters(pattern);
        let mut rest = &characters[..];
        let mut tokens = Vec::new();
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
                Some('[') => class(&mut rest)?,
                Some('\\') => Token::One(take(&mut rest)?),
                _ => Token::One(*first),
            };
            tokens.push(token);
        }
        Some(Self(tokens))
    }

    /// True if the pattern matches the whole path.
    pub(super) fn matches(&self, path: &[u32]) -> bool {
        let mut states = vec![false; self.0.len() + 1];
        let mut next = states.clone();
        self.enter(&mut states, 0);
        for character in path {
            next.fill(false);
            for (index, token) in self.0.iter().enumerate().filter(|(index, _)| states[*index]) {
                match token {
                    Token::Anything => self.enter(&mut next, index),
                    Token::Part if *character != SLASH => self.enter(&mut next, index),
                    Token::Directories => {
                        next[index] = true;
                        if *character == SLASH {
                            self.enter(&mut next, index + 1);
                        }
                    }
                    token if token.is(*character) => self.enter(&mut next, index + 1),
                    _ => {}
                }
            }
            if !next.contains(&true) {
                return false;
            }
            std::mem::swap(&mut states, &mut next);
        }
        states.last().copied().unwrap_or(false)
    }

    /// What every path that the pattern matches starts with.
    pub(super) fn literal_start(&self) -> Vec<u32> {
        let literal = |token: &Token| match token {
            Token::One(character) => Some(*character),
            _ => None,
        };
        self.0.iter().map_while(literal).collect()
    }

    /// Adds a state and those that can be reached from it with no character.
    fn enter(&self, states: &mut [bool], index: usize) {
        let may_be_empty =
            |token: &&Token| matches!(token, Token::Part | Token::Directories | Token::Anything);
        let skipped = self.0[index..].iter().take_while(may_be_empty).count();
        states[index..=index + skipped].fill(true);
    }
}

impl Token {
    /// True if it stands for this character alone.
    fn is(&self, character: u32) -> bool {
        match self {
            Self::One(one) => *one == character,
            Self::Any => character != SLASH,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
            Self::Part | Self::Directories | Self::Anything => false,
        }
    }
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
fn class(rest: &mut &[u32]) -> Option<Token> {
    let negated = take_if(rest, '^');
    let mut ranges = Vec::new();
    while ranges.is_empty() || !take_if(rest, ']') {
        let low = bound(rest)?;
        let high = if take_if(rest, '-') { bound(rest)? } else { low };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
    Some(Token::Class { negated, ranges })
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
