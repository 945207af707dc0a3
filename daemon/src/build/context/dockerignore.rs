//! `.dockerignore` files, as docker reads them.
//!
//! Unlike in `.gitignore`, a pattern holds from the context's root, `*` does not cross a `/`, and
//! what lies in an ignored directory can be taken back by a later `!`. The reference is BuildKit:
//! moby/patternmatcher with its results of parent directories.

use std::cell::OnceCell;

use super::ContextError;
use super::bounds::Meter;
use super::glob::{self, Glob};

/// Rules that a file may have. Each is asked for each path.
pub(super) const MOST_RULES: usize = 10_000;
/// Bytes that a pattern may have: as many as a path.
pub(super) const LONGEST_PATTERN: usize = 4096;

/// The rules of one file, in its order.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// It takes back what rules before it ignore.
    exception: bool,
    glob: Glob,
}

/// Which rules matched a directory, a bit for each: they match all that lies in it.
#[derive(Debug, Default)]
pub(super) struct Matched(Box<[u64]>);

impl Matched {
    fn has(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|bits| bits >> (rule % 64) & 1 == 1)
    }

    fn set(&mut self, rule: usize) {
        if let Some(bits) = self.0.get_mut(rule / 64) {
            *bits |= 1 << (rule % 64);
        }
    }
}

/// Why a file has no rules. Lines are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A line is not a pattern.
    Malformed { line: usize, rule: String },
    /// A pattern has more than [`LONGEST_PATTERN`] bytes.
    TooLong { line: usize },
    /// There are more than [`MOST_RULES`].
    TooMany,
}

impl Rules {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Unfit> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let pattern = line.trim_ascii();
            // A comment starts in the first column.
            if line.starts_with(b"#") || pattern.is_empty() {
                continue;
            }
            let (exception, pattern) = match pattern.strip_prefix(b"!") {
                Some(pattern) => (true, pattern.trim_ascii()),
                None => (false, pattern),
            };
            if pattern.len() > LONGEST_PATTERN {
                return Err(Unfit::TooLong { line: index + 1 });
            }
            if rules.len() == MOST_RULES {
                return Err(Unfit::TooMany);
            }
            // A "!" alone is a mistake; a pattern for the context itself is one without effect.
            let glob = Some(clean(pattern)).filter(|_| !pattern.is_empty());
            let Some(glob) = glob.as_deref().and_then(Glob::parse) else {
                let rule = String::from_utf8_lossy(line).chars().take(200).collect();
                return Err(Unfit::Malformed { line: index + 1, rule });
            };
            rules.push(Rule { exception, glob });
        }
        Ok(Self(rules))
    }

    /// Whether the path, relative to the context's root, is ignored, given what matched the
    /// directory that it lies in; and what matches it itself.
    pub(super) fn evaluate(
        &self,
        path: &[u8],
        parent: &Matched,
        meter: &Meter,
    ) -> Result<(bool, Matched), ContextError> {
        let characters = OnceCell::new();
        let mut ignored = false;
        let mut matched = Matched(vec![0; self.0.len().div_ceil(64)].into());
        meter.spend(self.0.len() as u64)?;
        for (index, rule) in self.0.iter().enumerate() {
            // A rule that would change nothing is not asked, and so is not inherited.
            let matches = parent.has(index)
                || rule.exception == ignored
                    && rule.glob.may_match(path)
                    && rule
                        .glob
                        .matches(characters.get_or_init(|| glob::characters(path)), meter)?;
            if matches {
                matched.set(index);
                ignored = !rule.exception;
            }
        }
        Ok((ignored, matched))
    }

    /// False if no exception can match anything below the directory.
    pub(super) fn may_except_below(
        &self,
        directory: &[u8],
        meter: &Meter,
    ) -> Result<bool, ContextError> {
        meter.spend(self.0.len() as u64)?;
        let directory = [directory, b"/"].concat();
        Ok(self.0.iter().filter(|rule| rule.exception).any(|rule| {
            let start = rule.glob.literal_start();
            start.starts_with(&directory) || directory.starts_with(start)
        }))
    }
}

/// The pattern without empty parts, `.` and `..`, and without its leading slash.
fn clean(pattern: &[u8]) -> Vec<u8> {
    let rooted = pattern.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| last != b"..") => _ = parts.pop(),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

#[cfg(test)]
mod tests;
