//! BuildImage with all that it can be asked for, by `hookd build` and by the example clients.

use std::process::{Command, Output, Stdio};

use fake_runner::layout::guid;
use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::cluster::{cluster, run};
use test_support::wait::{s, until};
use test_support::{RunnerPod, Setup, WORK, processes, python};

/// User and group of the runner.
const RUNNER: (u32, u32) = (1001, 1001);
/// What the tests may push beside the registry of built images.
const COPIES: &str = "test/copies";

/// A runner whose administrator allows copies.
fn runner(setup: Setup) -> RunnerPod {
    let allowed = format!("{}/{COPIES}/*:v*", registry());
    RunnerPod::with(&setup.set("HOOKD_BUILD_DESTINATIONS", allowed))
}

/// The cluster's registry as hookd reaches it.
fn registry() -> String {
    format!("{}:{}", cluster().registry_host, cluster().registry_port)
}

/// `hookd build` in the container of hookd.
fn command(runner: &RunnerPod, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["exec", "-n", &runner.namespace, "runner", "-c", "hookd", "--"]);
    command.args(["/usr/local/bin/hookd", "build"]).args(arguments);
    command
}

fn hookd_build(runner: &RunnerPod, arguments: &[&str]) -> Output {
    command(runner, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The image that it has built.
#[track_caller]
fn built(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The reason and the message of a build that failed.
#[track_caller]
fn assert_fails(output: &Output, reason: &str, part: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains(&format!("({reason})")) && said.contains(part), "{part}: {said}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn crane(arguments: &[&str]) -> String {
    run(Command::new("crane").args(arguments), None).unwrap().trim().to_owned()
}

/// The registry's host, as this machine reaches it.
fn here(name: &str) -> String {
    name.replacen(&registry(), &format!("localhost:{}", cluster().registry_node_port), 1)
}

fn config(reference: &str) -> Value {
    serde_json::from_str(&crane(&["config", reference])).unwrap()
}

#[test]
fn a_build_gets_all_that_it_is_asked_for() {
    let runner = runner(Setup::default());
    let (app, elsewhere) = (format!("{WORK}/app"), format!("{WORK}/elsewhere/My.Dockerfile"));
    let dockerfile = "ARG BASE=nosuch\nFROM busybox:$BASE AS base\nARG TOKEN=none\n\
                      ARG NOTE TARGETARCH\n\
                      RUN echo \"$TOKEN $TARGETARCH\" > /said; sleep 5\nFROM base AS Release\n\
                      COPY file /file\nLABEL note=\"$NOTE\"\nFROM nosuch AS last\nRUN false\n";
    runner.write(&format!("{app}/file"), "of the context\n");
    runner.write(&elsewhere, dockerfile);
    let (note, unique) = ("it's \"odd\" $HOME \\", guid().unwrap());
    let secret = format!("'{unique}' $x \\");
    let tags: Vec<_> =
        ["a:v1", "b:v2"].map(|name| format!("{}/{COPIES}/{name}", registry())).into();
    let (token, note_is) = (format!("TOKEN={secret}"), format!("NOTE={note}"));
    let line = "--build-arg BASE=1 --build-arg UNKNOWN=1 --target release --platform linux/amd64 \
                --output json";
    let own = [app.as_str(), "--file", &elsewhere, "--build-arg", &token, "--build-arg", &note_is];
    let names = ["--tag", tags[0].as_str(), "-t", tags[1].as_str()];
    let line: Vec<_> = line.split(' ').collect();
    let mut build = command(&runner, &[&own[..], &names, &line].concat());
    let child = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let spec = until("the builder's pod is there", s(60), || {
        let pods = runner.objects("pods", &["-l", "runner-pod=runner"]);
        pods.into_iter().next()
    });
    assert_eq!(spec["spec"]["nodeSelector"]["kubernetes.io/arch"], "amd64", "{spec}");
    let objects = runner.objects("jobs,pods,secrets,configmaps,leases", &[]);
    assert!(!serde_json::to_string(&objects).unwrap().contains(&unique), "in an object");
    let output = child.wait_with_output().unwrap();
    let image = built(&output);
    let log = text(&output.stderr);
    assert!(!log.contains(&unique) && log.contains("] ARG TOKEN "), "{log}");
    assert!(log.contains("build arguments that no ARG names: UNKNOWN\n"), "{log}");
    assert!(!runner.log().contains(&unique), "in hookd's log");

    let reference = image["reference"].as_str().unwrap();
    assert_eq!(config(reference)["config"]["Labels"]["note"], note);
    let files = Command::new("sh")
        .args(["-c", "crane export \"$0\" - | tar -xO said file", reference])
        .output();
    let expected = format!("of the context\n{secret} amd64\n");
    let mut files: Vec<_> = text(&files.unwrap().stdout).lines().map(str::to_owned).collect();
    files.sort();
    let mut expected: Vec<_> = expected.lines().collect();
    expected.sort_unstable();
    assert_eq!(files, expected);
    assert_eq!(image["size"], size(reference));
    assert_eq!(image["tags"].as_array().unwrap().len(), 2);
    for tag in &tags {
        assert_eq!(crane(&["digest", &here(tag)]), image["digest"].as_str().unwrap());
        crane(&["validate", "--remote", &here(tag)]);
    }
    runner.assert_nothing_left();
}

/// As its manifest says it.
fn size(reference: &str) -> u64 {
    let manifest: Value = serde_json::from_str(&crane(&["manifest", reference])).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.chain([&manifest["config"]]).map(|one| one["size"].as_u64().unwrap()).sum()
}

#[test]
fn a_changed_argument_builds_again_and_nothing_else() {
    let runner = RunnerPod::with(&Setup::default().set("HOOKD_BUILT_IMAGES", "keep"));
    let label = guid().unwrap();
    let text_of = format!(
        "FROM busybox:1 AS one\nARG A=0\nRUN echo $A\nLABEL test={label}\nFROM one\nRUN echo two\n"
    );
    runner.write(&format!("{WORK}/app/Dockerfile"), text_of);
    let app = format!("{WORK}/app");
    for (more, is_built) in [
        (&["--build-arg", "A=1"][..], true),
        (&["--build-arg", "A=1"], false),
        (&["--build-arg", "A=2"], true),
        (&["--build-arg", "A=1"], false),
        (&["--build-arg", "A=1", "--target", "one"], true),
        (&["--build-arg", "A=1", "--no-cache"], true),
        // Another daemon's job would find these, too.
        (&["--build-arg", "A=2"], false),
    ] {
        let output = hookd_build(&runner, &[&[app.as_str()], more].concat());
        assert!(output.status.success(), "{output:?}");
        let log = text(&output.stderr);
        assert_eq!(log.contains("Builder "), is_built, "{more:?}: {log}");
        let reference = text(&output.stdout).trim();
        assert!(reference.contains("@sha256:"), "{reference}");
    }
}

#[test]
fn what_a_call_may_not_have_is_refused_before_the_build() {
    let runner = runner(Setup::default());
    let app = format!("{WORK}/app");
    runner.write(&format!("{app}/Dockerfile"), "FROM busybox:1 AS one\nFROM busybox:1\n");
    let own = format!("{}/hookd/build:key_0_1", registry());
    let other = format!("{}/{COPIES}/a:latest", registry());
    let digest = format!("{}/{COPIES}/a@sha256:{}", registry(), "0".repeat(64));
    for (arguments, reason, part) in [
        (vec!["/etc"], "CONTEXT_INVALID", "may come from"),
        (vec![&app, "--file", "/etc/passwd"], "CONTEXT_INVALID", "may come from"),
        (vec![&app, "--file", "none"], "CONTEXT_INVALID", "none"),
        (vec![&app, "--build-arg", "A-B=1"], "INVALID_INPUT", "A-B"),
        (vec![&app, "--build-arg", "A=1\n2"], "INVALID_INPUT", "build argument A"),
        (vec![&app, "--target", "two"], "BUILD_FAILED", "the stages are one, 1"),
        (vec![&app, "--platform", "windows/amd64"], "INVALID_INPUT", "windows/amd64"),
        (vec![&app, "--tag", &own], "POLICY_DENIED", "hookd's own"),
        (vec![&app, "--tag", &other], "POLICY_DENIED", "copies/a:latest"),
        (vec![&app, "--tag", "busybox:1"], "POLICY_DENIED", "index.docker.io/library/busybox:1"),
        (vec![&app, "--tag", &digest], "INVALID_INPUT", "sha256"),
    ] {
        assert_fails(&hookd_build(&runner, &arguments), reason, part);
    }
    assert!(runner.made().is_empty(), "{:?}", runner.made());
    let usage = hookd_build(&runner, &[]);
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
}

#[test]
fn a_platform_that_no_node_has_is_named() {
    let runner = runner(Setup::default().set("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", "10"));
    let app = format!("{WORK}/app");
    runner.write(&format!("{app}/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
    let output = hookd_build(&runner, &[&app, "--platform", "linux/s390x"]);
    assert_fails(&output, "POD_UNSCHEDULABLE", "No node builds for linux/s390x: ");
    runner.assert_nothing_left();
}

#[test]
fn an_interrupted_build_is_cancelled() {
    let runner = runner(Setup::default());
    let app = format!("{WORK}/app");
    runner.write(&format!("{app}/Dockerfile"), "FROM busybox:1\nRUN echo begun; sleep 600\n");
    let mut build = command(&runner, &[&app]);
    let child = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = until("the builder works", s(60), || {
        let is_running = runner
            .objects("pods", &["-l", "runner-pod=runner"])
            .iter()
            .any(|pod| pod["status"]["phase"] == "Running");
        let mut all = processes::all().into_iter();
        let found = all.find(|one| one.command.starts_with("/usr/local/bin/hookd build"));
        found.filter(|one| is_running && one.is_of_pod(&runner.uid))
    });
    assert!(process.signal(Signal::INT));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    runner.assert_nothing_left();
}

#[test]
fn the_python_example_builds_a_directory() {
    let runner = runner(Setup::default());
    let app = format!("{WORK}/app");
    runner.write(
        &format!("{app}/Dockerfile"),
        "FROM busybox:1\nARG NAME\nRUN echo \"hello $NAME\"\n",
    );
    let tag = format!("{}/{COPIES}/python:v1", registry());
    let output = python::build(&runner, RUNNER, &["--tag", &tag, &app, "NAME=you there"]);
    assert!(output.status.success(), "{output:?}");
    let (reference, log) = (text(&output.stdout).trim(), text(&output.stderr));
    assert!(log.contains("hello you there\n") && log.contains(&format!("The image is {tag} too")));
    assert_eq!(crane(&["digest", reference]), crane(&["digest", &here(&tag)]));
    runner.assert_nothing_left();
}

/// Callers choose the ids of steps, and two runners know nothing of each other's.
#[test]
fn a_job_takes_only_its_own_images_with_it() {
    let runners = [runner(Setup::default()), runner(Setup::default())];
    let dockerfile = format!("{WORK}/app/Dockerfile");
    let request = json!({"start": {"step_id": "app", "dockerfile": dockerfile, "auto_ack": true}});
    let call = ["stream", "hookd.v1.HookService/BuildImage", &request.to_string()];
    let references = runners.each_ref().map(|runner| {
        runner.write(&dockerfile, "FROM busybox:1\nENV A=1\n");
        let reply = python::client(runner, RUNNER, &call);
        let last = reply["events"].as_array().unwrap().last().unwrap().clone();
        last["result"]["reference"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    });
    runners[0].cleanup().run().assert_code(0);
    let is_there = |reference: &String| {
        Command::new("crane").args(["digest", reference]).output().unwrap().status.success()
    };
    assert_eq!(references.each_ref().map(is_there), [false, true]);
    runners[1].cleanup().run().assert_code(0);
    assert!(!is_there(&references[1]));
}
