//! Ids of traces and spans: a hash of what they are of, so that another daemon of the same job makes the same.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use sha2::{Digest, Sha256};

/// The id of a trace: 16 bytes, not all of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub(super) NonZeroU128);

/// The id of a span: 8 bytes, not all of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub(super) NonZeroU64);

impl TraceId {
    /// Of what these texts name together.
    pub(super) fn of(texts: &[&str]) -> Self {
        let bytes: [u8; 16] = hash(b"trace", texts);
        Self(NonZeroU128::new(u128::from_be_bytes(bytes)).unwrap_or(NonZeroU128::MIN))
    }

    /// As OTLP has it.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.get().to_be_bytes().into()
    }
}

impl SpanId {
    /// Of what these texts name together.
    pub(super) fn of(texts: &[&str]) -> Self {
        let bytes: [u8; 8] = hash(b"span", texts);
        Self(NonZeroU64::new(u64::from_be_bytes(bytes)).unwrap_or(NonZeroU64::MIN))
    }

    /// As OTLP has it.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.get().to_be_bytes().into()
    }
}

/// The start of a hash. The length of each text is in it: no two lists are one.
fn hash<const LENGTH: usize>(kind: &[u8], texts: &[&str]) -> [u8; LENGTH] {
    let mut hash = Sha256::new_with_prefix(kind);
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let all: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| all[at])
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_its_texts_in_their_order() {
        let id = TraceId::of(&["octo/demo", "CI"]);
        assert_eq!(id, TraceId::of(&["octo/demo", "CI"]));
        for others in [&["octo/demoCI", ""][..], &["octo/dem", "oCI"], &["CI", "octo/demo"], &[]] {
            assert_ne!(id, TraceId::of(others), "{others:?}");
        }
        assert_eq!((id.to_bytes().len(), id.to_string().len()), (16, 32));
        let span = SpanId::of(&["octo/demo", "CI"]);
        assert_eq!((span.to_bytes().len(), span.to_string().len()), (8, 16));
        assert_eq!(SpanId(NonZeroU64::MIN).to_string(), "0000000000000001");
    }
}
