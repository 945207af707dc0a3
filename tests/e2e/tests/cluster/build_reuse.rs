//! An image that any runner has built before of the same things is found by its key.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use fake_runner::Step;
use fake_runner::layout::guid;
use rustix::process::Signal;

use serde_json::json;
use test_support::python::try_client;
use test_support::wait::{s, until};
use test_support::{Outcome, RunnerPod, Setup, WORK, cluster, images, manifests};

/// As the log says it.
pub(crate) const FOUND: &str = ": built before; the image is ";
pub(crate) const MISSING: &str = ": not built before; ";

/// User and group of the runner.
const RUNNER: (u32, u32) = (1001, 1001);

/// Images outlive jobs.
pub(crate) fn keeping(setup: Setup) -> RunnerPod {
    RunnerPod::with(&setup.set("HOOKD_BUILT_IMAGES", "keep"))
}

/// A Dockerfile that was not built before.
pub(crate) fn dockerfile(base: &str) -> String {
    format!("FROM {base}\nCOPY a /a\nCMD [\"cat\", \"/a\"]\nLABEL test={}\n", guid().unwrap())
}

pub(crate) fn action(runner: &RunnerPod, name: &str, dockerfile: &str) -> Step {
    runner.action(name, &[("Dockerfile", dockerfile), ("a", "genuine\n")])
}

/// A file of an action, on this machine.
fn file(runner: &RunnerPod, action: &str, name: &str) -> PathBuf {
    runner.volume.join(format!("_actions/test/{action}/v1/{name}"))
}

#[track_caller]
pub(crate) fn assert_says(outcome: &Outcome, text: &str, line: &str) {
    assert_eq!(outcome.assert_code(0).after_build(), text);
    assert!(outcome.log().contains(line), "{line:?} is not in:\n{}", outcome.log());
    let built = outcome.log().contains("Builder ");
    assert_eq!(built, line == MISSING, "{}", outcome.log());
}

#[test]
fn an_image_is_built_once_for_all_runners() {
    let runners = [
        keeping(Setup::default()),
        keeping(Setup::default()),
        keeping(Setup::in_runner_pod().with_registry()),
    ];
    let dockerfile = dockerfile("busybox:1");
    for (runner, line) in runners.iter().zip([MISSING, FOUND, FOUND]) {
        let outcome = runner.run(&action(runner, "action", &dockerfile));
        assert_says(&outcome, "genuine\n", line);
        runner.cleanup().run().assert_code(0);
    }
}

