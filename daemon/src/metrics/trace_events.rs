//! What is counted is also an event of `tracing` in the span of its call: `traces` makes OTLP spans of these
//! events. Without a collector an event costs one comparison.

use std::time::Duration;

use super::labels::{Build, Label, Outcome, Phase};
use crate::error::Reason;

/// Of the events, and of spans that only traces are made of: the log has none of them.
pub const TRACE_TARGET: &str = "hookd_trace";

/// A phase took so long, and ended so long ago.
pub(super) fn phase(phase: Phase, time: Duration, ago: Duration) {
    tracing::trace!(target: TRACE_TARGET, phase = phase.value(), time = nanos(time), ago = nanos(ago));
}

/// A step has its image.
pub(super) fn built(build: Build) {
    tracing::trace!(target: TRACE_TARGET, image = build.value());
}

/// A call has ended.
pub(super) fn ended(outcome: Outcome, reason: Option<Reason>) {
    let reason = reason.map(Reason::as_str);
    tracing::trace!(target: TRACE_TARGET, outcome = outcome.value(), reason);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
