//! The spans of hookd, as a collector beside the cluster gets them.

use std::collections::BTreeSet;

use e2e::collector::Collector;
use fake_runner::layout::guid;
use hookd_api::otlp::common::v1::{KeyValue, any_value::Value};
use hookd_api::otlp::trace::v1::{Span, status::StatusCode};
use rustix::process::Signal;
use test_support::wait::{s, until};
use test_support::{JobRun, Outcome, RunnerPod, Setup, WORKSPACE};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The spans of a job that has ended.
fn of_job(collector: &Collector) -> Vec<Span> {
    until("the job's own span is there", s(30), || {
        let spans = collector.spans();
        spans.iter().any(is_of_job).then_some(spans)
    })
}

fn is_of_job(span: &Span) -> bool {
    !value(span, "cicd.pipeline.task.run.result").is_empty()
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

/// What the step found as TRACEPARENT.
fn parent_of(step: &Outcome) -> String {
    let lines = step.lines();
    let found = lines.iter().find_map(|line| line.strip_prefix("parent "));
    found.unwrap_or_else(|| panic!("{}", step.printed())).to_owned()
}

/// The call within which a step's own spans are.
fn call<'a>(spans: &'a [Span], parent: &str) -> &'a Span {
    let id = |span: &Span| format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
    let found = spans.iter().find(|span| id(span) == parent);
    found.unwrap_or_else(|| panic!("{parent} is not among {spans:#?}"))
}

/// Names of the spans within one.
fn within<'a>(spans: &'a [Span], parent: &Span) -> BTreeSet<&'a str> {
    let children = spans.iter().filter(|span| span.parent_span_id == parent.span_id);
    children.map(|span| span.name.as_str()).collect()
}

#[test]
fn a_job_is_one_trace_at_a_collector() {
    let collector = Collector::start();
    let setup = Setup::default().set("HOOKD_TRACES_ENDPOINT", &collector.endpoint);
    let runner = RunnerPod::with(&setup);
    let mut job = JobRun::start(&runner);
    let script = parent_of(&job.run("echo parent $TRACEPARENT"));
    job.run("exit 3").assert_code(3);
    let container = parent_of(&runner.run(&runner.script("echo parent $TRACEPARENT")));
    let id = guid().unwrap();
    let dockerfile = format!("FROM busybox:1\nLABEL test={id}\nCMD echo parent $TRACEPARENT\n");
    let action = runner.action("built", &[("Dockerfile", dockerfile.as_str())]);
    let built = parent_of(&runner.run(&action));
    job.clean_up().assert_code(0);

    let spans = of_job(&collector);
    let root = spans.iter().find(|span| is_of_job(span)).unwrap();
    assert!(root.parent_span_id.is_empty());
    assert_eq!(value(root, "cicd.pipeline.task.run.result"), "failure");
    assert_eq!(value(root, "vcs.repository.name"), "demo");
    let mut calls: Vec<_> = spans.iter().filter(|one| one.parent_span_id == root.span_id).collect();
    calls.sort_by_key(|span| span.start_time_unix_nano);
    let names: Vec<_> = calls.iter().map(|span| span.name.as_str()).collect();
    let [prepare, step, of_image] = ["prepare_job", "run_script_step", "run_container_step"];
    assert_eq!(names, [prepare, step, step, of_image, of_image, "cleanup_job"]);
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), spans.len());
    for span in &spans {
        assert_eq!(span.trace_id, root.trace_id, "{span:#?}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:#?}");
        let around = spans.iter().find(|one| one.span_id == span.parent_span_id);
        assert!(around.is_some() || span == root, "{span:#?}");
    }
    let errors = calls.iter().map(|span| value(span, "error.type"));
    assert_eq!(errors.collect::<Vec<_>>(), ["", "", "program_failed", "", "", ""]);
    assert_eq!(calls[2].status.as_ref().unwrap().code(), StatusCode::Error);
    let [script, container, built] = [script, container, built].map(|parent| call(&spans, &parent));
    assert_eq!([script, container, built], [calls[1], calls[3], calls[4]]);
    let of_pod = BTreeSet::from(["schedule", "start", "pull"]);
    assert_eq!(within(&spans, calls[0]), of_pod);
    assert_eq!(within(&spans, script), BTreeSet::from(["run"]));
    assert_eq!(within(&spans, container), &of_pod | &BTreeSet::from(["run"]));
    assert_eq!(within(&spans, built), &of_pod | &BTreeSet::from(["image", "run"]));
    let image = spans.iter().find(|span| span.name == "image").unwrap();
    assert_eq!(value(image, "hookd.image.result"), "built");
    assert_eq!(within(&spans, image), &of_pod | &BTreeSet::from(["build"]));
}

