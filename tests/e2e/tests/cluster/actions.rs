//! Container actions as their authors write them: what goes in, and what comes back.

use std::fs;
use std::os::unix::fs::MetadataExt;

use fake_runner::Uses;

use test_support::{Outcome, RunnerPod, WORKSPACE};

/// Prints each argument in brackets, on a line of its own.
const ARGUMENTS: &str = "#!/bin/sh\nfor argument; do printf '[%s]\\n' \"$argument\"; done\n";

const REPORT: &str = r#"
inputs:
  fetch-depth: {default: 3}
  "odd name.": {default: "a b"}
outputs: {total: {description: A number}}
runs:
  using: docker
  image: Dockerfile
  args: ["hello world", "say \"hi\"", "$$ and $(HOME)", "${HOME}", "", "*", "it's", "back\\slash", "$$$"]
  env: {LEVEL: full}
"#;

const REPORT_SH: &str = r##"#!/bin/sh
for argument; do printf '[%s]\n' "$argument"; done
printf 'ENV %s\n' "LEVEL=$LEVEL" "MULTI=$MULTI" "HOME=$HOME" "CI=$CI" "GITHUB_ACTIONS=$GITHUB_ACTIONS"
# This shell passes on plain names only.
tr '\0' '\n' < /proc/$$/environ | grep -a -e '^INPUT_' -e '^dotted'
cat /etc/built-by
pwd
echo "from the action" > /github/workspace/report.txt
echo "total=42" >> "$GITHUB_OUTPUT"
echo "# Summary" >> "$GITHUB_STEP_SUMMARY"
touch "$HOME/was-here" /github/workflow/event.json "$RUNNER_TEMP/was-here"
echo "to stderr" >&2
"##;

fn report_action(runner: &RunnerPod) -> fake_runner::Step {
    let dockerfile = "FROM debian:bookworm-slim\nRUN echo \"built by $(id -un)\" > /etc/built-by\n\
                      COPY sub/report.sh /usr/local/bin/report\nENTRYPOINT [\"report\", \"of the image\"]\n";
    let files = [("action.yml", REPORT), ("Dockerfile", dockerfile), ("sub/report.sh", REPORT_SH)];
    let mut step = runner.action("report", &files);
    step.env.set("MULTI", "line one\nline two\n");
    step.env.set("dotted.name-1", "kept");
    step
}

fn has_line(outcome: &Outcome, line: &str) -> bool {
    outcome.lines().iter().any(|printed| printed == line)
}

#[test]
fn a_dockerfile_action_gets_its_inputs_and_returns_its_outputs() {
    let runner = RunnerPod::start();
    let outcome = runner.run(&report_action(&runner));
    outcome.assert_code(0);
    let arguments: Vec<_> = outcome
        .after_build()
        .lines()
        .filter(|line| line.starts_with('['))
        .map(str::to_owned)
        .collect();
    let expected = [
        "[of the image]",
        "[hello world]",
        "[say \"hi\"]",
        "[$$ and $(HOME)]",
        "[${HOME}]",
        "[]",
        "[*]",
        "[it's]",
        "[back\\slash]",
        "[$$$]",
    ];
    // As in docker, args follow what ENTRYPOINT has.
    assert_eq!(arguments, expected);
    for line in [
        "ENV LEVEL=full",
        "ENV MULTI=line one",
        "line two",
        "ENV HOME=/github/home",
        "ENV CI=true",
        "ENV GITHUB_ACTIONS=true",
        "INPUT_FETCH-DEPTH=3",
        "INPUT_ODD_NAME.=a b",
        "dotted.name-1=kept",
        "built by root",
        "/github/workspace",
    ] {
        assert!(has_line(&outcome, line), "no line {line:?} in\n{}", outcome.printed());
    }
    let report = runner.workspace("report.txt");
    assert_eq!(fs::read_to_string(report).unwrap(), "from the action\n");
    assert_eq!(outcome.read_back.outputs.get("total"), Some("42"));
    assert_eq!(outcome.read_back.summary, "# Summary\n");
    assert!(outcome.read_back.response.is_some_and(|response| response.is_object()));
    runner.assert_nothing_left();
}

#[test]
fn an_image_with_its_own_user_can_write_outputs_and_home() {
    let runner = RunnerPod::start();
    let dockerfile = "FROM busybox:1\nUSER 1234\nENTRYPOINT [\"/bin/sh\", \"-c\", \
                      \"id -u; echo who=$(id -u) >> $GITHUB_OUTPUT; echo x > $HOME/mine\"]\n";
    let outcome = runner.run(&runner.action("user", &[("Dockerfile", dockerfile)]));
    outcome.assert_code(0);
    assert_eq!(outcome.after_build(), "1234\n");
    assert_eq!(outcome.read_back.outputs.get("who"), Some("1234"));
    let mine = runner.local("/home/runner/_work/_temp/_github_home/mine");
    assert_eq!(fs::metadata(mine).unwrap().uid(), 1234);
}

#[test]
fn exit_codes_of_a_program_are_the_hooks() {
    let runner = RunnerPod::start();
    for code in [0, 1, 3, 7, 126, 127, 255] {
        let outcome = runner.run(&runner.script(&format!("echo ends with {code}; exit {code}")));
        outcome.assert_code(code);
        assert_eq!(outcome.text(), format!("ends with {code}\n"));
    }
    runner.run(&runner.script("sh -c 'kill -KILL $$'; exit $?")).assert_code(137);
    runner.assert_nothing_left();
}

