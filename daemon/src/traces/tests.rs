//! The spans that calls become.

use std::collections::BTreeMap;
use std::time::Duration;

use hookd_api::otlp::common::v1::{KeyValue, any_value::Value};
use hookd_api::otlp::trace::v1::{Span, status::StatusCode};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::error::Reason;
use crate::metrics::{Build, Outcome, Phase, TRACE_TARGET, metrics};

mod exporting;
mod parents;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The spans of one daemon.
struct Daemon {
    traces: Traces,
    sent: mpsc::Receiver<Span>,
}

impl Daemon {
    fn start() -> Self {
        let (queue, sent) = Queue::of(1000);
        Self { traces: Traces::new("runner-1", queue), sent }
    }

    /// A call, within whose span the work is done; what its program finds as TRACEPARENT.
    fn call(&self, called: &Called<'_>, outcome: Outcome, work: impl FnOnce()) -> String {
        let trace = self.traces.call(called).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer());
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("call", step = called.step);
            trace.attach(&span);
            span.in_scope(|| {
                let counted = metrics().begin(called.call);
                work();
                counted.ended(outcome, None);
            });
        });
        let mut environment = BTreeMap::new();
        if matches!(called.call, Call::RunScriptStep | Call::RunContainerStep) {
            trace.pass_on(&mut environment);
        }
        environment.remove(TRACEPARENT).unwrap_or_default()
    }

    /// The spans that were sent since.
    fn sent(&mut self) -> Vec<Span> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }
}

fn job() -> JobContext {
    JobContext {
        repository: "octo/demo".to_owned(),
        workflow: "CI".to_owned(),
        run_id: "9000000001".to_owned(),
        run_attempt: "2".to_owned(),
        job: "build".to_owned(),
        server_url: "https://github.example".to_owned(),
    }
}