#[test]
fn a_job_goes_on_with_the_trace_that_its_steps_name() {
    let collector = Collector::start();
    let setup = Setup::in_runner_pod().set("HOOKD_TRACES_ENDPOINT", &collector.endpoint);
    let runner = RunnerPod::with(&setup);
    let mut job = JobRun::start(&runner);
    let program = runner.script_program("sh", "echo parent $TRACEPARENT");
    let passed = parent_of(&job.run_program(&program.set("TRACEPARENT", PARENT)));
    assert!(passed.starts_with(&PARENT[..36]) && passed != PARENT, "{passed}");
    job.clean_up().assert_code(0);
    let spans = of_job(&collector);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == PARENT[3..35]), "{spans:#?}");
    let root = spans.iter().find(|span| is_of_job(span)).unwrap();
    assert_eq!(hex(&root.parent_span_id), PARENT[36..52]);
    assert_eq!(within(&spans, root), ["prepare_job", "run_script_step", "cleanup_job"].into());
    assert_eq!(call(&spans, &passed).parent_span_id, root.span_id);
}

#[test]
fn a_step_that_outlives_the_daemon_is_one_span() {
    let collector = Collector::start();
    let setup = Setup::default().set("HOOKD_TRACES_ENDPOINT", &collector.endpoint);
    let runner = RunnerPod::with(&setup);
    let job = JobRun::start(&runner);
    let script = "echo parent $TRACEPARENT; while [ ! -e go ]; do sleep 0.05; done";
    let hook = job.step_call(&runner.script_program("sh", script)).start();
    hook.wait_for("parent ");
    let killed = runner.daemon();
    killed.signal(Signal::KILL);
    until("another daemon", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    runner.write(&format!("{WORKSPACE}/go"), "");
    let outcome = hook.end();
    outcome.assert_code(0);
    job.clean_up().assert_code(0);
    let spans = of_job(&collector);
    let steps: Vec<_> = spans.iter().filter(|span| span.name == "run_script_step").collect();
    assert_eq!(steps, [call(&spans, &parent_of(&outcome))]);
    let root = spans.iter().find(|span| is_of_job(span)).unwrap();
    assert_eq!((&steps[0].parent_span_id, &steps[0].trace_id), (&root.span_id, &root.trace_id));
    // The step under way is the first call that the other daemon saw.
    assert_eq!(steps[0].start_time_unix_nano, root.start_time_unix_nano);
}

#[test]
fn a_collector_that_is_not_there_changes_nothing_for_a_step() {
    // An address of the pods' own network that no pod has: nothing answers there.
    let setup = Setup::default().set("HOOKD_TRACES_ENDPOINT", "http://10.88.0.254:4317");
    let runner = RunnerPod::with(&setup);
    let outcome = runner.run(&runner.script("echo parent $TRACEPARENT"));
    outcome.assert_code(0);
    assert!(parent_of(&outcome).starts_with("00-"));
    runner.cleanup().run().assert_code(0);
    until("the log says it", s(30), || {
        let lines = runner.log().matches("the collector takes no spans").count();
        (lines == 1).then_some(())
    });
}
