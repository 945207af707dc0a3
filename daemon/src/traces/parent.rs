//! `TRACEPARENT`: the span that a program is to make its own spans children of (W3C Trace Context, version 00).
//! A workflow can set it to anything.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use super::ids::{SpanId, TraceId};

/// Name of the variable.
pub const TRACEPARENT: &str = "TRACEPARENT";
/// What tracing systems say of themselves beside it; without a valid TRACEPARENT it says nothing.
pub(super) const TRACESTATE: &str = "TRACESTATE";
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A span that others are children of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// The trace is recorded: its spans are sent to a collector.
    pub is_sampled: bool,
}

/// The text is no valid TRACEPARENT of version 00.
#[derive(Debug, thiserror::Error)]
#[error("not 00, a trace id, a span id and flags, in lower case, with a dash between them")]
pub struct InvalidTraceParent;

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let parsed = || {
            let mut parts = text.strip_prefix("00-")?.split('-');
            let trace = NonZeroU128::new(digits(parts.next()?, 32)?)?;
            let span = NonZeroU64::new(u64::try_from(digits(parts.next()?, 16)?).ok()?)?;
            let flags = u8::try_from(digits(parts.next()?, 2)?).ok()?;
            let is_sampled = flags & SAMPLED != 0;
            let parsed = Self { trace: TraceId(trace), span: SpanId(span), is_sampled };
            parts.next().is_none().then_some(parsed)
        };
        parsed().ok_or(InvalidTraceParent)
    }
}

/// The number of so many digits, in lower case.
fn digits(text: &str, number: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_valid = text.len() == number && text.bytes().all(is_digit);
    is_valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Of the flags hookd knows one alone.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_parent_is_read_and_written_with_its_flag() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let parent: TraceParent = format!("00-{TRACE}-{SPAN}-{flags}").parse().unwrap();
            assert_eq!(
                (parent.trace.to_string(), parent.span.to_string()),
                (TRACE.into(), SPAN.into())
            );
            assert_eq!(parent.is_sampled, is_sampled, "{flags}");
            assert_eq!(parent.to_string(), format!("00-{TRACE}-{SPAN}-0{}", u8::from(is_sampled)));
        }
    }

    #[test]
    fn what_is_no_parent_is_not_read() {
        let upper = TRACE.to_uppercase();
        let valid = format!("00-{TRACE}-{SPAN}-01");
        for text in [
            String::new(),
            "00".into(),
            format!("01-{TRACE}-{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-x"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("00-{TRACE}-{}\u{e9}-01", &SPAN[2..]),
            format!(" {valid}"),
            format!("{valid}\n"),
            format!("{valid}\0"),
            valid.replace('-', "_"),
            valid.repeat(1 << 16),
        ] {
            let shown = &text[..text.len().min(80)];
            assert!(text.parse::<TraceParent>().is_err(), "{shown:?}");
        }
    }
}
