//! Shell lines of the documents, run on the cluster as they stand there.

use std::fs;
use std::process::Command;

use rules::blocks::{ShellBlock, run_by};
use serde_json::json;
use tempfile::TempDir;
use test_support::cluster::{self, cluster, repository, run};
use test_support::manifests::TEST_LABEL;
use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, RunnerPod, Setup, WORK, job_container};

/// How documents mark the blocks that are run here.
const HERE: &str = "tests/e2e/tests/cluster/documents.rs";
/// The namespace that `kubectl apply -k deploy` makes.
const RUNNERS: &str = "arc-runners";
/// The image that a document builds, and where the test lets it be pushed.
const EXAMPLE: &str = "registry.example/team";
const COPIES: &str = "test/documents";
const DOCKERFILE: &str = "FROM busybox:1 AS release\nARG VERSION\nLABEL version=$VERSION\n";

/// A part of a block by which it is known, and what all of it prints.
const PRINTED: [(&str, &str, &[&str]); 7] = [
    ("docs/building.md", "hookd build", &["\"reference\"", "sha256:", "team/app:1.2"]),
    ("docs/doctor.md", "hookd doctor", &["permissions", " 0 failures"]),
    (
        "docs/operations.md",
        "hookd.dev/repository=octo.demo",
        &["pod/runner-workflow", "REPOSITORY", "octo.demo"],
    ),
    ("docs/operations.md", "hookd status", &["ready", "runner pod", " 0 failures"]),
    ("docs/quick-start.md", "apply -k deploy", &["namespace/arc-runners", "hookd-runner-pod"]),
    ("docs/troubleshooting.md", "get events", &["Started", " 0 failures", "runner"]),
    ("docs/upgrades.md", "--version", &["hookd 0.", "hook 0.", "stepd 0.", "@sha256:"]),
];

/// The namespace of deploy/, which goes with the test.
struct Runners;

impl Runners {
    /// Labelled, so that the next run deletes what a killed one leaves.
    fn make() -> Self {
        let labels = json!({TEST_LABEL: std::process::id().to_string()});
        let metadata = json!({"name": RUNNERS, "labels": labels});
        cluster::create(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})]);
        Self
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        cluster().delete(RUNNERS);
    }
}

/// A reader of the documents: where they are, and what they fill in.
struct Reader<'a> {
    runner: &'a RunnerPod,
    /// A checkout, as far as the documents name its files.
    checkout: TempDir,
}

impl<'a> Reader<'a> {
    fn of(runner: &'a RunnerPod) -> Self {
        let checkout = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(repository("deploy")).arg(checkout.path());
        run(&mut copy, None).unwrap();
        Self { runner, checkout }
    }

    /// What the block prints, if each of its commands succeeds.
    fn follow(&self, block: &ShellBlock) -> String {
        let registry = format!("{}:{}", cluster().registry_host, cluster().registry_port);
        let text = block
            .text
            .replace("<namespace>", &self.runner.namespace)
            .replace("<runner pod>", &self.runner.name)
            .replace(EXAMPLE, &format!("{registry}/{COPIES}/team"));
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &text]).current_dir(self.checkout.path());
        let place = format!("{}:{}", block.document, block.line);
        run(&mut command, None).unwrap_or_else(|error| panic!("{place}: {error}"))
    }
}

#[test]
fn each_block_of_the_documents_does_what_it_says() {
    let registry = format!("{}:{}", cluster().registry_host, cluster().registry_port);
    let allowed = format!("{registry}/{COPIES}/**");
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_BUILD_DESTINATIONS", allowed));
    runner.write(&format!("{WORK}/app/app/docker/Dockerfile"), DOCKERFILE);
    let mut job = JobRun::of(&runner);
    job.prepare(&job_container(IMAGE, &json!({})), &json!([])).assert_code(0);
    // One block shows them; a kubelet with much to do sends them late.
    until("the runner pod has events", s(60), || {
        let started = format!("involvedObject.name={},reason=Started", runner.name);
        let events = runner.objects("events", &["--field-selector", &started]);
        (!events.is_empty()).then_some(())
    });
    let _runners = Runners::make();
    let reader = Reader::of(&runner);
    let blocks = run_by(HERE);
    assert_eq!(blocks.len(), PRINTED.len(), "{blocks:?}");
    for (document, part, words) in PRINTED {
        let is_it = |block: &&ShellBlock| block.document == document && block.text.contains(part);
        let found: Vec<_> = blocks.iter().filter(is_it).collect();
        let [block] = found[..] else { panic!("{document} has {} blocks: {part}", found.len()) };
        let printed = reader.follow(block);
        for word in words {
            assert!(printed.contains(word), "{document} does not print {word:?}: {printed}");
        }
    }
    // Nothing is left to fill in but the comments.
    let values = fs::read_to_string(reader.checkout.path().join("arc-hookd.yaml")).unwrap();
    let open = values.lines().filter(|line| line.contains('<') && !line.starts_with('#'));
    assert_eq!(open.collect::<Vec<_>>(), [""; 0]);
    job.clean_up().assert_code(0);
}
