//! The two ways of a container step: its program is started by stepd where the image's own program
//! is known, and by the kubelet elsewhere. What only one of them does is distinguished here.

use std::fs;
use std::path::Path;

use test_support::cluster::cluster;
use test_support::{RunnerPod, Setup, images};

/// A runner whose container steps are started by the kubelet.
fn natively() -> RunnerPod {
    RunnerPod::with(&Setup::default().set("HOOKD_CONTAINER_STEP_LAUNCHER", "kubelet"))
}

#[test]
fn by_stepd_a_program_is_no_pid_1_and_keeps_its_two_streams() {
    let runner = RunnerPod::start();
    let outcome = runner.run(&runner.script("echo out; echo err >&2; printf 'a\\r\\nb'; exit 9"));
    assert_eq!(outcome.assert_code(9).stdout, b"out\na\r\nb");
    let log = outcome.log_lines();
    assert_eq!((log.len(), log[0].as_str()), (2, "err"), "{log:?}");
    assert!(log[1].starts_with("The program itself ended with exit code 9"), "{log:?}");
    runner.run(&runner.script("kill -KILL $$")).assert_code(137);
}

#[test]
fn by_the_kubelet_a_program_is_pid_1_and_its_streams_are_one() {
    let runner = natively();
    for code in [0, 1, 3, 126, 127, 255] {
        let outcome = runner.run(&runner.script(&format!("echo ends with {code}; exit {code}")));
        assert_eq!(outcome.assert_code(code).text(), format!("ends with {code}\n"));
    }
    // PID 1 of its namespace cannot kill itself; a shell it starts can.
    runner.run(&runner.script("kill -KILL $$")).assert_code(0);
    runner.run(&runner.script("sh -c 'kill -KILL $$'; exit $?")).assert_code(137);
    let outcome = runner.run(&runner.script("echo out; usleep 300000; echo err >&2"));
    assert_eq!(outcome.text(), "out\nerr\n");
    runner.assert_nothing_left();
}

#[test]
fn variables_of_a_step_are_in_no_object_but_the_kubelets_secret() {
    const WAITS: &str = "echo up $TOKEN; while [ ! -e go ]; do usleep 50000; done";
    for (runner, in_secret) in [(RunnerPod::start(), false), (natively(), true)] {
        let mut step = runner.script(WAITS);
        step.env.set("TOKEN", "s3cret-of-a-container-step");
        let hook = runner.call(&step).start();
        hook.wait_for("up s3cret");
        let seen = serde_json::to_string(&runner.objects("pods,events,jobs", &[])).unwrap();
        let secrets = serde_json::to_string(&runner.objects("secrets", &[])).unwrap();
        runner.write("/home/runner/_work/demo/demo/go", "");
        hook.end().assert_code(0);
        let audit = fs::read_to_string(cluster().state.join("logs/audit.log")).unwrap();
        for (what, text) in
            [("an object", &seen), ("the audit log", &audit), ("hookd's log", &runner.log())]
        {
            assert!(!text.contains("s3cret-of-a-container"), "a value stands in {what}");
        }
        // The base64 of the value's beginning.
        assert_eq!(secrets.contains("czNjcmV0LW9mLWEtY29udGFpbmVy"), in_secret);
        runner.assert_nothing_left();
    }
}

#[test]
fn an_action_may_be_one_static_program_in_an_empty_image() {
    let image = images::of_one_file(Path::new("/bin/busybox"), Some("/busybox"));
    for runner in [RunnerPod::start(), natively()] {
        let action = format!(
            "runs:\n  using: docker\n  image: docker://{image}\n  args: [echo, 'from  scratch']\n"
        );
        let outcome = runner.run(&runner.action("bare", &[("action.yml", &action)]));
        assert_eq!(outcome.assert_code(0).text(), "from  scratch\n");
    }
}

#[test]
fn white_space_that_the_runner_cuts_arrives_all_the_same() {
    let runner = RunnerPod::start();
    let action = "inputs: {text: {default: ''}}\nruns:\n  using: docker\n  image: docker://busybox:1\n  \
                  entrypoint: /bin/sh\n  args: [-c, 'for a; do echo \"[$a]\"; done', x, 'a   b', \
                  \" lead\", \"tab\\t \\tend\", \"${{ inputs.text }}\", '']\n";
    let mut step = runner.action("spaces", &[("action.yml", action)]);
    step.with = vec![("text".to_owned(), "one  \n  two".to_owned())];
    let expected = "[a   b]\n[ lead]\n[tab\t \tend]\n[one  \n  two]\n[]\n";
    assert_eq!(runner.run(&step).assert_code(0).text(), expected);
}

