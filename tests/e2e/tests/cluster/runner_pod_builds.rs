//! Dockerfile actions in the runner pod without a registry: Kaniko builds onto the root of the step's own
//! container, and the program runs there.

use rustix::process::Signal;

use test_support::wait::{s, until};
use test_support::{Outcome, RunnerPod, Setup, WORK, WORKSPACE, processes};

/// Seconds in which a build fails that has nothing to wait for.
const EARLY: u64 = 30;

fn start() -> RunnerPod {
    RunnerPod::with(&Setup::in_runner_pod())
}

fn outcome_of(runner: &RunnerPod, dockerfile: &str) -> Outcome {
    runner.run(&runner.action("here", &[("Dockerfile", dockerfile)]))
}

/// Nothing but the runner pod was made, and nothing runs in it any more.
fn assert_nothing_left(runner: &RunnerPod) {
    assert_eq!(runner.objects("pods,jobs,secrets", &[]).len(), 1);
    until("no process of the step is left", s(10), || {
        let all = processes::all().into_iter();
        let mut own = all.filter(|process| process.is_of_pod(&runner.uid));
        let is_ours = |command: &str| command.contains("/__hookd/") || command.contains("/kaniko/");
        (!own.any(|process| is_ours(&process.command))).then_some(())
    });
}

#[test]
fn a_dockerfile_action_needs_no_registry() {
    let runner = start();
    runner.write(&format!("{WORKSPACE}/from-runner"), "hello");
    let dockerfile = "FROM busybox:1 AS build\n\
                      RUN mkdir /made && echo built > /made/file\n\
                      FROM busybox:1\n\
                      ENV OF_IMAGE='of the image' GITHUB_ACTION_PATH=replaced\n\
                      COPY --from=build /made/file /srv/file\n\
                      COPY run.sh /run.sh\n\
                      RUN (setsid sleep 7544 >/dev/null 2>&1 &)\n\
                      ENTRYPOINT [\"/run.sh\", \"first\"]\n";
    let script = "#!/bin/sh\necho \"$@\"; pwd; cat /srv/file from-runner; echo \"$OF_IMAGE\"\n\
                  ls -d /kaniko /made /workspace 2>/dev/null\n\
                  env | grep -i kaniko; ps | grep '[s]leep 7544'\n\
                  echo by=action >> $GITHUB_OUTPUT; echo edited > from-action; exit 7\n";
    let files = [("Dockerfile", dockerfile), ("run.sh", script)];
    let outcome = runner.run(&runner.action("here", &files));
    outcome.assert_code(7);
    assert_eq!(
        outcome.after_build(),
        "first\n/github/workspace\nbuilt\nhelloof the image\n",
        "{}",
        outcome.printed()
    );
    assert_eq!(outcome.read_back.outputs.get("by"), Some("action"));
    let edited = std::fs::read(runner.local(&format!("{WORKSPACE}/from-action"))).unwrap();
    assert_eq!(edited, b"edited\n");
    let lines = outcome.log_lines();
    assert!(lines[0].starts_with("##[group]Build "), "{}", lines[0]);
    let printed = outcome.printed();
    assert!(printed.contains("##[endgroup]"), "{printed}");
    assert!(!printed.contains("127.0.0.1"), "the endpoint's address is shown: {printed}");
    assert_nothing_left(&runner);
}

