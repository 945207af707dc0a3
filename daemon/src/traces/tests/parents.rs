//! What TRACEPARENT makes of a job and of its steps.

use super::*;

#[test]
fn a_job_is_a_part_of_the_trace_that_its_steps_name() {
    let (mut daemon, job) = (Daemon::start(), job());
    daemon.call(&called(Call::PrepareJob, &job, None), Outcome::Succeeded, || {});
    let step = called(Call::RunContainerStep, &job, Some(PARENT));
    let passed = daemon.call(&step, Outcome::Succeeded, || {});
    daemon.traces.end();
    let spans = daemon.sent();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == PARENT[3..35]), "{spans:#?}");
    assert_eq!(hex(&named(&spans, "build").parent_span_id), PARENT[36..52]);
    let call = named(&spans, "run_container_step");
    assert_eq!(call.parent_span_id, named(&spans, "build").span_id);
    assert_eq!(passed, format!("{}{}-01", &PARENT[..36], hex(&call.span_id)));
}

#[test]
fn the_environment_of_the_jobs_container_decides_at_once() {
    let (mut daemon, job) = (Daemon::start(), job());
    daemon.call(&called(Call::PrepareJob, &job, Some(PARENT)), Outcome::Succeeded, || {});
    let spans = daemon.sent();
    assert_eq!(hex(&named(&spans, "prepare_job").trace_id), PARENT[3..35]);
    let passed = daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    assert!(passed.starts_with(&PARENT[..36]), "{passed}");
}

#[test]
fn a_step_that_names_another_span_is_a_part_of_that() {
    let (mut daemon, job) = (Daemon::start(), job());
    daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    let step = called(Call::RunContainerStep, &job, Some(OTHER));
    daemon.call(&step, Outcome::Succeeded, || {
        metrics().took_until(Phase::Run, Duration::ZERO, Duration::ZERO)
    });
    let spans = daemon.sent();
    let [first, second, phase] =
        ["run_script_step", "run_container_step", "run"].map(|name| named(&spans, name));
    assert_eq!(hex(&second.trace_id), OTHER[3..35]);
    assert_eq!(hex(&second.parent_span_id), OTHER[36..52]);
    assert_eq!((&phase.trace_id, &phase.parent_span_id), (&second.trace_id, &second.span_id));
    let [link] = &second.links[..] else { panic!("{second:#?}") };
    assert_eq!((&link.trace_id, &link.span_id), (&first.trace_id, &first.parent_span_id));
    assert!(first.links.is_empty() && phase.links.is_empty());
}

#[test]
fn a_step_that_keeps_an_earlier_ones_span_is_its_child() {
    let job = job();
    let first = called(Call::RunScriptStep, &job, None);
    let kept = Daemon::start().call(&first, Outcome::Succeeded, || {});
    // Another daemon, to which the earlier step is not known.
    let mut daemon = Daemon::start();
    let step = called(Call::RunContainerStep, &job, Some(&kept));
    daemon.call(&step, Outcome::Succeeded, || {});
    daemon.call(&called(Call::CleanupJob, &job, None), Outcome::Succeeded, || {});
    let spans = daemon.sent();
    assert!(named(&spans, "build").parent_span_id.is_empty(), "{spans:#?}");
    let step = named(&spans, "run_container_step");
    assert_eq!(hex(&step.parent_span_id), kept[36..52]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == kept[3..35]), "{spans:#?}");
}

#[test]
fn the_state_of_a_trace_goes_with_that_trace_alone() {
    let (traces, job) = (Daemon::start().traces, job());
    for (parent, is_kept) in [(Some(PARENT), true), (None, false), (Some("x"), false)] {
        // Each in a job of its own.
        traces.end();
        let mut environment = BTreeMap::from([("TRACESTATE".to_owned(), "a=b".to_owned())]);
        let call = traces.call(&called(Call::RunScriptStep, &job, parent)).unwrap();
        call.pass_on(&mut environment);
        assert_eq!(environment.contains_key("TRACESTATE"), is_kept, "{parent:?}");
    }
}

#[test]
fn what_is_not_sampled_is_passed_on_and_not_sent() {
    let (mut daemon, job) = (Daemon::start(), job());
    let unsampled = PARENT.replace("-01", "-00");
    daemon.call(&called(Call::PrepareJob, &job, None), Outcome::Succeeded, || {});
    let step = called(Call::RunScriptStep, &job, Some(&unsampled));
    let passed = daemon.call(&step, Outcome::Succeeded, || {
        metrics().took_until(Phase::Run, Duration::ZERO, Duration::ZERO);
    });
    daemon.call(&called(Call::CleanupJob, &job, None), Outcome::Succeeded, || {});
    assert!(passed.starts_with(&PARENT[..36]) && passed.ends_with("-00"), "{passed}");
    assert!(daemon.sent().is_empty());
}

#[test]
fn what_no_parent_is_changes_nothing() {
    let (daemon, job) = (Daemon::start(), job());
    let plain = daemon.call(&called(Call::RunScriptStep, &job, None), Outcome::Succeeded, || {});
    for text in ["", "x", "00-0-0-01", &PARENT.to_uppercase()] {
        let step = called(Call::RunScriptStep, &job, Some(text));
        assert_eq!(daemon.call(&step, Outcome::Succeeded, || {}), plain, "{text}");
    }
}
