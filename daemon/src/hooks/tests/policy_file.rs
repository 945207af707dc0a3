//! Each call asks the policy before it creates anything.

use hookd_api::v1::ContainerSpec;

use super::*;
use crate::build::spec::BuildSpec;
use crate::error::{Failure, Reason};
use crate::hooks::build_image::BuildImage;
use crate::hooks::prepare_job::PrepareJob;
use crate::hooks::run_container_step::RunContainerStep;
use crate::objects::container::ContainerStep;
use crate::objects::job_pod::JobSpec;
use crate::session::operation::Operation;

/// hookd with this policy; the API server expects no more than what is asked at the start.
fn with_policy(text: &str) -> Hookd {
    let mut hookd = Hookd::expecting(discovery());
    let file = hookd.directory.path().join("policy.yaml");
    std::fs::write(&file, text).unwrap();
    let context = Arc::get_mut(&mut hookd.context).unwrap();
    context.config.policy.policy_file = Some(file);
    hookd
}

fn spec() -> ContainerSpec {
    ContainerSpec { image: "busybox".to_owned(), ..ContainerSpec::default() }
}

/// How each of the three calls fails.
async fn failures(text: &str) -> Vec<Failure> {
    let (hookd, mut client) = (with_policy(text), Client::at(Cursor::default()));
    let context = || hookd.context.clone();
    let job = JobSpec::read(Some(spec()), Vec::new()).unwrap();
    let job = PrepareJob::new(context(), step(), job).run(&mut client.session).await.err();
    let container = ContainerStep::try_from(spec()).unwrap();
    let mut container = RunContainerStep::new(context(), step(), container);
    let container = container.run(&mut client.session).await.err();
    let build = BuildSpec::of(std::path::Path::new("/w/Dockerfile"));
    let build = BuildImage::new(context(), step(), build).run(&mut client.session).await.err();
    assert_eq!(hookd.api.requests().len(), 3, "{:?}", hookd.api.requests());
    assert_eq!(client.read(), "");
    [job, container, build].into_iter().map(Option::unwrap).collect()
}

#[tokio::test]
async fn what_a_rule_refuses_creates_nothing() {
    let text = "images: {allowed: [ghcr.io/org/*]}\nbuilds: {events: [push]}\n";
    let failures = failures(text).await;
    for (failure, rule) in
        failures.iter().zip(["images.allowed", "images.allowed", "builds.events"])
    {
        assert_eq!(failure.reason, Reason::PolicyDenied, "{failure}");
        assert!(failure.message.contains(rule), "{failure}");
    }
}

#[tokio::test]
async fn a_policy_that_is_wrong_refuses_each_call() {
    for failure in failures("images: {allow: []}\n").await {
        assert_eq!(failure.reason, Reason::PolicyInvalid, "{failure}");
        assert!(failure.message.contains("allow"), "{failure}");
    }
}

#[tokio::test]
async fn a_rule_for_the_runner_names_its_template() {
    let hookd = with_policy("templates: [{runnerLabels: {}, file: /nowhere/gpu.yaml}]\n");
    hookd.context.cluster_info().await.unwrap();
    let failure = hookd.context.template().unwrap_err();
    assert_eq!(failure.reason, Reason::TemplateInvalid);
    assert!(failure.message.contains("/nowhere/gpu.yaml"), "{failure}");
    let other = with_policy("templates: [{runnerLabels: {pool: gpu}, file: /nowhere/gpu.yaml}]\n");
    other.context.cluster_info().await.unwrap();
    assert!(other.context.template().unwrap().is_none());
}
