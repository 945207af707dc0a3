//! Two builds have one key if and only if they are of the same things.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hookd_api::v1::JobContext;
use k8s_openapi::api::core::v1::Container;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::build::context::{self, Bounds, ContextSummary};
use crate::names::origin::Origin;

/// Contexts that are compared, each with all others.
const CONTEXTS: u32 = 10_000;

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

/// What an entry of a context is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    File { content: Vec<u8>, mode: u32 },
    Link { target: &'static str },
    Directory { mode: u32 },
}

type Tree = BTreeMap<String, Node>;

fn node() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        prop::sample::select(vec![b"".to_vec(), b"a".to_vec(), b"ab".to_vec(), vec![0; 512]]),
        // What the next entry of an archive could begin with.
        Just([&b"b"[..], &[0; 99]].concat()),
    ];
    prop_oneof![
        4 => (content, prop::sample::select(vec![0o644, 0o755, 0o4755]))
            .prop_map(|(content, mode)| Node::File { content, mode }),
        1 => prop::sample::select(vec!["a", "b"]).prop_map(|target| Node::Link { target }),
        1 => prop::sample::select(vec![0o755, 0o1777]).prop_map(|mode| Node::Directory { mode }),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let long = "n".repeat(120);
    let names = vec!["a".to_owned(), "b".to_owned(), "ab".to_owned(), "d/a".to_owned(), long];
    prop::collection::btree_map(prop::sample::select(names), node(), 0..3)
}

/// Writes the tree, its times as they come.
fn write(tree: &Tree, directory: &Path, seconds: u64) {
    fs::write(directory.join("Dockerfile"), "FROM scratch\n").unwrap();
    fs::create_dir(directory.join("d")).unwrap();
    for (name, node) in tree {
        let path = directory.join(name);
        match node {
            Node::File { content, mode } => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                File::open(&path).unwrap().set_modified(time).unwrap();
            }
            Node::Link { target } => symlink(target, &path).unwrap(),
            Node::Directory { mode } => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

#[test]
fn ten_thousand_contexts_have_one_key_only_if_they_are_equal() {
    let (mut of_trees, mut of_digests) = (HashMap::new(), HashMap::new());
    let mut repeated = 0;
    let mut runner = TestRunner::new(Config { cases: CONTEXTS, ..Config::default() });
    let seen = std::cell::RefCell::new((&mut of_trees, &mut of_digests, &mut repeated));
    runner
        .run(&(tree(), 1..2_000_000_000_u64), |(tree, seconds)| {
            let directory = tempfile::tempdir().unwrap();
            write(&tree, directory.path(), seconds);
            let digest = digest_of(directory.path()).as_bytes().to_vec();
            let (of_trees, of_digests, repeated) = &mut *seen.borrow_mut();
            match of_trees.insert(tree.clone(), digest.clone()) {
                Some(before) => {
                    prop_assert_eq!(before, digest.clone());
                    **repeated += 1;
                }
                None => prop_assert!(!of_digests.contains_key(&digest), "{:?}", tree),
            }
            of_digests.insert(digest, tree);
            Ok(())
        })
        .unwrap();
    assert!(repeated > 1000 && of_trees.len() > 200, "{repeated} of {}", of_trees.len());
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
    let all = [
        first,
        Ingredients { context: &contexts[1], ..first },
        Ingredients { bases: &bases[..1], ..first },
        Ingredients { bases: &moved, ..first },
        Ingredients { job: &other_image, ..first },
        Ingredients { job: &other_flags, ..first },
        Ingredients { job: &other_variable, ..first },
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
