//! Two builds have one key if and only if they are of the same things.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hookd_api::v1::JobContext;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Affinity, Container, PodSpec, Volume};

use super::*;
use crate::build::context::{self, Bounds, ContextSummary};
use crate::config::Config;
use crate::names::origin::Origin;
use crate::registry::{built_tags, destination};

mod mutants;
mod mutations;
mod tree;

fn digest_of(directory: &Path) -> ContextDigest {
    summary_of(directory).digest
}

fn summary_of(directory: &Path) -> ContextSummary {
    let dockerfile = directory.join("Dockerfile");
    let context = context::open(&[directory.to_owned()], &dockerfile).unwrap();
    let bounds =
        Bounds { bytes: 1 << 20, timeout: Duration::from_secs(60), cancelled: Default::default() };
    context.survey(&bounds).unwrap()
}

fn job(change: impl FnOnce(&mut Container)) -> Job {
    let mut container = Container {
        image: Some("kaniko:1".into()),
        args: Some(vec!["--ignore-var-run=false".into()]),
        ..Container::default()
    };
    change(&mut container);
    let mut job = Job::default();
    let spec = job.spec.get_or_insert_default();
    spec.template.spec.get_or_insert_default().containers = vec![container];
    job
}

fn pod(change: impl FnOnce(&mut PodSpec)) -> Job {
    let mut job = job(|_| {});
    change(job.spec.as_mut().unwrap().template.spec.as_mut().unwrap());
    job
}

fn base(name: &str, digest: &str) -> ResolvedImage {
    ResolvedImage { reference: name.parse().unwrap(), digest: digest.to_owned() }
}

#[test]
fn each_thing_that_an_image_is_made_of_changes_its_key() {
    let contexts = ["1", "2"].map(|content| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("Dockerfile"), format!("FROM a\n# {content}\n")).unwrap();
        digest_of(directory.path())
    });
    let bases = [base("a:1", "sha256:0"), base("b:1", "sha256:1")];
    let moved = [base("a:1", "sha256:2"), base("b:1", "sha256:1")];
    let plain = job(|_| {});
    let first = Ingredients { context: &contexts[0], bases: &bases, job: &plain };
    let other_image = job(|container| container.image = Some("kaniko:2".into()));
    let other_flags = job(|container| container.args = Some(vec!["--single-snapshot".into()]));
    let other_variable = job(|container| container.env = Some(Vec::new()));
    let on_arm =
        pod(|pod| pod.node_selector = Some([("kubernetes.io/arch".into(), "arm64".into())].into()));
    let elsewhere = pod(|pod| pod.affinity = Some(Affinity::default()));
    let volume = Volume { name: "ca".into(), ..Volume::default() };
    let with_volume = pod(|pod| pod.volumes = Some(vec![volume]));
    let by_runtime = pod(|pod| pod.runtime_class_name = Some("gvisor".into()));
    let all = [
        first,
        Ingredients { context: &contexts[1], ..first },
        Ingredients { bases: &bases[..1], ..first },
        Ingredients { bases: &moved, ..first },
        Ingredients { job: &other_image, ..first },
        Ingredients { job: &other_flags, ..first },
        Ingredients { job: &other_variable, ..first },
        Ingredients { job: &on_arm, ..first },
        Ingredients { job: &elsewhere, ..first },
        Ingredients { job: &with_volume, ..first },
        Ingredients { job: &by_runtime, ..first },
    ];
    let tag = |ingredients: &Ingredients<'_>| BuildKey::new(ingredients).unwrap().hex;
    for (number, one) in all.iter().enumerate() {
        for other in &all[..number] {
            assert_ne!(tag(one), tag(other));
        }
    }
    // What it may use, and how it is called, is not in the image.
    let mut roomy = job(|container| {
        container.resources = Some(Default::default());
        container.args.as_mut().unwrap().push("--destination=127.0.0.1:5077/push/a:1".into());
    });
    roomy.metadata.name = Some("another".into());
    let origin = JobContext { repository: "octo/demo".into(), ..JobContext::default() };
    Origin::of(&origin).mark_job(&mut roomy);
    assert_eq!(tag(&first), tag(&Ingredients { job: &roomy, ..first }));
}

#[test]
fn an_image_is_not_found_by_builds_with_another_cache() {
    let cached = |repository: &str| {
        let argument = format!("--cache-repo=127.0.0.1:5077/cache/{repository}");
        job(|container| container.args.as_mut().unwrap().push(argument))
    };
    let (directory, bases) = (tempfile::tempdir().unwrap(), [base("a:1", "sha256:0")]);
    fs::write(directory.path().join("Dockerfile"), "FROM a:1\n").unwrap();
    let context = digest_of(directory.path());
    let tag = |job: Job| {
        BuildKey::new(&Ingredients { context: &context, bases: &bases, job: &job }).unwrap().hex
    };
    assert_ne!(tag(cached("hookd/cache")), tag(cached("hookd/cache-untrusted")));
    assert_ne!(tag(cached("hookd/cache")), tag(job(|_| {})));
}

#[test]
fn layers_are_shared_by_contexts_of_the_same_names() {
    let scope = |files: &[(&str, &str)], change: fn(&mut Container)| {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("Dockerfile"), "FROM a:1\n").unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let names = summary_of(directory.path()).names;
        BuildKey::of_layers(&names, &job(change)).unwrap()
    };
    let first = scope(&[("a", "1"), ("b", "2")], |_| {});
    assert_eq!(first, scope(&[("a", "3"), ("b", "4 and more")], |_| {}));
    // More memory makes the same layers.
    let roomy = |container: &mut Container| {
        container.args.as_mut().unwrap().push("--compressed-caching=false".into());
    };
    assert_eq!(first, scope(&[("a", "1"), ("b", "2")], roomy));
    assert_ne!(first, scope(&[("a", "1"), ("c", "2")], |_| {}));
    assert_ne!(first, scope(&[("a", "1")], |_| {}));
    let other = |container: &mut Container| container.image = Some("kaniko:2".into());
    assert_ne!(first, scope(&[("a", "1"), ("b", "2")], other));
}

#[test]
fn the_tag_of_a_kept_image_ends_when_the_settings_say() {
    let settings = ["--registry-host", "r.test", "--built-images-max-age", "7000"];
    let registry = Config::of(&settings).registry;
    let (step, path) = ("s".parse().unwrap(), Path::new("_actions/o/r/v1/Dockerfile"));
    let before = Timestamp::now();
    let made = destination::of_step(&registry, "u", &step, path).unwrap();
    let (end, age) = (
        built_tags::read(made.repository_and_tag().1).unwrap().end,
        SignedDuration::from_secs(7000),
    );
    // Whole seconds.
    let earliest = before.checked_add(age - SignedDuration::from_secs(1)).unwrap();
    assert!(end > earliest && end <= Timestamp::now().checked_add(age).unwrap(), "{end}");
}
