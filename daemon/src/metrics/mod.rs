//! What hookd counts, for Prometheus: `docs/monitoring.md` lists it.
//!
//! There is one [`Metrics`] in a process: what is counted belongs to the process and not to a call. Counting
//! finds a series under a lock that all who count share, and adds to it; the text is made when it is asked for.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Uri};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::error::Reason;

mod labels;
mod page;
mod process;
mod server;
#[cfg(test)]
mod tests;
mod trace_events;

pub use labels::{Build, Call, Code, Connection, Label, Outcome, Output, Phase, Verb};
pub use server::serve;
pub use trace_events::TRACE_TARGET;

use labels::{all, pairs};
use page::{Counters, Durations, Page};
use process::Process;

/// Seconds: from a script that does nothing to a build of hours. An alert is on 120: within a bucket Prometheus
/// can only guess.
const CALL_BOUNDS: [f64; 12] =
    [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0];
const PHASE_BOUNDS: [f64; 11] =
    [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 7200.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Those of this process.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    calls: Counters<(Call, Outcome)>,
    call_durations: Durations<Call>,
    in_progress: Gauge,
    failures: Counters<Reason>,
    phases: Durations<Phase>,
    builds: Counters<Build>,
    output: Counters<Output>,
    reconnects: Counters<Connection>,
    requests: Counters<(Verb, Code)>,
    retries: Counter,
    registry_requests: Counters<Code>,
    missing_permissions: Gauge,
    page: Page,
}

impl Metrics {
    fn new() -> Self {
        let mut page = Page::default();
        Self {
            calls: page.counters("hookd_calls", "Calls of the hooks that have ended", ends()),
            call_durations: page.durations(
                "hookd_call_duration_seconds",
                "How long a call of a hook took",
                || Histogram::new(CALL_BOUNDS),
            ),
            in_progress: page.gauge("hookd_calls_in_progress", "Calls of the hooks under way"),
            failures: page.counters(
                "hookd_failures",
                "Failures that clients have received, by their reason",
                all(),
            ),
            phases: page.durations(
                "hookd_phase_duration_seconds",
                "How long a phase of a call took",
                || Histogram::new(PHASE_BOUNDS),
            ),
            builds: page.counters(
                "hookd_builds",
                "Images of Dockerfiles, by where they came from",
                all(),
            ),
            output: page.counters(
                "hookd_output_bytes",
                "Bytes of output that clients were sent",
                all(),
            ),
            reconnects: page.counters(
                "hookd_reconnects",
                "Connections that broke and were made again",
                all(),
            ),
            requests: page.counters(
                "hookd_kubernetes_requests",
                "Requests to the Kubernetes API server",
                requests(),
            ),
            retries: page.counter(
                "hookd_kubernetes_retries",
                "Requests to the Kubernetes API server that were made again",
            ),
            registry_requests: page.counters(
                "hookd_registry_requests",
                "Requests to registries",
                all().filter(|code: &Code| code.is_shown_at_0()),
            ),
            missing_permissions: page.gauge(
                "hookd_missing_permissions",
                "Permissions that hookd lacked when it last looked",
            ),
            page: page.and(Process::started_now()),
        }
    }

    /// A call has begun.
    pub fn begin(&'static self, call: Call) -> CallInProgress {
        self.in_progress.inc();
        let outcome = Outcome::HookdFailed;
        CallInProgress { metrics: self, call, outcome, reason: None, since: Instant::now() }
    }

    /// A client has received a failure.
    pub fn failed(&self, reason: Reason) {
        self.failures.get_or_create(&reason).inc();
    }

    /// A phase took so long, and ended so long `ago`.
    pub fn took_until(&self, phase: Phase, time: Duration, ago: Duration) {
        self.phases.get_or_create(&phase).observe(time.as_secs_f64());
        trace_events::phase(phase, time, ago);
    }

    /// A step has its image.
    pub fn built(&self, build: Build) {
        self.builds.get_or_create(&build).inc();
        trace_events::built(build);
    }

    /// A client was sent output.
    pub fn sent(&self, output: Output, bytes: usize) {
        self.output.get_or_create(&output).inc_by(bytes as u64);
    }

    /// A connection broke, and is made again.
    pub fn reconnected(&self, connection: Connection) {
        self.reconnects.get_or_create(&connection).inc();
    }

    /// The API server is asked.
    pub fn ask(&'static self, method: &Method, uri: &Uri) -> Asked {
        Asked { metrics: self, verb: Some(Verb::of(method, uri)), code: Code::NoAnswer }
    }

    /// A registry is asked.
    pub fn ask_registry(&'static self) -> Asked {
        Asked { metrics: self, verb: None, code: Code::NoAnswer }
    }

    /// A request to the API server is made again.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// So many permissions were missing when they were last looked at.
    pub fn lacks_permissions(&self, number: usize) {
        self.missing_permissions.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// The page for scrapers.
    pub fn text(&self) -> String {
        self.page.text()
    }
}

/// How each call may end: what is neither a step nor a job runs no program, and is not left.
fn ends() -> impl Iterator<Item = (Call, Outcome)> {
    pairs().filter(|(call, outcome)| match outcome {
        Outcome::Succeeded | Outcome::WorkflowFailed | Outcome::HookdFailed => true,
        Outcome::ProgramFailed => matches!(call, Call::RunScriptStep | Call::RunContainerStep),
        Outcome::Cancelled | Outcome::Left => !matches!(call, Call::CancelStep | Call::CleanupJob),
    })
}

/// What is asked of the API server in each cluster, and the answers that an alert is on.
fn requests() -> impl Iterator<Item = (Verb, Code)> {
    pairs().filter(|(verb, code): &(_, Code)| *verb != Verb::Other && code.is_shown_at_0())
}

/// A call under way; it is counted when it is dropped.
#[derive(Debug)]
pub struct CallInProgress {
    metrics: &'static Metrics,
    call: Call,
    outcome: Outcome,
    reason: Option<Reason>,
    since: Instant,
}

impl CallInProgress {
    /// How it ended, and the reason of a failure; without this hookd has failed.
    pub fn ended(mut self, outcome: Outcome, reason: Option<Reason>) {
        (self.outcome, self.reason) = (outcome, reason);
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        self.metrics.in_progress.dec();
        self.metrics.calls.get_or_create(&(self.call, self.outcome)).inc();
        let duration = self.since.elapsed().as_secs_f64();
        self.metrics.call_durations.get_or_create(&self.call).observe(duration);
        trace_events::ended(self.outcome, self.reason);
    }
}

/// A request under way; it is counted when it is dropped.
#[derive(Debug)]
pub struct Asked {
    metrics: &'static Metrics,
    /// None: of a registry.
    verb: Option<Verb>,
    code: Code,
}

impl Asked {
    /// What was answered; without this there was no answer.
    pub fn answered(mut self, status: StatusCode) {
        self.code = Code::of(status);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        match self.verb {
            Some(verb) => self.metrics.requests.get_or_create(&(verb, self.code)).inc(),
            None => self.metrics.registry_requests.get_or_create(&self.code).inc(),
        };
    }
}
