//! The policy file on the cluster, and the API server's own check of images.

use serde_json::{Value, json};

use test_support::cluster::{cluster, repository, try_kubectl};
use test_support::wait::{s, until};
use test_support::{IMAGE, JobRun, Outcome, Placement, RunnerPod, Setup, job_container, manifests};

/// Allows Debian to jobs, and to Dockerfiles.
const POLICY: &str = "images: {allowed: [docker.io/library/debian]}\noptions: {memory: 1Gi}\n";
/// An image that it does not allow, in a spelling of its own.
const OTHER: &str = "index.docker.io/busybox:1";
/// Seconds in which a call is refused that creates nothing.
const EARLY: u64 = 10;

fn prepare(job: &mut JobRun<'_>, image: &str, options: &str) -> Outcome {
    let fields = json!({"createOptions": options});
    job.prepare(&job_container(image, &fields), &json!([]))
}

fn build(runner: &RunnerPod, base: &str) -> Outcome {
    let dockerfile = format!("ARG BASE={base}\nFROM $BASE\nENTRYPOINT [\"echo\", \"built\"]\n");
    runner.run(&runner.action("b", &[("Dockerfile", &dockerfile)]))
}

/// One job refused by its image and one by its options, a build refused by its FROM, and one job that runs.
fn assert_holds(runner: &RunnerPod) {
    let before = runner.objects("pods,jobs,secrets", &[]).len();
    let mut job = JobRun::of(runner);
    let refused = prepare(&mut job, OTHER, "");
    let words =
        ["policy", "images.allowed", "docker.io/library/busybox:1", "docker.io/library/debian"];
    refused.assert_failed_with(EARLY, &words);
    prepare(&mut job, IMAGE, "-m 2g").assert_failed_with(EARLY, &["options.memory", "1Gi"]);
    build(runner, "busybox:1")
        .assert_failed_with(EARLY, &["Line 2 of", "images.allowed", "busybox"]);
    assert_eq!(runner.objects("pods,jobs,secrets", &[]).len(), before, "nothing was made");
    prepare(&mut job, IMAGE, "-m 512m").assert_code(0);
    assert_eq!(job.run("echo here").assert_code(0).text(), "here\n");
    job.clean_up().assert_code(0);
}

/// Changes the ConfigMap, and waits until the kubelet has written it.
fn change(runner: &RunnerPod, policy: &str) {
    let map = manifests::policy(&runner.namespace, policy).to_string();
    try_kubectl(&["apply", "-f", "-"], Some(&map)).unwrap();
    let mut number = 0;
    until("the kubelet writes the policy", s(60), || {
        // It looks at a pod that changes; otherwise once a minute.
        number += 1;
        let annotation = format!("test/change={number}");
        runner.k(&["annotate", "--overwrite", "pod", "runner", &annotation]);
        let volumes = format!("kubelet/pods/{}/volumes/kubernetes.io~configmap/policy", runner.uid);
        let written = cluster().state.join(volumes).join("policy.yaml");
        (std::fs::read_to_string(written).ok()? == policy).then_some(())
    });
}

#[test]
fn a_policy_holds_in_pods_of_their_own_and_is_read_anew() {
    let runner =
        RunnerPod::with(&Setup { policy: Some(POLICY), ..Setup::default() }.with_registry());
    assert_holds(&runner);
    change(&runner, &format!("mode: audit\n{POLICY}"));
    let mut job = JobRun::of(&runner);
    let audited = prepare(&mut job, "busybox:1", "");
    let said = audited.assert_code(0).log();
    assert!(said.contains("::warning title=Policy (audit)::Container job names"), "{said}");
    job.clean_up().assert_code(0);
    let audited = build(&runner, "busybox:1");
    let said = audited.assert_code(0).log();
    assert!(said.contains("::warning title=Policy (audit)::Line 2 of"), "{said}");
    assert_eq!(audited.after_build(), "built\n");
    assert!(runner.log().contains("images.allowed"), "{}", runner.log());
    change(&runner, "image: {}\n");
    let wrong = prepare(&mut JobRun::of(&runner), IMAGE, "");
    wrong.assert_failed_with(EARLY, &["/etc/hookd/policy.yaml", "line 1", "image"]);
    runner.assert_nothing_left();
}

#[test]
fn a_policy_holds_in_the_runner_pod() {
    let setup = Setup { policy: Some(POLICY), ..Setup::in_runner_pod() };
    assert_holds(&RunnerPod::with(&setup));
}