#[test]
fn the_stages_of_an_action_share_one_build_until_it_changes() {
    let runner = RunnerPod::start();
    let action = "runs:\n  using: docker\n  image: Dockerfile\n  pre-entrypoint: /pre\n  \
                  entrypoint: /main\n  post-entrypoint: /post\n";
    let dockerfile = |word: &str| {
        format!(
            "FROM busybox:1\nRUN for s in pre main post; do \
             printf \"#!/bin/sh\\necho $s {word}\\n\" > /$s; chmod +x /$s; done\n"
        )
    };
    let files = [("action.yml", action), ("Dockerfile", &dockerfile("one"))];
    let mut step = runner.action("stages", &files);
    step.stage = fake_runner::Stage::Pre;
    assert_eq!(runner.run(&step).assert_code(0).after_build(), "pre one\n");
    for (stage, word) in [(fake_runner::Stage::Main, "main"), (fake_runner::Stage::Post, "post")] {
        step.stage = stage;
        let outcome = runner.run(&step);
        let log = outcome.assert_code(0).log();
        assert!(log.contains("is built already") && !log.contains("##[group]Build"), "{log}");
        assert_eq!(outcome.text(), format!("{word} one\n"));
    }
    runner.action("stages", &[("Dockerfile", &dockerfile("two"))]);
    assert_eq!(runner.run(&step).assert_code(0).after_build(), "post two\n");
    runner.assert_nothing_left();
}

#[test]
fn an_oom_kill_of_a_program_by_stepd_names_the_limit() {
    let template =
        "spec:\n  containers:\n  - name: $job\n    resources: {limits: {memory: 64Mi}}\n";
    let runner = RunnerPod::with(
        &Setup::default()
            .set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", "/home/runner/_work/template.yaml"),
    );
    runner.write("/home/runner/_work/template.yaml", template);
    let outcome =
        runner.run(&runner.script("echo begun; x=0123456789; while :; do x=$x$x$x; done"));
    let text = outcome.log();
    // cgroup v1 kills the one process, v2 the container with stepd.
    assert!(matches!(outcome.code, 137 | 1), "{}: {text}", outcome.code);
    assert!(text.contains("OOMKilled") && text.contains("64Mi"), "{text}");
    runner.assert_nothing_left();
}

#[test]
fn the_template_changes_pods_of_container_steps_not_programs() {
    let template = "metadata:\n  annotations: {team: blue}\nspec:\n  \
                    containers:\n  - name: $job\n    env: [{name: FROM_TEMPLATE, value: here}]\n  \
                    - {name: beside, image: 'busybox:1', command: [sleep, '1000']}\n";
    for way in ["auto", "kubelet"] {
        let setup = Setup::default()
            .set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", "/home/runner/_work/template.yaml")
            .set("HOOKD_CONTAINER_STEP_LAUNCHER", way);
        let runner = RunnerPod::with(&setup);
        runner.write("/home/runner/_work/template.yaml", template);
        let step = runner.script("echo $FROM_TEMPLATE; while [ ! -e go ]; do usleep 50000; done");
        let hook = runner.call(&step).start();
        hook.wait_for("here\n");
        let pods = runner.objects("pods", &["-l", "hookd.dev/step"]);
        assert_eq!(pods[0]["metadata"]["annotations"]["team"], "blue");
        assert_eq!(pods[0]["spec"]["containers"][1]["name"], "beside");
        runner.write("/home/runner/_work/demo/demo/go", "");
        assert_eq!(hook.end().assert_code(0).text(), "here\n");
        runner.assert_nothing_left();
    }
}

#[test]
fn an_unreachable_registry_leaves_the_program_to_the_kubelet() {
    let runner =
        RunnerPod::with(&Setup::default().set("HOOKD_REGISTRY_MAP", "index.docker.io=127.0.0.1:1"));
    let outcome = runner.run(&runner.script("echo $$"));
    // PID 1: the kubelet has started it.
    assert_eq!(outcome.assert_code(0).text(), "1\n");
    runner.assert_nothing_left();
}

/// shinsenter/php#64, Nico640/docker-unms#80, kipsilabs/altmount#578, FaserF/hassio-addons#73: the inits
/// of s6-overlay, systemd and others run as PID 1 only.
#[test]
fn an_entrypoint_that_must_be_pid_1_is_or_names_the_setting() {
    let runner = RunnerPod::start();
    let init = "printf '#!/bin/sh\\n[ $$ = 1 ] || { echo \"init: fatal: can only run as pid 1\" >&2; \
                exit 100; }\\nexec \"$@\"\\n' > /init && chmod +x /init && \
                printf '#!/bin/sh\\nexec /init \"$@\"\\n' > /start && chmod +x /start";
    let dockerfile = |entrypoint: &str| {
        format!(
            "FROM busybox:1\nRUN {init}\nENTRYPOINT [\"{entrypoint}\"]\n\
             CMD [\"/bin/echo\", \"the program ran\"]\n"
        )
    };
    let known = runner.action("s6like", &[("Dockerfile", &dockerfile("/init"))]);
    assert_eq!(runner.run(&known).assert_code(0).after_build(), "the program ran\n");
    let hidden = runner.action("s6hidden", &[("Dockerfile", &dockerfile("/start"))]);
    let outcome = runner.run(&hidden);
    let log = outcome.assert_code(100).log();
    assert!(log.contains("HOOKD_CONTAINER_STEP_LAUNCHER=kubelet"), "{log}");
    assert!(log.contains("can only run as pid 1"), "{log}");
    runner.assert_nothing_left();
}