fn called<'a>(call: Call, job: &'a JobContext, parent: Option<&'a str>) -> Called<'a> {
    let step = (call != Call::CleanupJob).then_some("abc");
    Called { call, step, job: Some(job), parent, began: None }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(found.next().is_none(), "{name} is there twice");
    one
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(span: &Span, key: &str) -> String {
    let text = |one: &KeyValue| match one.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
    };
    span.attributes.iter().find(|one| one.key == key).and_then(text).unwrap_or_default()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

/// How long it took.
fn took(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

#[test]
fn a_job_is_one_trace_of_calls_and_their_phases() {
    let (mut daemon, job) = (Daemon::start(), job());
    let begin = SystemTime::now() - Duration::from_secs(100);
    let prepare = Called { began: Some(begin), ..called(Call::PrepareJob, &job, None) };
    daemon.call(&prepare, Outcome::Succeeded, || {
        let ago = Duration::from_secs(5);
        metrics().took_until(Phase::Schedule, Duration::from_secs(2), ago);
        metrics().took_until(Phase::Pull, ago, Duration::ZERO);
    });
    assert!(daemon.sent().is_empty(), "its trace may be that of a step yet");
    let step = called(Call::RunScriptStep, &job, None);
    let parent = daemon.call(&step, Outcome::Succeeded, || {});
    daemon.call(&called(Call::CleanupJob, &job, None), Outcome::Succeeded, || {});
    let spans = daemon.sent();
    assert_eq!(spans.len(), 6, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id && !is_error(span)));
    let root = named(&spans, "build");
    assert!(root.parent_span_id.is_empty());
    assert!(spans.iter().all(|span| span.start_time_unix_nano >= root.start_time_unix_nano));
    for name in ["prepare_job", "run_script_step", "cleanup_job"] {
        let call = named(&spans, name);
        assert_eq!(call.parent_span_id, root.span_id, "{name}");
        assert!(call.start_time_unix_nano <= call.end_time_unix_nano);
    }
    let [call, schedule, pull] =
        ["prepare_job", "schedule", "pull"].map(|name| named(&spans, name));
    assert_eq!((&schedule.parent_span_id, &pull.parent_span_id), (&call.span_id, &call.span_id));
    assert_eq!((took(schedule).as_secs(), took(pull).as_secs()), (2, 5));
    let between = pull.start_time_unix_nano.abs_diff(schedule.end_time_unix_nano);
    assert!(between < 1_000_000_000, "{between}");
    let step = named(&spans, "run_script_step");
    assert_eq!(parent, format!("00-{}-{}-01", hex(&step.trace_id), hex(&step.span_id)));
}

#[test]
fn a_build_of_no_job_loses_nothing_to_the_job_after_it() {
    let (mut daemon, job) = (Daemon::start(), job());
    let build = Called { job: None, ..called(Call::BuildImage, &job, None) };
    daemon.call(&build, Outcome::Succeeded, || {});
    daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    let spans = daemon.sent();
    let (build, step) = (named(&spans, "build_image"), named(&spans, "run_script_step"));
    assert_ne!(build.trace_id, step.trace_id);
    assert_eq!(build.parent_span_id, named(&spans, "job").span_id);
}

#[test]
fn a_failure_is_an_error_with_its_type() {
    let (mut daemon, job) = (Daemon::start(), job());
    let step = called(Call::RunScriptStep, &job, None);
    daemon.call(&step, Outcome::ProgramFailed, || {});
    let [failed] = &daemon.sent()[..] else { panic!() };
    assert!(is_error(failed));
    assert_eq!(value(failed, "error.type"), "program_failed");
    assert_eq!(value(failed, "hookd.step"), "abc");
    let trace = daemon.traces.call(&called(Call::RunContainerStep, &job, None)).unwrap();
    trace.ended(Outcome::HookdFailed, Some(Reason::Evicted.as_str()));
    let [failed] = &daemon.sent()[..] else { panic!() };
    assert_eq!(value(failed, "error.type"), "EVICTED");
    daemon.call(&called(Call::BuildImage, &job, None), Outcome::Cancelled, || {});
    let [cancelled] = &daemon.sent()[..] else { panic!() };
    assert!(!is_error(cancelled) && value(cancelled, "hookd.outcome") == "cancelled");
    daemon.traces.end();
    let [root] = &daemon.sent()[..] else { panic!() };
    assert!(is_error(root));
    for (key, expected) in [
        ("error.type", "EVICTED"),
        ("cicd.pipeline.task.run.result", "error"),
        ("cicd.pipeline.task.run.id", "9000000001/2/build"),
        ("cicd.pipeline.task.name", "build"),
        ("cicd.pipeline.name", "CI"),
        ("cicd.pipeline.run.id", "9000000001"),
        ("cicd.pipeline.run.url.full", "https://github.example/octo/demo/actions/runs/9000000001"),
        ("vcs.owner.name", "octo"),
        ("vcs.repository.name", "demo"),
    ] {
        assert_eq!(value(root, key), expected, "{key}");
    }
}

#[test]
fn a_step_that_comes_again_to_the_next_daemon_is_one_span() {
    let (mut first, mut second, job) = (Daemon::start(), Daemon::start(), job());
    let step = called(Call::RunScriptStep, &job, None);
    let passed = first.call(&step, Outcome::Left, || {});
    assert!(first.sent().is_empty(), "it is not over");
    let began = SystemTime::now() - Duration::from_secs(60);
    let again = Called { began: Some(began), ..step };
    assert_eq!(second.call(&again, Outcome::Succeeded, || {}), passed);
    let spans = second.sent();
    let [span] = &spans[..] else { panic!() };
    assert_eq!(took(span).as_secs(), 60);
    assert!(passed.contains(&hex(&span.span_id)));
    second.call(&again, Outcome::Succeeded, || {});
    assert!(second.sent().is_empty(), "its client has come for the result again");
    let later = SystemTime::now() + Duration::from_secs(60);
    let later = Called { began: Some(later), step: Some("def"), ..step };
    second.call(&later, Outcome::Succeeded, || {});
    assert!(took(&second.sent()[0]).as_secs() < 60);
}

#[test]
fn an_image_has_the_phases_of_its_build_and_its_result() {
    let (mut daemon, job) = (Daemon::start(), job());
    let step = called(Call::RunContainerStep, &job, None);
    daemon.call(&step, Outcome::Succeeded, || {
        tracing::trace_span!(target: TRACE_TARGET, "image").in_scope(|| {
            metrics().took_until(Phase::Build, Duration::ZERO, Duration::ZERO);
            metrics().built(Build::Built);
        });
        metrics().took_until(Phase::Run, Duration::ZERO, Duration::ZERO);
    });
    let spans = daemon.sent();
    let [call, image] = ["run_container_step", "image"].map(|name| named(&spans, name));
    assert_eq!(image.parent_span_id, call.span_id);
    assert_eq!(value(image, "hookd.image.result"), "built");
    assert_eq!(named(&spans, "build").parent_span_id, image.span_id);
    assert_eq!(named(&spans, "run").parent_span_id, call.span_id);
}

#[test]
fn another_job_is_another_trace_and_ends_once() {
    let (mut daemon, one) = (Daemon::start(), job());
    let two = JobContext { run_attempt: "3".to_owned(), ..job() };
    for job in [&one, &two] {
        daemon.call(&called(Call::RunScriptStep, job, None), Outcome::Succeeded, || {});
        daemon.call(&called(Call::CleanupJob, job, None), Outcome::Succeeded, || {});
    }
    let nameless = Called { job: None, ..called(Call::CleanupJob, &two, None) };
    daemon.call(&nameless, Outcome::Succeeded, || {});
    daemon.traces.end();
    let spans = daemon.sent();
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "build").collect();
    let [one, two] = roots[..] else { panic!("{roots:#?}") };
    assert_ne!(one.trace_id, two.trace_id);
    assert_eq!(spans.last().unwrap().trace_id, two.trace_id);
}

#[test]
fn the_values_of_a_workflow_are_bounded() {
    let mut daemon = Daemon::start();
    let job = JobContext { job: "\u{e9}".repeat(1000), ..job() };
    daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    let value = value(&daemon.sent()[0], "cicd.pipeline.task.name");
    assert_eq!(value, "\u{e9}".repeat(256));
}

#[test]
fn spans_that_wait_for_the_first_step_are_bounded() {
    let (mut daemon, job) = (Daemon::start(), job());
    daemon.call(&called(Call::PrepareJob, &job, None), Outcome::Succeeded, || {
        for _ in 0..10_000 {
            metrics().took_until(Phase::Start, Duration::ZERO, Duration::ZERO);
        }
    });
    daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    assert_eq!(daemon.sent().len(), 64 + 1);
}
