//! A finished span as OTLP has it, and its attributes.

use std::time::{Duration, SystemTime};

use hookd_api::otlp::common::v1::{AnyValue, KeyValue, any_value};
use hookd_api::otlp::trace::v1::{Span, Status, span, status};

use super::ids::SpanId;

/// Characters of a value that a workflow chose.
const LONGEST: usize = 256;

/// When a span began and ended; no end is before its beginning, whatever was done to the clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
}

impl Times {
    /// Until now.
    pub(super) fn since(began: SystemTime) -> Self {
        Self { began, ended: SystemTime::now() }
    }
}

/// A span that was in no trace yet.
pub(super) fn finished(name: &str, id: SpanId, parent: Option<SpanId>, times: Times) -> Span {
    Span {
        span_id: id.to_bytes(),
        parent_span_id: parent.map(SpanId::to_bytes).unwrap_or_default(),
        name: name.to_owned(),
        kind: span::SpanKind::Internal.into(),
        start_time_unix_nano: nanos(times.began),
        end_time_unix_nano: nanos(times.ended).max(nanos(times.began)),
        // Only what is sampled is sent.
        flags: 1,
        ..Span::default()
    }
}

/// What a span that did not end well has.
pub(super) fn failed() -> Option<Status> {
    Some(Status { code: status::StatusCode::Error.into(), message: String::new() })
}

/// Since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// One attribute.
pub(super) fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Some(any_value::Value::StringValue(value.into()));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }) }
}

/// Those of which the value is known.
pub(super) fn attributes(known: &[(&str, &str)]) -> Vec<KeyValue> {
    let known = known.iter().filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| attribute(key, *value)).collect()
}

/// The first 256 characters of a value that a workflow chose, of which a client may send any number.
pub fn bounded(value: &str) -> &str {
    let end = value.char_indices().nth(LONGEST).map_or(value.len(), |(end, _)| end);
    &value[..end]
}
