//! What hookd counts, for Prometheus: `docs/monitoring.md` lists it.
//!
//! There is one [`Metrics`] in a process: what is counted belongs to the process and not to a call. Counting
//! is an addition to an atomic; the text is made when it is asked for.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Uri};

use crate::error::Reason;

mod labels;
mod page;
mod process;
mod server;
#[cfg(test)]
mod tests;
mod trace_events;
mod values;

pub use labels::{Build, Call, Code, Connection, Label, Outcome, Output, Phase, Verb};
pub use server::serve;
pub use trace_events::TRACE_TARGET;

use labels::Unlabelled;
use page::{About, Page};
use values::{Counters, Durations};

/// Seconds: from a script that does nothing to a build of hours. An alert is on 120: within a bucket Prometheus
/// can only guess.
const CALL_BOUNDS: &[f64] =
    &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0];
const PHASE_BOUNDS: &[f64] = &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 7200.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Those of this process.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// When the process began to count, in seconds since 1970.
    started: f64,
    calls: Counters<Call, Outcome>,
    call_durations: Durations<Call>,
    in_progress: AtomicU64,
    failures: Counters<Reason>,
    phases: Durations<Phase>,
    builds: Counters<Build>,
    output: Counters<Output>,
    reconnects: Counters<Connection>,
    requests: Counters<Verb, Code>,
    retries: Counters,
    registry_requests: Counters<Code>,
    missing_permissions: AtomicU64,
}

impl Metrics {
    fn new() -> Self {
        Self {
            started: process::now(),
            calls: Counters::default(),
            call_durations: Durations::new(CALL_BOUNDS),
            in_progress: AtomicU64::new(0),
            failures: Counters::default(),
            phases: Durations::new(PHASE_BOUNDS),
            builds: Counters::default(),
            output: Counters::default(),
            reconnects: Counters::default(),
            requests: Counters::default(),
            retries: Counters::default(),
            registry_requests: Counters::default(),
            missing_permissions: AtomicU64::new(0),
        }
    }

    /// A call has begun.
    pub fn begin(&'static self, call: Call) -> CallInProgress {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        let outcome = Outcome::HookdFailed;
        CallInProgress { metrics: self, call, outcome, reason: None, since: Instant::now() }
    }

    /// A client has received a failure.
    pub fn failed(&self, reason: Reason) {
        self.failures.add(reason, Unlabelled::One, 1);
    }

    /// A phase took so long, and ended so long `ago`.
    pub fn took_until(&self, phase: Phase, time: Duration, ago: Duration) {
        self.phases.observe(phase, time);
        trace_events::phase(phase, time, ago);
    }

    /// A step has its image.
    pub fn built(&self, build: Build) {
        self.builds.add(build, Unlabelled::One, 1);
        trace_events::built(build);
    }

    /// A client was sent output.
    pub fn sent(&self, output: Output, bytes: usize) {
        self.output.add(output, Unlabelled::One, bytes as u64);
    }

    /// A connection broke, and is made again.
    pub fn reconnected(&self, connection: Connection) {
        self.reconnects.add(connection, Unlabelled::One, 1);
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
        self.retries.add(Unlabelled::One, Unlabelled::One, 1);
    }

    /// So many permissions were missing when they were last looked at.
    pub fn lacks_permissions(&self, number: usize) {
        self.missing_permissions.store(number as u64, Ordering::Relaxed);
    }

    /// The page for scrapers.
    pub fn text(&self) -> String {
        let mut page = Page::default();
        self.write_calls(&mut page);
        self.write_requests(&mut page);
        self.write_process(&mut page);
        page.into_text()
    }

    fn write_calls(&self, page: &mut Page) {
        let about = |name, help| About { name, help };
        let always = |_, _| true;
        let calls = about("hookd_calls_total", "Calls of the hooks that have ended.");
        // What is neither a step nor a job runs no program, and is not left.
        let may_be = |call, outcome| match outcome {
            Outcome::Succeeded | Outcome::WorkflowFailed | Outcome::HookdFailed => true,
            Outcome::ProgramFailed => matches!(call, Call::RunScriptStep | Call::RunContainerStep),
            Outcome::Cancelled | Outcome::Left => {
                !matches!(call, Call::CancelStep | Call::CleanupJob)
            }
        };
        page.counters(calls, &self.calls, may_be);
        let durations = about("hookd_call_duration_seconds", "How long a call of a hook took.");
        page.durations(durations, &self.call_durations);
        let in_progress = about("hookd_calls_in_progress", "Calls of the hooks under way.");
        page.gauge(in_progress, &[], self.in_progress.load(Ordering::Relaxed));
        let failures =
            about("hookd_failures_total", "Failures that clients have received, by their reason.");
        page.counters(failures, &self.failures, always);
        let phases = about("hookd_phase_duration_seconds", "How long a phase of a call took.");
        page.durations(phases, &self.phases);
        let builds = about("hookd_builds_total", "Images of Dockerfiles, by where they came from.");
        page.counters(builds, &self.builds, |_, _| true);
        let output = about("hookd_output_bytes_total", "Bytes of output that clients were sent.");
        page.counters(output, &self.output, |_, _| true);
    }

    fn write_requests(&self, page: &mut Page) {
        let about = |name, help| About { name, help };
        let reconnects =
            about("hookd_reconnects_total", "Connections that broke and were made again.");
        page.counters(reconnects, &self.reconnects, |_, _| true);
        let requests =
            about("hookd_kubernetes_requests_total", "Requests to the Kubernetes API server.");
        page.counters(requests, &self.requests, |verb, code| {
            verb != Verb::Other && code.is_shown_at_0()
        });
        let retries = about(
            "hookd_kubernetes_retries_total",
            "Requests to the Kubernetes API server that were made again.",
        );
        page.counters(retries, &self.retries, |_, _| true);
        let registry = about("hookd_registry_requests_total", "Requests to registries.");
        page.counters(registry, &self.registry_requests, |code, _| code.is_shown_at_0());
        let missing = about(
            "hookd_missing_permissions",
            "Permissions that hookd lacked when it last looked.",
        );
        page.gauge(missing, &[], self.missing_permissions.load(Ordering::Relaxed));
    }

    fn write_process(&self, page: &mut Page) {
        let about = |name, help| About { name, help };
        let info = about("hookd_build_info", "The version of hookd; always 1.");
        page.gauge(info, &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started = about("process_start_time_seconds", "When hookd started, since 1970.");
        page.gauge(started, &[], self.started);
        if let Some(memory) = process::resident_memory() {
            page.gauge(about("process_resident_memory_bytes", "Memory of hookd."), &[], memory);
        }
        if let Some(time) = process::processor_time() {
            page.counter(about("process_cpu_seconds_total", "Processor time of hookd."), time);
        }
    }
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
        self.metrics.in_progress.fetch_sub(1, Ordering::Relaxed);
        self.metrics.calls.add(self.call, self.outcome, 1);
        self.metrics.call_durations.observe(self.call, self.since.elapsed());
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
            Some(verb) => self.metrics.requests.add(verb, self.code, 1),
            None => self.metrics.registry_requests.add(self.code, Unlabelled::One, 1),
        }
    }
}
