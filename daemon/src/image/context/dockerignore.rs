//! `.dockerignore` files, as docker reads them.
//!
//! Unlike in `.gitignore`, a pattern holds from the context's root, `*` does not cross a `/`, and
//! what lies in an ignored directory can be taken back by a later `!`. The reference is BuildKit:
//! moby/patternmatcher with its results of parent directories.

use super::glob::{self, Glob};

/// The rules of one file, in its order.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// It takes back what rules before it ignore.
    exception: bool,
    glob: Glob,
}

/// Which rules matched a directory: they match all that lies in it.
#[derive(Debug, Default)]
pub(super) struct Matched(Vec<bool>);

/// A line that is not a pattern: its number, from 1, and its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidRule {
    pub(super) line: usize,
    pub(super) rule: String,
}

impl Rules {
    pub(super) fn parse(text: &[u8]) -> Result<Self, InvalidRule> {
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
            // A "!" alone is a mistake; a pattern for the context itself is one without effect.
            let glob = Some(clean(pattern)).filter(|_| !pattern.is_empty());
            let Some(glob) = glob.as_deref().and_then(Glob::parse) else {
                let rule = String::from_utf8_lossy(line).into_owned();
                return Err(InvalidRule { line: index + 1, rule });
            };
            rules.push(Rule { exception, glob });
        }
        Ok(Self(rules))
    }

    /// Whether the path, relative to the context's root, is ignored, given what matched the
    /// directory that it lies in; and what matches it itself.
    pub(super) fn judge(&self, path: &[u8], parent: &Matched) -> (bool, Matched) {
        let path = glob::characters(path);
        let mut ignored = false;
        let mut matched = vec![false; self.0.len()];
        for (index, rule) in self.0.iter().enumerate() {
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            // A rule that would change nothing is not asked, and so is not inherited.
            matched[index] = inherited || (rule.exception == ignored && rule.glob.matches(&path));
            if matched[index] {
                ignored = !rule.exception;
            }
        }
        (ignored, Matched(matched))
    }

    /// False if no exception can match anything below the directory.
    pub(super) fn may_except_below(&self, directory: &[u8]) -> bool {
        let mut directory = glob::characters(directory);
        directory.push('/'.into());
        self.0.iter().filter(|rule| rule.exception).any(|rule| {
            let start = rule.glob.literal_start();
            start.starts_with(&directory) || directory.starts_with(&start)
        })
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
