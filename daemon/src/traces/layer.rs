//! Makes OTLP spans of the events that [`crate::metrics`] emits within the span of a call.

use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::call::CallTrace;
use super::ids::SpanId;
use super::span::{self, Times, attribute, nanos};
use crate::metrics::{Label, Outcome, TRACE_TARGET};

/// The layer, which sees nothing but the spans of calls and these events.
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Spans.with_filter(filter_fn(is_seen))
}

fn is_seen(about: &Metadata<'_>) -> bool {
    let is_call = || about.is_span() && about.name() == "call";
    about.target() == TRACE_TARGET || (about.target().starts_with("hookd") && is_call())
}

struct Spans;

/// A part of a call that has parts of its own: a span of `tracing` with the target of these events.
struct Part {
    call: CallTrace,
    name: &'static str,
    id: SpanId,
    parent: SpanId,
    began: SystemTime,
    /// Where the image came from.
    image: Option<String>,
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    phase: Option<String>,
    time: Duration,
    ago: Duration,
    image: Option<String>,
    outcome: Option<Outcome>,
    reason: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "time" => self.time = Duration::from_nanos(value),
            "ago" => self.ago = Duration::from_nanos(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "phase" => self.phase = Some(value.to_owned()),
            "image" => self.image = Some(value.to_owned()),
            "reason" => self.reason = Some(value.to_owned()),
            "outcome" => {
                self.outcome = Outcome::ALL.iter().copied().find(|one| one.value() == value)
            }
            _ => {}
        }
    }
}

/// The id of a part of a span; two of one name do not begin in the same nanosecond.
fn id_within(parent: SpanId, name: &str, began: SystemTime) -> SpanId {
    SpanId::of(&[&parent.to_string(), name, &nanos(began).to_string()])
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (Some(span), name) = (context.span(id), attributes.metadata().name()) else { return };
        if attributes.metadata().target() != TRACE_TARGET {
            return;
        }
        let around = span.scope().skip(1).find_map(|outer| {
            let extensions = outer.extensions();
            let part = extensions.get::<Part>().map(|part| (part.call.clone(), part.id));
            part.or_else(|| extensions.get::<CallTrace>().map(|call| (call.clone(), call.id())))
        });
        let Some((call, parent)) = around else { return };
        let began = SystemTime::now();
        let id = id_within(parent, name, began);
        span.extensions_mut().insert(Part { call, name, id, parent, began, image: None });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            let mut extensions = span.extensions_mut();
            if let Some(part) = extensions.get_mut::<Part>() {
                part.image = fields.image.take().or(part.image.take());
                if let Some(phase) = fields.phase.take() {
                    end_phase(&part.call, part.id, part.began, &phase, &fields);
                }
            } else if let Some(call) = extensions.get_mut::<CallTrace>().cloned() {
                drop(extensions);
                if let Some(phase) = &fields.phase {
                    end_phase(&call, call.id(), call.began(), phase, &fields);
                }
                if let Some(outcome) = fields.outcome {
                    call.ended(outcome, fields.reason.as_deref());
                }
                return;
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(part) = span.extensions_mut().remove::<Part>() else { return };
        let times = Times::since(part.began);
        let mut finished = span::finished(part.name, part.id, Some(part.parent), times);
        // Without one no image came of it, or it was ahead of its step and not needed.
        let image = part.image.map(|image| attribute("hookd.image.result", image));
        finished.attributes.extend(image);
        part.call.take(finished);
    }
}

/// A phase of a call, or of a part of it, is over; it began no earlier than what it is a phase of.
fn end_phase(call: &CallTrace, parent: SpanId, first: SystemTime, phase: &str, fields: &Fields) {
    let now = SystemTime::now();
    let before = |time: SystemTime, by| time.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH);
    let ended = before(now, fields.ago);
    let times = Times { began: before(ended, fields.time).max(first), ended };
    let id = id_within(parent, phase, times.began);
    call.take(span::finished(phase, id, Some(parent), times));
}