#[test]
fn a_program_starts_as_its_images_user_in_its_directory() {
    let runner = start();
    let dockerfile = |user: &str| {
        format!(
            "FROM busybox:1\n\
             RUN echo app:x:1234:2345::/home/app:/bin/sh >> /etc/passwd && \
             echo app:x:2345: >> /etc/group && echo web:x:3456:app >> /etc/group\n\
             USER {user}\nWORKDIR /made/by/docker\nENTRYPOINT [\"/bin/sh\", \"-c\"]\n\
             CMD [\"id -u; id -g; id -G; echo $HOME; ls -d /made/by/docker; echo x > /dev/stderr\"]\n"
        )
    };
    // The pod's own group, which may write to its volumes, is one of each.
    for (user, expected) in [
        ("app", "1234\n2345\n2345 3456 1001\n"),
        ("app:web", "1234\n3456\n3456 1001\n"),
        ("4321:2345", "4321\n2345\n2345 1001\n"),
        ("0", "0\n0\n"),
    ] {
        let outcome = outcome_of(&runner, &dockerfile(user));
        outcome.assert_code(0);
        let text = outcome.after_build();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let groups: std::collections::BTreeSet<_> = lines[2].split(' ').collect();
            let groups = groups.into_iter().collect::<Vec<_>>().join(" ");
            lines[2] = groups;
            lines
        };
        let lines = sorted(&text);
        if user != "0" {
            assert_eq!(lines[..3], sorted(expected)[..3], "{user}: {text}");
        }
        assert_eq!(lines[4], "/made/by/docker", "{user}: {text}");
    }
    let outcome = outcome_of(&runner, &dockerfile("nobody-knows"));
    assert_ne!(outcome.code, 0);
    assert!(outcome.printed().contains("nobody-knows"), "{}", outcome.printed());
    assert_nothing_left(&runner);
}

#[test]
fn what_a_template_sets_for_steps_holds_for_built_ones_too() {
    let path = "/home/runner/_work/template.yaml";
    let setup = Setup::in_runner_pod().set("ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE", path);
    let runner = RunnerPod::with(&setup);
    let dockerfile = "FROM busybox:1\nENV A=image B=image\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo $A $B\"]\n";
    runner.write(path, "spec: {containers: [{name: $job, env: [{name: A, value: template}]}]}\n");
    let outcome = outcome_of(&runner, dockerfile);
    assert_eq!(outcome.assert_code(0).after_build(), "template image\n", "{}", outcome.printed());
    for rights in ["runAsUser: 1000", "capabilities: {drop: [ALL]}"] {
        let container = format!("{{name: $job, securityContext: {{{rights}}}}}");
        runner.write(path, format!("spec: {{containers: [{container}]}}\n"));
        let outcome = outcome_of(&runner, dockerfile);
        outcome.assert_failed_with(10, &["securityContext", "hook template", "registry"]);
    }
    assert_nothing_left(&runner);
}

#[test]
fn an_image_with_another_program_only_has_its_bases_files() {
    let runner = start();
    for dockerfile in [
        "FROM busybox:1\nENTRYPOINT [\"/bin/sh\", \"-c\", \"echo whole; ls /bin/busybox\"]\n",
        "FROM busybox:1 AS base\nRUN echo whole > /file\n\
         FROM base\nCMD [\"/bin/sh\", \"-c\", \"cat /file; ls /bin/busybox\"]\n",
    ] {
        // Its own rules leave the Dockerfile out.
        let files = [("Dockerfile", dockerfile), (".dockerignore", "*\n")];
        let outcome = runner.run(&runner.action("base", &files));
        outcome.assert_code(0);
        assert_eq!(outcome.after_build(), "whole\n/bin/busybox\n", "{}", outcome.printed());
    }
    assert_nothing_left(&runner);
}

#[test]
fn a_build_that_fails_there_is_told_as_that_of_a_job() {
    let runner = start();
    let outcome = outcome_of(&runner, "FROM busybox:1\nRUN echo why >&2; exit 23\n");
    outcome.assert_failed_with(EARLY, &["/v1/Dockerfile", "RUN", "exit code 23", "log"]);
    assert!(outcome.log_lines().contains(&"why".to_owned()), "{}", outcome.printed());
    let outcome = outcome_of(&runner, "FROM debian:bookwurm-slim\n");
    let words = ["library/debian", "bookwurm-slim", "MANIFEST_UNKNOWN", "misspelling"];
    outcome.assert_failed_with(EARLY, &words);
    let outcome = outcome_of(&runner, "FROM busybox:1\nCOPY not-there /\n");
    outcome.assert_failed_with(EARLY, &["not-there"]);
    let outcome = outcome_of(&runner, "FROM busybox:1\nFRMO nothing\n");
    outcome.assert_failed_with(EARLY, &["line 2", "FRMO", "Correct the Dockerfile"]);
    assert_nothing_left(&runner);
}

