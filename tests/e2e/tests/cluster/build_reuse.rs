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

const HOST: &str = "ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_HOST";

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

fn create_registry_secret(runner: &RunnerPod) {
    let config = ".dockerconfigjson={\"auths\":{}}";
    let docker = "--type=kubernetes.io/dockerconfigjson";
    runner.k(&["create", "secret", "generic", "hookd-registry", docker, "--from-literal", config]);
}

/// What the CronJob's container prints in a repository of its own, with these arguments too.
fn collect(runner: &RunnerPod, job: &str, host: &str, arguments: &[&str]) -> String {
    let cron_job = manifests::of_registry_gc(&runner.namespace).remove(0);
    let mut spec = cron_job["spec"]["jobTemplate"]["spec"].clone();
    let container = &mut spec["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array_mut().unwrap();
    variables.retain(|variable| variable["name"] != HOST);
    variables.push(json!({"name": HOST, "value": host}));
    let all = container["args"].as_array_mut().unwrap();
    all.extend(arguments.iter().map(|argument| json!(argument)));
    let metadata = json!({"name": job, "namespace": runner.namespace});
    cluster::create(&[
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}),
    ]);
    let job = format!("job/{job}");
    runner.k(&["wait", "--for=condition=Complete", &job, "--timeout=120s"]);
    runner.k(&["logs", &job])
}

/// What the registry has beneath a path.
fn crane(arguments: &[&str]) -> Result<String, String> {
    cluster::run(Command::new("crane").args(arguments), None)
}

#[test]
fn images_that_newer_ones_replace_stay_until_no_job_needs_them() {
    let own = guid().unwrap()[..8].to_owned();
    let cluster = cluster::cluster();
    let host = format!("{}/{own}", cluster.registry_host);
    let repository = format!("localhost:{}/{own}/hookd/build", cluster.registry_node_port);
    let runner = keeping(Setup::default().set(HOST, &host));
    let dockerfile = dockerfile("busybox:1");
    let step = action(&runner, "action", &dockerfile);
    let run = |text: &str| {
        fs::write(file(&runner, "action", "a"), text).unwrap();
        let outcome = runner.run(&step);
        // What the job itself has built is not looked for.
        runner.cleanup().run().assert_code(0);
        outcome
    };
    for text in ["first\n", "second\n", "third\n"] {
        assert_says(&run(text), text, MISSING);
    }
    let first = run("first\n");
    assert_says(&first, "first\n", FOUND);
    let log = first.log();
    let image = log.split(FOUND).nth(1).and_then(|rest| rest.lines().next()).unwrap();
    create_registry_secret(&runner);
    let log = collect(&runner, "dry", &host, &["--keep-last=2", "--dry-run"]);
    let line = log.lines().find(|line| line.contains("would ")).unwrap_or_else(|| panic!("{log}"));
    let (digest, why) = (image.split('@').nth(1).unwrap(), ": 2 newer images of its Dockerfile");
    assert!(line.starts_with("would withdraw ") && line.contains(digest), "{log}");
    assert!(line.contains(why), "{log}");
    assert_says(&run("first\n"), "first\n", FOUND);
    let log = collect(&runner, "withdrawing", &host, &["--keep-last=2"]);
    assert_eq!(log.matches("withdrew ").count(), 1, "{log}");
    assert!(log.contains("2 stay for builds"), "{log}");
    assert!(log.contains("1 as notes about Dockerfiles"), "{log}");
    // Who found it before may pull it again; what builds find is as it was.
    crane(&["manifest", image]).unwrap();
    assert_says(&run("third\n"), "third\n", FOUND);
    assert_says(&run("second\n"), "second\n", FOUND);
    assert_says(&run("first\n"), "first\n", MISSING);
    // As 5 days later.
    let tags = crane(&["ls", &repository]).unwrap();
    let old = tags.lines().find(|tag| tag.starts_with("old_")).unwrap_or_else(|| panic!("{tags}"));
    let over = format!("{}_1000000000", old.rsplit_once('_').unwrap().0);
    let log = collect(&runner, "too-early", &host, &[]);
    assert!(log.contains(": 0 not used any more, 0 deleted;"), "{log}");
    let other = format!("{repository}:{over}");
    images::publish(&other[other.find('/').unwrap() + 1..], "busybox:1", &[("old", &own)], &[]);
    let log = collect(&runner, "over", &host, &[]);
    assert!(log.contains("1 not used any more, 1 deleted;"), "{log}");
    crane(&["manifest", &other]).unwrap_err();
    crane(&["manifest", image]).unwrap();
}

#[test]
fn the_cron_job_deletes_what_no_build_uses() {
    let runner = keeping(Setup::default());
    let dockerfile = dockerfile("busybox:1");
    assert_says(&runner.run(&action(&runner, "used", &dockerfile)), "genuine\n", MISSING);
    let hex = guid().unwrap().replace('-', "").repeat(2);
    let old = format!("hookd/build:key_{hex}_1000000000");
    images::publish(&old, "busybox:1", &[("old", &hex)], &[]);
    create_registry_secret(&runner);
    cluster::create(&manifests::of_registry_gc(&runner.namespace));
    runner.k(&["create", "job", "gc", "--from=cronjob/hookd-gc"]);
    runner.k(&["wait", "--for=condition=Complete", "job/gc", "--timeout=120s"]);
    let log = runner.k(&["logs", "job/gc"]);
    let line = log.lines().find(|line| line.contains(&hex)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.starts_with("deleted ") && line.contains("since 2001-09-09"), "{line}");
    let host = format!("localhost:{}", cluster::cluster().registry_node_port);
    let error = crane(&["manifest", &format!("{host}/{old}")]).unwrap_err();
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
