//! Calls of the hook that cannot be carried out at all.

use rustix::process::Signal;

use test_support::RunnerPod;

#[test]
fn input_that_is_not_json_is_refused_with_the_place() {
    let runner = RunnerPod::start();
    let outcome = runner.cleanup().input("{\"command\": s3cret\n").run();
    outcome.assert_failed_with(
        10,
        &["hook input", "JSON", "line 1, column 13", "ACTIONS_RUNNER_CONTAINER_HOOKS"],
    );
    assert!(!outcome.printed().contains("s3cret"), "{}", outcome.printed());
    runner.cleanup().input("").run().assert_failed_with(10, &["hook input", "empty"]);
    runner.assert_nothing_left();
}

#[test]
fn commands_that_are_not_known_or_not_offered_are_named() {
    let runner = RunnerPod::start();
    let call = |command: &str| {
        let command = command.to_owned();
        runner.cleanup().edit(move |input| input["command"] = command.into()).run()
    };
    call("make_coffee").assert_failed_with(10, &["make_coffee", "run_container_step", "version"]);
    call("run_script_step").assert_failed_with(10, &["no `entryPoint`"]);
    call("run_container_step")
        .assert_failed_with(10, &["neither an `image` nor a `dockerfile`", "runs.image"]);
    runner.assert_nothing_left();
}

#[test]
fn a_container_step_without_args_or_with_wrong_ones_is_refused() {
    let runner = RunnerPod::start();
    let step = runner.script("echo must not run");
    let call = |args: serde_json::Value| {
        let outcome = runner.call(&step).edit(|input| input["args"] = args).run();
        assert!(!outcome.printed().contains("must not run"));
        outcome
    };
    call(serde_json::Value::Null).assert_failed_with(10, &["no `args`"]);
    let both = serde_json::json!({"image": "busybox:1", "dockerfile": "/x/Dockerfile"});
    call(both).assert_failed_with(10, &["both an `image` and a `dockerfile`", "runs.image"]);
    let typed = serde_json::json!({"image": "busybox:1", "environmentVariables": ["A"]});
    call(typed).assert_failed_with(10, &["`environmentVariables`", "type"]);
    runner.assert_nothing_left();
}

#[test]
fn a_mount_from_outside_the_work_directory_is_refused() {
    let runner = RunnerPod::start();
    let step = runner.script("echo must not run");
    for source in ["/etc", "/home/runner/_work/../../../etc"] {
        let edit = |input: &mut serde_json::Value| {
            let mount = serde_json::json!({"sourceVolumePath": source, "targetVolumePath": "/mnt"});
            input["args"]["systemMountVolumes"].as_array_mut().unwrap().push(mount);
        };
        let outcome = runner.call(&step).edit(edit).run();
        outcome.assert_failed_with(10, &[source, "/home/runner/_work", "HOOKD_WORK_DIR"]);
    }
    runner.assert_nothing_left();
}

#[test]
fn a_hookd_that_does_not_run_is_waited_for_and_then_told() {
    let runner = RunnerPod::start();
    let timeout = ("HOOK_CONNECT_TIMEOUT_SECONDS", "2");
    let step = runner.script("echo must not run");
    let elsewhere = runner.call(&step).set(timeout.0, timeout.1);
    let outcome = elsewhere.set("HOOKD_SOCKET", "/tmp/no/hookd.sock").run();
    let words = ["/tmp/no/hookd.sock", "within 2 s", "hookd container"];
    outcome.assert_failed_with(15, &words);
    assert!(outcome.printed().contains("waiting up to 2 s"), "{}", outcome.printed());

    let (supervisor, daemon) = (runner.supervisor(), runner.daemon());
    assert!(supervisor.signal(Signal::STOP) && daemon.signal(Signal::KILL));
    let outcome = runner.call(&step).set(timeout.0, timeout.1).run();
    assert!(supervisor.signal(Signal::CONT));
    outcome.assert_failed_with(15, &["/run/hookd/hookd.sock", "within 2 s", "hookd container"]);
    // And it is well again.
    runner.daemon();
    runner.run(&runner.script("echo well")).assert_code(0);
}

#[test]
fn a_wrong_setting_of_the_hook_is_named() {
    let runner = RunnerPod::start();
    let outcome = runner.cleanup().set("HOOK_CONNECT_TIMEOUT_SECONDS", "5 minutes").run();
    let log = outcome.assert_code(0).log();
    for words in ["Warning", "HOOK_CONNECT_TIMEOUT_SECONDS", "5 minutes", "300"] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
}
