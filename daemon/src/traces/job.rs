//! The trace of a job.
//!
//! Which one it is may be known late: prepare_job has no environment but that of the job's container, and a job
//! sets TRACEPARENT for its steps. What ends before the first step is held until then.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hookd_api::otlp::common::v1::KeyValue;
use hookd_api::otlp::trace::v1::{Span, span::Link};
use hookd_api::v1::JobContext;

use super::exporter::Queue;
use super::ids::{SpanId, TraceId};
use super::parent::TraceParent;
use super::span::{self, Times, attribute, bounded};
use crate::metrics::Outcome;

/// Spans that are held until the trace is known: those of prepare_job, and of builds ahead.
const HELD: usize = 64;

/// Calls whose ends are remembered.
const ENDED: usize = 1024;

/// See above.
#[derive(Debug)]
pub(super) struct Job {
    /// Of its own span.
    pub(super) root: SpanId,
    /// Of its trace, if no step names another.
    derived: TraceId,
    /// Of all its calls: what the job is.
    pub(super) attributes: Vec<KeyValue>,
    name: String,
    /// Of its own span alone.
    own: Vec<KeyValue>,
    queue: Queue,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    place: Option<Place>,
    held: Vec<Span>,
    /// When the first of its calls began.
    began: Option<SystemTime>,
    worst: Worst,
    /// The calls that have ended.
    ended: HashSet<SpanId>,
    is_over: bool,
}

/// The trace of the job, and the span outside that the job is a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    parent: Option<TraceParent>,
    pub(super) is_sampled: bool,
}

impl Place {
    /// The trace began with the job.
    pub(super) fn is_begun_here(self) -> bool {
        self.parent.is_none()
    }
}

/// The worst end that a call had, and its `error.type`.
#[derive(Debug, Default)]
struct Worst {
    result: JobResult,
    error: Option<String>,
}

/// As the conventions name the result of a task, from good to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum JobResult {
    #[default]
    Success,
    Cancellation,
    Failure,
    Error,
}

impl JobResult {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded | Outcome::Left => Self::Success,
            Outcome::Cancelled => Self::Cancellation,
            Outcome::ProgramFailed | Outcome::WorkflowFailed => Self::Failure,
            Outcome::HookdFailed => Self::Error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancellation => "cancellation",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// What names a job, on this runner.
fn identity<'a>(runner: &'a str, job: &'a JobContext) -> [&'a str; 6] {
    let JobContext { repository, workflow, run_id, run_attempt, job, .. } = job;
    [repository, workflow, run_id, run_attempt, job, runner].map(bounded)
}

impl Job {
    /// A job whose first call begins.
    pub(super) fn new(runner: &str, job: &JobContext, queue: Queue) -> Self {
        let identity = identity(runner, job);
        let [repository, workflow, run_id, attempt, name, _] = identity;
        let run = [run_id, attempt, name].join("/");
        let server = bounded(&job.server_url);
        let is_web = server.starts_with("https://") || server.starts_with("http://");
        let has_url = is_web && !repository.is_empty() && !run_id.is_empty();
        let url = format!("{server}/{repository}/actions/runs/{run_id}");
        let url = if has_url { url.as_str() } else { "" };
        let (owner, repository) = repository.split_once('/').unwrap_or(("", repository));
        let own = [("cicd.pipeline.run.url.full", url), ("cicd.pipeline.task.run.id", &run)];
        let known = [
            ("cicd.pipeline.name", workflow),
            ("cicd.pipeline.run.id", run_id),
            ("cicd.pipeline.task.name", name),
            ("vcs.owner.name", owner),
            ("vcs.repository.name", repository),
            ("hookd.run.attempt", attempt),
        ];
        Self {
            root: SpanId::of(&identity),
            derived: TraceId::of(&identity),
            attributes: span::attributes(&known),
            name: if name.is_empty() { "job" } else { name }.to_owned(),
            own: span::attributes(&own),
            queue,
            state: Mutex::default(),
        }
    }

    /// Whether it is this one.
    pub(super) fn is(&self, runner: &str, job: &JobContext) -> bool {
        self.derived == TraceId::of(&identity(runner, job))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its place: that of the first who asks, who names the span that the job is a part of.
    pub(super) fn settle(&self, parent: Option<TraceParent>) -> Place {
        let mut state = self.state();
        if let Some(place) = state.place {
            return place;
        }
        // A span of the trace that hookd began: of an earlier step, whose TRACEPARENT the job has kept.
        let parent = parent.filter(|named| named.trace != self.derived);
        let place = Place {
            trace: parent.map_or(self.derived, |named| named.trace),
            parent,
            is_sampled: parent.is_none_or(|named| named.is_sampled),
        };
        state.place = Some(place);
        for span in mem::take(&mut state.held) {
            self.send(place, span);
        }
        place
    }

    /// The span outside that a step is a part of, in place of the job; none: the step belongs to the job.
    pub(super) fn other(&self, named: Option<TraceParent>) -> Option<TraceParent> {
        let ours = self.settle(named).parent;
        named.filter(|named| Some(*named) != ours)
    }

    /// Takes a finished span of its own trace.
    pub(super) fn take(&self, span: Span) {
        let mut state = self.state();
        match state.place {
            Some(place) => self.send(place, span),
            None if state.held.len() < HELD => state.held.push(span),
            None => self.queue.drop_one(),
        }
    }

    /// Takes a finished span of another trace, which says where it came from.
    pub(super) fn take_other(&self, trace: TraceParent, mut span: Span) {
        if !trace.is_sampled {
            return;
        }
        let place = self.settle(None);
        if place.is_sampled && span.parent_span_id == trace.span.to_bytes() {
            let (trace_id, span_id) = (place.trace.to_bytes(), self.root.to_bytes());
            span.links.push(Link { trace_id, span_id });
        }
        span.trace_id = trace.trace.to_bytes();
        self.queue.push(span);
    }

    fn send(&self, place: Place, mut span: Span) {
        if place.is_sampled {
            span.trace_id = place.trace.to_bytes();
            self.queue.push(span);
        }
    }

    /// A call of it that began then has ended so. False: it is known to have ended; its client has come back
    /// for the result.
    pub(super) fn saw(
        &self,
        call: SpanId,
        began: SystemTime,
        outcome: Outcome,
        error: Option<&str>,
    ) -> bool {
        let (mut state, result) = (self.state(), JobResult::of(outcome));
        if state.ended.len() < ENDED && !state.ended.insert(call) {
            return false;
        }
        state.began = Some(state.began.map_or(began, |first| first.min(began)));
        if result > state.worst.result {
            state.worst = Worst { result, error: error.map(str::to_owned) };
        }
        true
    }

    /// It is over: its own span is sent, once.
    pub(super) fn end(&self) {
        let place = self.settle(None);
        let mut state = self.state();
        if mem::replace(&mut state.is_over, true) {
            return;
        }
        let Worst { result, error } = mem::take(&mut state.worst);
        let parent = place.parent.map(|parent| parent.span);
        let times = Times::since(state.began.unwrap_or_else(SystemTime::now));
        let mut root = span::finished(&self.name, self.root, parent, times);
        root.attributes = [&self.attributes[..], &self.own].concat();
        root.attributes.push(attribute("cicd.pipeline.task.run.result", result.name()));
        if let Some(error) = error {
            root.attributes.push(attribute("error.type", error));
            root.status = span::failed();
        }
        self.send(place, root);
    }
}
