//! Each rule refuses and allows.

use std::collections::BTreeMap;

use hookd_api::v1::{ContainerSpec, Mount};

use super::*;
use crate::dockerfile;
use crate::error::{Explain, Reason};

mod file;
mod spellings;

fn policy(text: &str) -> Policy {
    let rules = read::rules("policy.yaml", text.as_bytes());
    Policy {
        rules: rules.unwrap_or_else(|error| panic!("{text}: {}", crate::error::report(&error))),
    }
}

/// A job with one container.
fn job(spec: ContainerSpec) -> JobSpec {
    JobSpec::read(Some(spec), Vec::new()).unwrap()
}

fn with_image(image: &str) -> ContainerSpec {
    ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() }
}

fn with_options(options: &str) -> ContainerSpec {
    ContainerSpec { create_options: options.to_owned(), ..with_image("busybox") }
}

fn with_volume(source: &str, target: &str) -> ContainerSpec {
    let volume = Mount {
        source_volume_path: source.to_owned(),
        target_volume_path: target.to_owned(),
        ..Mount::default()
    };
    ContainerSpec { user_mount_volumes: vec![volume], ..with_image("busybox") }
}

/// The rules that refuse.
fn rules(refused: &[PolicyError]) -> Vec<&str> {
    refused.iter().map(PolicyError::rule).collect()
}

fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

#[test]
fn each_rule_of_a_container_allows_and_refuses() {
    let pinned = format!("ghcr.io/org/tool@{}", digest());
    for (text, allowed, refused, rule) in [
        (
            "images: {allowed: ['docker.io/library/*']}",
            with_image("busybox:1"),
            with_image("someone/busybox:1"),
            "images.allowed",
        ),
        (
            "images: {jobs: {allowed: ['ghcr.io/org/**']}}",
            with_image("ghcr.io/org/a/b:2"),
            with_image("busybox"),
            "images.jobs.allowed",
        ),
        (
            "images: {allowed: ['ghcr.io/org/tool:1.*']}",
            with_image("ghcr.io/org/tool:1.2"),
            with_image("ghcr.io/org/tool:2"),
            "images.allowed",
        ),
        (
            "images: {digestRequired: true}",
            with_image(&pinned),
            with_image("busybox:1"),
            "images.digestRequired",
        ),
        (
            "options: {allowed: [--cpus, '--health-*']}",
            with_options("--cpus 1 --health-retries 2"),
            with_options("-m 1g"),
            "options.allowed",
        ),
        (
            "options: {privileged: false}",
            with_options("--privileged=false"),
            with_options("--privileged"),
            "options.privileged",
        ),
        (
            "options: {privileged: false}",
            with_options("--security-opt no-new-privileges"),
            with_options("--security-opt seccomp=unconfined"),
            "options.privileged",
        ),
        (
            "options: {capabilities: [cap_net_admin]}",
            with_options("--cap-add NET_ADMIN"),
            with_options("--cap-add SYS_ADMIN"),
            "options.capabilities",
        ),
        (
            "options: {capabilities: [ALL]}",
            with_options("--cap-add SYS_ADMIN"),
            with_options(""),
            "",
        ),
        (
            "options: {users: [1000]}",
            with_options("-u 1000:0"),
            with_options("-u 0"),
            "options.users",
        ),
        (
            "options: {users: [1000]}",
            with_options("-u 1000:1000"),
            with_options("-u :1000"),
            "options.users",
        ),
        (
            "options: {groups: [1000]}",
            with_options("-u app:1000"),
            with_options("-u app:0"),
            "options.groups",
        ),
        (
            "options: {groups: [1000]}",
            with_options("-u 0:1000"),
            with_options("--group-add 0"),
            "options.groups",
        ),
        // Whose a name is, an image says.
        (
            "options: {users: [1000]}",
            with_options("-u 1000:wheel"),
            with_options("-u toor"),
            "options.users",
        ),
        (
            "options: {groups: [1000]}",
            with_options("-u toor"),
            with_options("-u 1000:wheel"),
            "options.groups",
        ),
        ("options: {groups: []}", with_options("-u 0"), with_options("-u 1:1"), "options.groups"),
        (
            "options: {cpus: 2}",
            with_options("--cpus 2"),
            with_options("--cpus 2.001"),
            "options.cpus",
        ),
        (
            "options: {memory: 1Gi}",
            with_options("--memory 1g --shm-size 1g"),
            with_options("--memory 1025m"),
            "options.memory",
        ),
        (
            "options: {memory: 1Gi}",
            with_options("--memory-reservation 1g"),
            with_options("--shm-size 2g"),
            "options.memory",
        ),
        (
            "options: {memory: 1Gi}",
            with_options("--tmpfs /x:size=1g"),
            with_options("--tmpfs /x:size=2g"),
            "options.memory",
        ),
        (
            "volumes: {sources: ['cache-*', '/w/shared/**']}",
            with_volume("cache-1", "/cache"),
            with_volume("other", "/cache"),
            "volumes.sources",
        ),
        (
            "volumes: {sources: ['/w/shared/**']}",
            with_volume("/w/shared/./a", "/a"),
            with_volume("/w/shared/../a", "/a"),
            "volumes.sources",
        ),
        (
            "volumes: {targets: [/data, '/cache/**']}",
            with_volume("x", "/data/"),
            with_volume("x", "/usr"),
            "volumes.targets",
        ),
    ] {
        let policy = policy(text);
        let refusals = policy.of_job(&job(allowed));
        assert!(refusals.is_empty(), "{text}: {refusals:?}");
        let refusals = policy.of_job(&job(refused));
        let expected: Vec<_> = Some(rule).filter(|rule| !rule.is_empty()).into_iter().collect();
        assert_eq!(rules(&refusals), expected, "{text}");
        for refusal in refusals {
            assert_eq!(refusal.reason(), Reason::PolicyDenied, "{text}");
            assert!(refusal.to_string().contains(rule), "{refusal}");
        }
    }
}

