//! YAML that a job or an administrator wrote, read within limits: a few kilobytes of aliases can
//! stand for gigabytes, and a few of brackets for a stack overflow.

use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// Bytes that a document may have.
pub const LIMIT: usize = 256 << 10;
/// Mappings and sequences within each other.
const DEPTH: usize = 48;
/// Scalars, mappings and sequences, as written.
const NODES: usize = 50_000;
/// Aliases as written, and the events that all of them together stand for.
const ALIASES: usize = 256;
const REPLAYED: usize = 10_000;

/// Held while a document is read: that takes megabytes for its nodes and aliases, whatever it makes,
/// and not long.
static READING: Mutex<()> = Mutex::new(());

/// Reads one document of [`LIMIT`] bytes at most; others wait meanwhile.
///
/// # Errors
/// What is wrong with it, or which limit it exceeds.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, YamlError> {
    parse_with(bytes, DuplicateKeyPolicy::LastWins)
}

/// As [`parse`], but a key that stands twice is an error.
///
/// # Errors
/// As [`parse`].
pub fn parse_strict<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, YamlError> {
    parse_with(bytes, DuplicateKeyPolicy::Error)
}

fn parse_with<T: DeserializeOwned>(
    bytes: &[u8],
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<T, YamlError> {
    if bytes.len() > LIMIT {
        return Err(YamlError::TooLarge { bytes: bytes.len() });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_nodes: NODES,
            max_events: NODES * 3,
            max_aliases: ALIASES,
            max_anchors: ALIASES,
            max_merge_keys: ALIASES,
            max_recorded_anchor_events: REPLAYED,
            max_recorded_anchor_bytes: LIMIT,
            max_documents: 8,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED,
            max_replay_stack_depth: 8,
        },
        emit_comments: false,
        strict_booleans: true,
        duplicate_keys: duplicate_keys,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let _reading = READING.lock().unwrap_or_else(PoisonError::into_inner);
    let parsed = serde_saphyr::from_slice_with_options(bytes, options);
    parsed.map_err(|error| YamlError::Malformed(Box::new(error)))
}

/// A document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It exceeds [`LIMIT`].
    #[error("it has {bytes} bytes, and {LIMIT} is the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is no YAML, has another shape than was asked for, or exceeds a limit.
    #[error(transparent)]
    Malformed(Box<serde_saphyr::Error>),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn value(text: &str) -> Result<Value, YamlError> {
        parse(text.as_bytes())
    }

    #[test]
    fn ordinary_documents_are_read_with_their_aliases() {
        let text = "a: &x [1, two, true, yes, ~]\nb: *x\nc: {<<: {d: 1}, e: |\n   l\n}\n";
        assert_eq!(
            value("a: &x [1, two, true, yes, ~]\nb: *x").unwrap()["b"],
            json!([1, "two", true, "yes", null])
        );
        let _ = value(text);
    }

    #[test]
    fn what_stands_for_more_than_it_is_is_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
        }
        let flat = format!("s: &s {}\nl: [{}]", "x".repeat(100), vec!["*s"; 5000].join(","));
        let merges: String = "b: &b {a: 1}\n".to_owned()
            + &(0..2000).map(|n| format!("k{n}: {{<<: *b}}\n")).collect::<String>();
        for (what, text) in [
            ("aliases of aliases", bomb),
            ("aliases", flat),
            ("merges", merges),
            ("flow depth", "[".repeat(100_000)),
            ("block depth", "- ".repeat(100_000)),
            ("nodes", "- a\n".repeat(60_000)),
            ("documents", "---\n".repeat(60_000)),
            ("size", "#".repeat(LIMIT + 1)),
        ] {
            assert!(value(&text).is_err(), "{what}");
        }
    }
}
