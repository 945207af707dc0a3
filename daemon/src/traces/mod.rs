//! Traces, for an OpenTelemetry collector: `docs/monitoring.md` says which spans there are.
//!
//! [`Traces`] gives each call its place in the trace of its job, and keeps that place with the call's span of
//! `tracing`. What is counted within it ([`crate::metrics`]) is emitted as events, of which [`layer()`] makes
//! OTLP spans; [`exporter`] sends them. Without a collector nothing of this is there: no layer, no task, no place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hookd_api::v1::JobContext;

use crate::metrics::Call;

mod call;
pub mod exporter;
mod ids;
mod job;
mod layer;
mod parent;
mod span;
#[cfg(test)]
mod tests;

pub use call::CallTrace;
pub use ids::{SpanId, TraceId};
pub use layer::layer;
pub use parent::{InvalidTraceParent, TRACEPARENT, TraceParent};
pub use span::bounded;

use exporter::Queue;
use job::Job;

/// Gives calls their places in traces, if there is a collector.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    runner: String,
    queue: Queue,
    /// That of the newest call that names one: a runner has one job at a time.
    job: Mutex<Option<Arc<Job>>>,
}

/// What is known of a call as it comes in. All of it is the client's, and decides nothing but the call's place.
#[derive(Clone, Copy, Debug)]
pub struct Called<'a> {
    /// Which one.
    pub call: Call,
    /// Its step.
    pub step: Option<&'a str>,
    /// The job that it says it belongs to.
    pub job: Option<&'a JobContext>,
    /// TRACEPARENT in the environment of its program.
    pub parent: Option<&'a str>,
    /// When its step was first asked for, if that was before.
    pub began: Option<SystemTime>,
}

impl Traces {
    /// Those of the jobs of this runner pod.
    pub fn new(runner: &str, queue: Queue) -> Self {
        let (runner, job) = (runner.to_owned(), Mutex::default());
        Self(Some(Arc::new(Tracer { runner, queue, job })))
    }

    /// The place of a call; none: there is no collector.
    pub fn call(&self, called: &Called<'_>) -> Option<CallTrace> {
        let tracer = self.0.as_ref()?;
        Some(CallTrace::new(tracer.job(called.job), called))
    }

    /// No further call comes: what is held back of the job is sent, with its own span.
    pub fn end(&self) {
        let Some(tracer) = &self.0 else { return };
        let job = tracer.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            job.end();
        }
    }
}

impl Tracer {
    fn job(&self, named: Option<&JobContext>) -> Arc<Job> {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            job.as_ref().filter(|job| named.is_none_or(|named| job.is(&self.runner, named)));
        if let Some(known) = known {
            return known.clone();
        }
        // Nothing of it is lost; a build of no job (`hookd build`) is one of its own.
        if let Some(before) = job.take() {
            before.end();
        }
        let nameless = JobContext::default();
        let next = Job::new(&self.runner, named.unwrap_or(&nameless), self.queue.clone());
        job.insert(Arc::new(next)).clone()
    }
}