#[test]
fn a_rule_for_one_use_holds_for_that_use_alone() {
    let policy = policy("images: {services: {allowed: []}, steps: {digestRequired: true}}");
    assert!(policy.of_job(&job(with_image("busybox"))).is_empty());
    let services = JobSpec::read(None, vec![with_image("busybox")]).unwrap();
    assert_eq!(rules(&policy.of_job(&services)), ["images.services.allowed"]);
    let step = ContainerStep::try_from(with_image("busybox")).unwrap();
    assert_eq!(rules(&policy.of_container_step(&step, None)), ["images.steps.digestRequired"]);
    let pinned = ContainerStep::try_from(with_image(&format!("x@{}", digest()))).unwrap();
    assert!(policy.of_container_step(&pinned, None).is_empty());
}

#[test]
fn a_build_is_for_an_event_that_the_rule_names() {
    let spec = ContainerSpec { dockerfile: "/w/Dockerfile".into(), ..ContainerSpec::default() };
    let step = ContainerStep::try_from(spec).unwrap();
    let of_push = policy("builds: {events: [push, schedule]}");
    let refused = |policy: &Policy, event| policy.of_container_step(&step, event).pop();
    assert!(refused(&of_push, Some("push")).is_none());
    for event in ["pull_request", "PUSH", "push "] {
        let error = refused(&of_push, Some(event));
        assert!(matches!(error, Some(PolicyError::EventNotAllowed { .. })), "{event}");
    }
    for event in [None, Some("")] {
        let error = refused(&of_push, event);
        assert!(matches!(error, Some(PolicyError::EventUnknown { .. })), "{event:?}");
    }
    assert!(of_push.refuses_builds_of(None) && of_push.refuses_builds_of(Some("pull_request")));
    assert!(!of_push.refuses_builds_of(Some("push")));
    assert!(!policy("{mode: audit, builds: {events: [push]}}").refuses_builds_of(None));
    assert!(refused(&policy("mode: enforce"), None).is_none());
}

#[test]
fn every_image_that_a_dockerfile_names_is_judged() {
    let policy = policy("images: {builds: {allowed: ['docker.io/library/*', 'ghcr.io/org/*']}}");
    let refused = |text: &str| {
        let named = dockerfile::images(text.as_bytes()).unwrap();
        policy.of_base_images(Path::new("/w/Dockerfile"), &named)
    };
    for text in [
        "FROM busybox\nCOPY --from=ghcr.io/org/a / /\n",
        "ARG BASE=library\nFROM docker.io/$BASE/debian AS a\nFROM a\nCOPY --from=a / /\n",
        "FROM scratch\nCOPY x /\n",
    ] {
        assert!(refused(text).is_empty(), "{text}");
    }
    for text in [
        "FROM evil/x\n",
        "ARG HOST=evil.example\nARG IMAGE=$HOST/x\nFROM ${IMAGE}\n",
        "ARG N\nFROM ${N:-evil/x}\n",
        "FROM busybox\nCOPY --from=evil/x / /\n",
        "FROM busybox\nRUN --mount=type=bind,from=evil/x,target=/x true\n",
        "FROM evil/x AS a\nFROM busybox\nCOPY --from=a / /\n",
        "FROM busybox\nONBUILD COPY --from=evil/x / /\n",
    ] {
        assert_eq!(rules(&refused(text)), ["images.builds.allowed"], "{text}");
    }
    let message = refused("FROM busybox\nCOPY --from=evil/x / /\n")[0].to_string();
    assert!(
        message.starts_with("Line 2 of /w/Dockerfile names image docker.io/evil/x"),
        "{message}"
    );
}

#[test]
fn a_template_is_chosen_by_labels_of_the_runner_pod() {
    let by_labels = policy(
        "templates:\n- {runnerLabels: {pool: gpu, os: linux}, file: /t/gpu.yaml}\n\
         - {runnerLabels: {}, file: /t/all.yaml}\n",
    );
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let of = |pairs: &[(&str, &str)]| by_labels.template(&labels(pairs)).unwrap();
    assert_eq!(of(&[("pool", "gpu"), ("os", "linux")]), PathBuf::from("/t/gpu.yaml"));
    assert_eq!(of(&[("pool", "gpu")]), PathBuf::from("/t/all.yaml"));
    assert_eq!(policy("mode: audit").template(&labels(&[])), None);
}

#[test]
fn an_audit_says_all_and_refuses_nothing() {
    let text = "images: {allowed: []}\noptions: {allowed: []}\n";
    let refused = |policy: &Policy| policy.of_job(&job(with_options("--cpus 1")));
    let enforced = policy(text);
    let error = enforced.judge(refused(&enforced)).unwrap_err();
    assert_eq!(error.rule(), "images.allowed");
    let audited = policy(&format!("mode: audit\n{text}"));
    let said = audited.judge(refused(&audited)).unwrap();
    assert_eq!(said.len(), 2);
    assert!(said[1].contains("options.allowed") && said[1].contains("not refused"), "{said:?}");
}