#[test]
fn what_changes_an_image_builds_it_again_and_nothing_else() {
    let runner = keeping(Setup::default());
    let base = format!("test/base:{}", &guid().unwrap()[..8]);
    images::publish(&base, "busybox:1", &[("one", "1")], &[]);
    let dockerfile = dockerfile(&base);
    let run = |name: &str, change: &dyn Fn(PathBuf)| {
        let step = action(&runner, name, &dockerfile);
        change(file(&runner, name, "a"));
        runner.run(&step)
    };
    assert_says(&run("first", &|_| {}), "genuine\n", MISSING);
    let touched = |file: PathBuf| {
        File::open(file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    assert_says(&run("touched", &touched), "genuine\n", FOUND);
    let mode = |file: PathBuf| fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    assert_says(&run("mode", &mode), "genuine\n", MISSING);
    assert_says(&run("byte", &|file| fs::write(file, "genuinE\n").unwrap()), "genuinE\n", MISSING);
    images::publish(&base, "busybox:1", &[("one", "2")], &[]);
    assert_says(&run("base", &|_| {}), "genuine\n", MISSING);
    assert_says(&run("same-base", &|_| {}), "genuine\n", FOUND);
}

#[test]
fn a_context_that_changes_meanwhile_is_found_by_nobody() {
    let runners = [keeping(Setup::default()), keeping(Setup::default())];
    let dockerfile = dockerfile("busybox:1");
    // Once the log says that it is built its key is known, and its context not yet sent.
    let hook = runners[0].call(&action(&runners[0], "action", &dockerfile)).start();
    hook.wait_for("not built before");
    fs::write(file(&runners[0], "action", "a"), "swapped\n").unwrap();
    assert_says(&hook.end_within(s(120)), "swapped\n", MISSING);
    let outcome = runners[1].run(&action(&runners[1], "action", &dockerfile));
    assert_says(&outcome, "genuine\n", MISSING);
}

/// A caller may use the id of an earlier call, whose Job has another context and runs on.
#[test]
fn a_job_of_an_earlier_call_does_not_make_the_image_of_a_key() {
    let runners = [keeping(Setup::default()), keeping(Setup::default())];
    let runner = &runners[0];
    let dockerfile = dockerfile("busybox:1") + "RUN echo begun; sleep 10\n";
    let step = action(runner, "action", &dockerfile);
    let path = format!("{WORK}/_actions/test/action/v1/Dockerfile");
    let request = json!({"start": {"step_id": "same", "dockerfile": path, "auto_ack": true}});
    let request = request.to_string();
    let call =
        || try_client(runner, RUNNER, &["stream", "hookd.v1.HookService/BuildImage", &request]);
    std::thread::scope(|scope| {
        let first = scope.spawn(call);
        until("its Job is there", s(60), || {
            (!runner.objects("jobs", &[]).is_empty()).then_some(())
        });
        fs::write(file(runner, "action", "a"), "swapped\n").unwrap();
        until("it builds", s(60), || {
            let logs =
                ["-n", &runner.namespace, "logs", "-l", "hookd.dev/step=same", "-c", "kaniko"];
            cluster::try_kubectl(&logs, None).is_ok_and(|log| log.contains("\nbegun")).then_some(())
        });
        let killed = runner.daemon();
        assert!(killed.signal(Signal::KILL));
        let _ = first.join().unwrap();
        until("another daemon runs", s(30), || (runner.daemon().pid != killed.pid).then_some(()));
    });
    fs::write(file(runner, "action", "a"), "genuine\n").unwrap();
    until("it is built anew", s(60), || {
        call().ok().filter(|built| built.to_string().contains("\"digest\"")).map(drop)
    });
    assert_eq!(runner.run(&step).assert_code(0).text(), "genuine\n");
    let outcome = runners[1].run(&action(&runners[1], "action", &dockerfile));
    assert_says(&outcome, "genuine\n", FOUND);
}

#[test]
fn the_cron_job_deletes_what_no_build_uses() {
    let runner = keeping(Setup::default());
    let dockerfile = dockerfile("busybox:1");
    assert_says(&runner.run(&action(&runner, "used", &dockerfile)), "genuine\n", MISSING);
    let hex = guid().unwrap().replace('-', "").repeat(2);
    let old = format!("hookd/build:key_{hex}_1000000000");
    images::publish(&old, "busybox:1", &[("old", &hex)], &[]);
    let config = ".dockerconfigjson={\"auths\":{}}";
    let docker = "--type=kubernetes.io/dockerconfigjson";
    runner.k(&["create", "secret", "generic", "hookd-registry", docker, "--from-literal", config]);
    cluster::create(&manifests::of_registry_gc(&runner.namespace));
    runner.k(&["create", "job", "gc", "--from=cronjob/hookd-gc"]);
    runner.k(&["wait", "--for=condition=Complete", "job/gc", "--timeout=120s"]);
    let log = runner.k(&["logs", "job/gc"]);
    let line = log.lines().find(|line| line.contains(&hex)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.starts_with("deleted ") && line.contains("since 2001-09-09"), "{line}");
    let mut manifest = Command::new("crane");
    let host = format!("localhost:{}", cluster::cluster().registry_node_port);
    manifest.args(["manifest", &format!("{host}/{old}")]);
    let error = cluster::run(&mut manifest, None).unwrap_err();
    assert!(error.contains("MANIFEST_UNKNOWN") || error.contains("404"), "{error}");
    assert_says(&runner.run(&action(&runner, "same", &dockerfile)), "genuine\n", FOUND);
}

/// What an action's log says that changed.
#[track_caller]
fn assert_changed(outcome: &Outcome, what: &str) {
    let line = format!("{MISSING}{what}\n");
    assert!(outcome.assert_code(0).log().contains(&line), "{line:?}: {}", outcome.log());
}

#[test]
fn the_log_says_what_changed_since_the_last_build() {
    let name = format!("changes-{}", &guid().unwrap()[..8]);
    let base = format!("test/base:{}", &guid().unwrap()[..8]);
    images::publish(&base, "busybox:1", &[("one", "1")], &[]);
    let text = dockerfile(&base);
    let runners = [
        keeping(Setup::default()),
        keeping(Setup::in_runner_pod().with_registry().set("NO_PROXY", "example.invalid")),
    ];
    let run = |runner: &RunnerPod, text: &str, content: &str| {
        let step = action(runner, &name, text);
        fs::write(file(runner, &name, "a"), content).unwrap();
        let outcome = runner.run(&step);
        // Within a job an image is used again without a look at its base images.
        runner.cleanup().run().assert_code(0);
        outcome
    };
    let first = run(&runners[0], &text, "1\n");
    assert_changed(&first, "no build of this Dockerfile is known");
    assert_changed(&run(&runners[0], &text, "2\n"), "since its last build changed: a");
    let text = text + "LABEL other=1\n";
    let changed = run(&runners[0], &text, "2\n");
    assert_changed(&changed, "since its last build changed: the Dockerfile");
    images::publish(&base, "busybox:1", &[("one", "2")], &[]);
    let changed = run(&runners[0], &text, "2\n");
    let image = format!("base image index.docker.io/{base}");
    assert_changed(&changed, &format!("since its last build changed: {image}"));
    // Another runner reads what this one has built, and has other build arguments.
    let changed = run(&runners[1], &text, "2\n");
    assert_changed(&changed, "since its last build changed: the builder's arguments");
}

#[test]
fn a_base_image_is_believed_to_be_the_same_for_a_time() {
    let base = format!("test/base:{}", &guid().unwrap()[..8]);
    images::publish(&base, "busybox:1", &[("one", "1")], &[]);
    let dockerfile = dockerfile(&base);
    let trusting = || keeping(Setup::default().set("HOOKD_BUILD_REUSE", "trust"));
    let runners = [trusting(), trusting(), keeping(Setup::default())];
    let run = |runner: &RunnerPod| runner.run(&action(runner, "action", &dockerfile));
    assert_says(&run(&runners[0]), "genuine\n", MISSING);
    images::publish(&base, "busybox:1", &[("one", "2")], &[]);
    assert_says(&run(&runners[1]), "genuine\n", FOUND);
    assert_says(&run(&runners[2]), "genuine\n", MISSING);
}

#[test]
fn an_image_that_is_not_kept_has_no_key() {
    let runner = RunnerPod::start();
    let outcome = runner.run(&action(&runner, "action", &dockerfile("busybox:1")));
    assert_eq!(outcome.assert_code(0).after_build(), "genuine\n");
    assert!(!outcome.log().contains("Key "), "{}", outcome.log());
}
