//! The place of a call in a trace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use hookd_api::otlp::trace::v1::Span;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use super::Called;
use super::ids::SpanId;
use super::job::Job;
use super::parent::{TRACEPARENT, TRACESTATE, TraceParent};
use super::span::{self, Times, attribute, nanos};
use crate::metrics::{Call, Label, Outcome};

/// See above. It becomes a span when its call ends.
#[derive(Clone, Debug)]
pub struct CallTrace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    job: Arc<Job>,
    /// The span that its step names, if that is not the job's: it belongs to that one's trace.
    other: Option<TraceParent>,
    call: Call,
    id: SpanId,
    step: Option<String>,
    began: SystemTime,
}

impl CallTrace {
    pub(super) fn new(job: Arc<Job>, called: &Called<'_>) -> Self {
        let Called { call, step, parent, .. } = *called;
        let now = SystemTime::now();
        // A client may name any time.
        let began = called.began.filter(|began| *began < now).unwrap_or(now);
        let parent = parent.and_then(|text| text.parse::<TraceParent>().ok());
        let is_of_step = matches!(call, Call::RunScriptStep | Call::RunContainerStep);
        // Before the first step it may not be known which trace is the job's.
        let other = if parent.is_some() || is_of_step { job.other(parent) } else { None };
        let one = match (call, step) {
            // They may come again; a step that comes again is the same, whichever daemon it comes to.
            (Call::CancelStep | Call::CleanupJob, _) | (_, None) => nanos(now).to_string(),
            (_, Some(step)) => step.to_owned(),
        };
        let id = SpanId::of(&[&job.root.to_string(), call.value(), &one]);
        let step = step.map(str::to_owned);
        Self(Arc::new(Inner { job, other, call, id, step, began }))
    }

    /// Its own id.
    pub(super) fn id(&self) -> SpanId {
        self.0.id
    }

    /// Puts it where what happens within this span of `tracing` finds it.
    pub fn attach(&self, span: &tracing::Span) {
        span.with_subscriber(|(id, dispatch)| {
            let registry = dispatch.downcast_ref::<Registry>();
            if let Some(span) = registry.and_then(|registry| registry.span(id)) {
                span.extensions_mut().replace(self.clone());
            }
        });
    }

    /// The step's program is to make its own spans children of the call's.
    pub fn pass_on(&self, environment: &mut BTreeMap<String, String>) {
        let place = self.0.job.settle(None);
        let (trace, is_sampled) = match self.0.other {
            Some(other) => (other.trace, other.is_sampled),
            None => (place.trace, place.is_sampled),
        };
        if self.0.other.is_none() && place.is_begun_here() {
            // It is of a trace that this one does not go on.
            environment.remove(TRACESTATE);
        }
        let own = TraceParent { trace, span: self.0.id, is_sampled };
        environment.insert(TRACEPARENT.to_owned(), own.to_string());
    }

    /// Something within it has ended.
    pub(super) fn take(&self, span: Span) {
        match self.0.other {
            Some(other) => self.0.job.take_other(other, span),
            None => self.0.job.take(span),
        }
    }

    /// When it began.
    pub(super) fn began(&self) -> SystemTime {
        self.0.began
    }

    /// It has ended. One that its client left is not over: the client comes back for it.
    pub(super) fn ended(&self, outcome: Outcome, reason: Option<&str>) {
        let Inner { job, other, call, id, step, began } = &*self.0;
        if outcome == Outcome::Left {
            return;
        }
        let parent = other.map_or(job.root, |other| other.span);
        let mut span = span::finished(call.value(), *id, Some(parent), Times::since(*began));
        span.attributes = job.attributes.clone();
        span.attributes.push(attribute("hookd.outcome", outcome.value()));
        if let Some(step) = step {
            span.attributes.push(attribute("hookd.step", step));
        }
        let has_failed = !matches!(outcome, Outcome::Succeeded | Outcome::Cancelled);
        let error = has_failed.then(|| reason.unwrap_or(outcome.value()));
        if let Some(error) = error {
            span.attributes.push(attribute("error.type", error));
            span.status = span::failed();
        }
        if job.saw(*id, *began, outcome, error) {
            self.take(span);
        }
        if *call == Call::CleanupJob {
            job.end();
        }
    }
}