/// Has the API server itself check the images of the namespace; hookd has no policy.
pub(crate) fn check_images(runner: &RunnerPod, more: &str) {
    let file = repository("deploy/policy/admission-images.yaml").display().to_string();
    // Of the whole cluster, and bound to labelled namespaces only.
    try_kubectl(&["apply", "-f", &file], None).unwrap();
    let patterns = format!("# hookd's own\nlocalhost:{}/**\n{more}", cluster().registry_node_port);
    let literal = format!("--from-literal=images={patterns}");
    runner.k(&["create", "configmap", "hookd-admission", &literal]);
    let namespace = format!("namespace/{}", runner.namespace);
    runner.k(&["label", &namespace, "hookd.dev/images=enforce"]);
    until("the API server enforces the policy", s(60), || {
        let refused = try_create(runner, "evil.example/x", &json!({})).err()?;
        refused.contains("hookd-images").then_some(())
    });
}

/// Asks for a pod of this image as hookd makes them, without making it.
fn try_create(runner: &RunnerPod, image: &str, fields: &Value) -> Result<String, String> {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "tried-", "labels": {"runner-pod": "runner"}},
        // What deploy/policy/admission.yaml asks of every pod of hookd.
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "job", "image": image}]},
    });
    for (name, value) in fields.as_object().unwrap() {
        pod["spec"][name] = value.clone();
    }
    let arguments = ["-n", &runner.namespace, "create", "--dry-run=server", "-f", "-"];
    try_kubectl(&arguments, Some(&pod.to_string()))
}

#[test]
fn the_api_server_alone_refuses_an_image_in_every_spelling() {
    let runner = RunnerPod::start();
    check_images(&runner, "docker.io/library/debian\nghcr.io/org/**\nghcr.io/x/**/tools\n");
    let digest = format!("sha256:{}", "0".repeat(64));
    let of_debian = format!("debian:1@{digest}");
    for image in [
        "debian",
        "library/debian:1",
        "docker.io/debian",
        "index.docker.io/library/debian:1",
        of_debian.as_str(),
        "ghcr.io/org/a/b:1",
        "ghcr.io/x/a/tools",
    ] {
        try_create(&runner, image, &json!({})).unwrap_or_else(|error| panic!("{image}: {error}"));
    }
    let volume = json!({"volumes": [{"name": "v", "image": {"reference": "busybox:1"}}]});
    let init = json!({"initContainers": [{"name": "i", "image": "busybox:1"}]});
    for (image, fields) in [
        ("busybox:1", json!({})),
        ("someone/debian", json!({})),
        ("Library/debian", json!({})),
        ("docker.io.evil.example/library/debian", json!({})),
        ("ghcr.io/org", json!({})),
        ("ghcr.io/organisation/a", json!({})),
        ("ghcrxio/org/a", json!({})),
        // As hookd reads it: within a path `**` is one part.
        ("ghcr.io/x/a/b/tools", json!({})),
        (digest.as_str(), json!({})),
        ("debian", volume),
        ("debian", init),
    ] {
        let refused = try_create(&runner, image, &fields).expect_err(image);
        assert!(refused.contains("none of the patterns"), "{image}: {refused}");
    }
    let all = json!({"data": {"digestRequired": "true"}}).to_string();
    runner.k(&["patch", "configmap", "hookd-admission", "-p", &all]);
    until("the API server requires digests", s(30), || {
        try_create(&runner, "debian", &json!({})).err().filter(|error| error.contains("digest"))
    });
    try_create(&runner, &of_debian, &json!({})).unwrap();
}

#[test]
fn without_hookds_policy_the_api_server_refuses_the_same_job() {
    for placement in [Placement::OwnPod, Placement::RunnerPod] {
        let runner = RunnerPod::with(&Setup { placement, ..Setup::default() });
        check_images(&runner, "docker.io/library/debian\n");
        let mut job = JobRun::of(&runner);
        let refused = prepare(&mut job, OTHER, "");
        let words = ["hookd-admission", "docker.io/library/busybox"];
        refused.assert_failed_with(EARLY, &words);
        prepare(&mut job, IMAGE, "").assert_code(0);
        assert_eq!(job.run("echo here").assert_code(0).text(), "here\n");
        job.clean_up().assert_code(0);
    }
}