#[test]
fn a_build_begins_again_if_hookd_is_killed_meanwhile() {
    let runner = start();
    let dockerfile = "FROM busybox:1\n\
                      RUN i=1; while [ $i -le 100 ]; do echo n$i; i=$((i+1)); usleep 20000; done\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo ran; exit 9\"]\n";
    let step = runner.action("again", &[("Dockerfile", dockerfile)]);
    let hook = runner.call(&step).start();
    hook.wait_for("\nn10\n");
    runner.daemon().signal(Signal::KILL);
    let outcome = hook.end();
    outcome.assert_code(9);
    assert_eq!(outcome.after_build(), "ran\n", "{}", outcome.printed());
    assert!(outcome.printed().contains("The build is started again"), "{}", outcome.printed());
    assert_nothing_left(&runner);
}

#[test]
fn a_program_of_a_built_image_outlives_hookd() {
    let runner = start();
    let dockerfile = "FROM busybox:1\nUSER 1234\n\
                      ENTRYPOINT [\"/bin/sh\", \"-c\", \"for i in $(seq 300); do echo n$i; \
                      usleep 10000; done; exit 9\"]\n";
    let step = runner.action("outlives", &[("Dockerfile", dockerfile)]);
    let hook = runner.call(&step).start();
    hook.wait_for("\nn100\n");
    runner.daemon().signal(Signal::KILL);
    let outcome = hook.end();
    outcome.assert_code(9);
    let lines: Vec<_> = outcome.after_build().lines().map(str::to_owned).collect();
    let expected: Vec<_> = (1..=300).map(|number| format!("n{number}")).collect();
    assert_eq!(lines, expected);
    assert_nothing_left(&runner);
}

#[test]
fn a_build_that_is_cancelled_leaves_nothing() {
    let runner = start();
    let step = runner
        .action("cancelled", &[("Dockerfile", "FROM busybox:1\nRUN echo begun; sleep 600\n")]);
    let hook = runner.call(&step).start();
    hook.wait_for("\nbegun\n");
    hook.signal(Signal::INT);
    assert_ne!(hook.end_within(s(20)).code, 0);
    assert_nothing_left(&runner);
}

/// The port of a line of /proc/net/tcp, of a socket that listens on 127.0.0.1.
fn loopback_listener(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let port = local.strip_prefix("0100007F:").filter(|_| state == "0A")?;
    u16::from_str_radix(port, 16).ok()
}

#[test]
fn only_a_build_itself_can_use_its_registry_endpoint() {
    let runner = start();
    // A RUN finds no password, and neither hookd's socket nor its token.
    let dockerfile = "FROM busybox:1\n\
                      RUN find / -xdev -name config.json -path '*docker*' | grep . && exit 1; \
                      ls /var/run/secrets /run/hookd 2>/dev/null | grep . && exit 1; \
                      echo begun; while ! [ -e /__w/go-on ]; do usleep 50000; done\n\
                      CMD [\"true\"]\n";
    let step = runner.action("endpoint", &[("Dockerfile", dockerfile)]);
    let hook = runner.call(&step).start();
    hook.wait_for("\nbegun\n");
    // Whoever shares the pod's network finds its port, and may do nothing without its key.
    let listening = runner.daemon().read("net/tcp");
    let ports: Vec<_> = listening.lines().filter_map(loopback_listener).collect();
    assert!(!ports.is_empty(), "the endpoint listens");
    let paths = ["pull/index.docker.io/library/busybox/manifests/1", "push/image/manifests/latest"];
    let mut refused = 0;
    for (port, path) in ports.iter().flat_map(|port| paths.map(|path| (port, path))) {
        let ask = format!("wget -O- http://127.0.0.1:{port}/v2/{path} 2>&1 | head -c 400");
        let answer = runner.run(&runner.script(&ask)).printed();
        assert!(!answer.contains("schemaVersion"), "{path}: {answer}");
        refused += usize::from(answer.contains(" 403 "));
    }
    assert_eq!(refused, paths.len(), "one of the ports is the endpoint's");
    runner.write(&format!("{WORK}/go-on"), "");
    hook.end().assert_code(0);
    assert_nothing_left(&runner);
}