#[test]
fn an_image_step_without_entrypoint_runs_the_images_own() {
    let runner = RunnerPod::start();
    let mut step = fake_runner::Step::new("docker://busybox:1".parse::<Uses>().unwrap());
    // The image has a CMD of `sh`, which ends at once without input.
    let outcome = runner.run(&step);
    outcome.assert_code(0);
    assert_eq!(outcome.text(), "");
    // Arguments take the place of CMD.
    step.with = vec![("args".to_owned(), "echo \"a  b\" 'c d' e".to_owned())];
    let outcome = runner.run(&step);
    assert_eq!(outcome.assert_code(0).text(), "a  b 'c d' e\n");
    step.with.push(("entrypoint".to_owned(), "/bin/printf".to_owned()));
    step.with[0].1 = "%s\\n \"x y\" z".to_owned();
    let outcome = runner.run(&step);
    assert_eq!(outcome.assert_code(0).text(), "x y\nz\n");
}

#[test]
fn only_the_directories_of_the_contract_are_mounted() {
    let runner = RunnerPod::start();
    runner.write(&format!("{WORKSPACE}/a/b"), "in the workspace\n");
    let script = "pwd; cat a/b\n\
                  for name in workspace home workflow file_commands runner_temp; do\n\
                    test -d /github/$name && echo $name $(stat -c %u /github/$name)\n\
                  done\n\
                  test -s \"$GITHUB_EVENT_PATH\" && test -w \"$GITHUB_OUTPUT\" && echo files\n\
                  ls -d /home/runner /var/run/docker.sock /var/run/secrets 2>/dev/null\n\
                  echo \"$GITHUB_WORKSPACE $RUNNER_TEMP $RUNNER_WORKSPACE\"";
    let outcome = runner.run(&runner.script(script));
    let expected = "/github/workspace\nin the workspace\nworkspace 1001\nhome 1001\nworkflow 1001\n\
                    file_commands 1001\nrunner_temp 1001\nfiles\n\
                    /github/workspace /github/runner_temp /home/runner/_work/demo\n";
    assert_eq!(outcome.assert_code(0).text(), expected);
}

#[test]
fn an_entrypoint_of_the_action_replaces_that_of_the_image() {
    let runner = RunnerPod::start();
    let action = "runs:\n  using: docker\n  image: Dockerfile\n  entrypoint: /other.sh\n  \
                  pre-entrypoint: /pre.sh\n  args: [\"a b\"]\n";
    let dockerfile = "FROM busybox:1\nCOPY *.sh /\nENTRYPOINT [\"/bin/false\"]\n";
    let files = [
        ("action.yml", action),
        ("Dockerfile", dockerfile),
        ("other.sh", ARGUMENTS),
        ("pre.sh", "#!/bin/sh\necho before\n"),
    ];
    let mut step = runner.action("override", &files);
    assert_eq!(runner.run(&step).assert_code(0).after_build(), "[a b]\n");
    step.stage = fake_runner::Stage::Pre;
    let outcome = runner.run(&step);
    assert_eq!(outcome.assert_code(0).text(), "before\n");
    assert!(outcome.log().contains("is built already"), "{}", outcome.log());
}

#[test]
fn the_hook_for_node_does_what_the_one_for_bash_does() {
    let runner = RunnerPod::start();
    let step = runner.script("echo out; exit 7");
    assert_eq!(runner.call(&step).by_node().run().assert_code(7).text(), "out\n");
    let step = runner.script("echo total=1 >> $GITHUB_OUTPUT");
    let outcome = runner.call(&step).by_node().run();
    assert_eq!(outcome.assert_code(0).read_back.outputs.get("total"), Some("1"));
}

#[test]
fn steps_that_run_at_once_do_not_mix() {
    let runner = RunnerPod::start();
    let steps: Vec<_> = (1..=5)
        .map(|number| {
            let script = format!(
                "for i in 1 2 3 4 5 6; do echo step {number}; usleep 100000; done; exit {number}"
            );
            runner.script(&script)
        })
        .collect();
    let hooks: Vec<_> = steps.iter().map(|step| runner.call(step).start()).collect();
    for (number, hook) in (1..).zip(hooks) {
        let outcome = hook.end();
        assert_eq!(outcome.assert_code(number).text(), format!("step {number}\n").repeat(6));
    }
    runner.assert_nothing_left();
}

#[test]
fn a_large_environment_arrives_whole() {
    let runner = RunnerPod::start();
    let mut step = runner.script("echo ${#BIG_1} ${#BIG_5}; printf %s \"$BIG_3\" | sha256sum");
    let value = |number: u32| format!("{number}\u{e9}$(x)\n").repeat(15_000);
    for number in 1..=5 {
        step.env.set(format!("BIG_{number}"), value(number));
    }
    let outcome = runner.run(&step);
    let sum = crate::output::sha256(value(3).as_bytes());
    let length = value(1).len();
    assert_eq!(outcome.assert_code(0).text(), format!("{length} {length}\n{sum}  -\n"));
}
