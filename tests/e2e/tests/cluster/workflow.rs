//! Whole jobs, as a workflow has them: every kind of step, what they hand to each other, and nothing
//! left at the end.

use fake_runner::{Conclusion, JobDefinition, JobReport};

use test_support::{RunnerPod, Setup, WORK, WORKSPACE, images};

/// Services answer with their name, on a port of their own. The first takes so long to be healthy
/// that hookd, on a slow machine too, has seen all containers run: else it tells nothing of it.
const WORKFLOW: &str = r##"
container:
  image: IMAGE
  options: --cpus 0.5 OPTIONS
  env: {FROM_JOB: s3cret-of-the-job}
services:
  cache:
    image: busybox:1
    ports: [7101]
    options: >-
      --network-alias cache
      --health-cmd "test -e /tmp/ready" --health-interval 1s --health-retries 60
    entrypoint: /bin/sh
    command: -c "sleep 6; touch /tmp/ready; while :; do echo cache | nc -l -p 7101; done"
  queue:
    image: busybox:1
    ports: ["8102:7102"]
    options: --hostname queue --health-cmd true --health-interval 1s
    entrypoint: /bin/sh
    command: -c "while :; do echo queue | nc -l -p 7102; done"
env: {LEVEL: job}
steps:
- id: bash
  shell: bash
  run: |
    for at in cache/7101 queue/7102; do
      until read answer 2>/dev/null < /dev/tcp/$at; do sleep 0.1; done
      echo "$at says $answer"
    done
    echo "port ${{ job.services.cache.ports['7101'] }} $LEVEL $FROM_JOB $HOME"
    mkdir -p sub bin
    printf '#!/bin/sh\necho "tool of $MADE"\n' > bin/tool; chmod +x bin/tool
- id: sets
  run: |
    pwd
    echo "number=42" >> $GITHUB_OUTPUT
    echo "MADE=here" >> $GITHUB_ENV
    echo "$GITHUB_WORKSPACE/bin" >> $GITHUB_PATH
    echo "# Summary" >> $GITHUB_STEP_SUMMARY
  working-directory: sub
- id: uses
  run: tool; echo ${{ steps.sets.outputs.number }}
- id: js
  uses: octo/js@v1
  with: {who-to-greet: you}
- id: composite
  uses: ./.github/actions/composite
  with: {name: mine}
- id: after-composite
  run: echo "${{ steps.composite.outputs.result }} $SET_WITHIN"
- id: image
  uses: docker://busybox:1
  with:
    entrypoint: /bin/sh
    args: -c "echo 'two  spaces' $MADE; cat bin/tool | wc -l; echo by=image >> $GITHUB_OUTPUT; echo i > by-image"
- id: dockerfile
  uses: ./.github/actions/edits
- id: sees
  run: cat by-image by-dockerfile; echo ${{ steps.image.outputs.by }} ${{ steps.dockerfile.outputs.by }}
- id: server
  shell: bash
  run: |
    (while [ ! -e stop ]; do date +%s%N > beat; sleep 0.05; done) > /dev/null 2>&1 &
    echo serving
- id: served
  run: a=$(cat beat); sleep 0.5; test "$a" != "$(cat beat)"; touch stop
- id: fails
  run: echo "why=this" >> $GITHUB_OUTPUT; echo failing >&2; exit 3
- id: skipped
  run: echo never
- id: always
  if: always()
  run: echo "${{ steps.fails.outcome }} because of ${{ steps.fails.outputs.why }}"
"##;

const JS: [(&str, &str); 4] = [
    (
        "action.yml",
        "inputs: {who-to-greet: {default: nobody}}\n\
         runs: {using: node20, pre: pre.js, main: main.js, post: post.js}\n",
    ),
    ("pre.js", "require('fs').appendFileSync(process.env.GITHUB_STATE, 'when=before\\n')"),
    (
        "main.js",
        "const fs = require('fs');\n\
         console.log(process.version, process.env['INPUT_WHO-TO-GREET'], process.env.STATE_when);\n\
         fs.appendFileSync(process.env.GITHUB_STATE, 'seen=main\\n');\n\
         fs.appendFileSync(process.env.GITHUB_OUTPUT, 'x=1\\n');\n\
         fs.writeFileSync('by-js', JSON.parse(fs.readFileSync(process.env.GITHUB_EVENT_PATH)).ref)",
    ),
    ("post.js", "console.log('post after', process.env.STATE_seen)"),
];

const COMPOSITE: &str = r#"
inputs: {name: {default: none}}
outputs: {result: {value: "${{ steps.inner.outputs.r }}"}}
runs:
  using: composite
  steps:
  - id: inner
    shell: bash
    run: |
      echo "r=${{ inputs.name }} at $(basename ${{ github.action_path }})" >> $GITHUB_OUTPUT
      echo "SET_WITHIN=composite" >> $GITHUB_ENV
      test -f "$GITHUB_ACTION_PATH/action.yml"
  - uses: octo/js@v1
    with: {who-to-greet: "${{ inputs.name }}"}
  - uses: ./.github/actions/edits
"#;

const EDITS: [(&str, &str); 2] = [
    (
        "action.yml",
        "runs:\n  using: docker\n  image: Dockerfile\n  pre-entrypoint: /never.sh\n  \
         post-entrypoint: /post.sh\n  args: ['a   b', '']\n",
    ),
    (
        "Dockerfile",
        "FROM busybox:1\n\
         RUN printf '#!/bin/sh\\necho \"post of the action\" $STATE_s\\n' > /post.sh && \\\n    \
         printf '#!/bin/sh\\nfor a; do echo \"[$a]\"; done; echo d > by-dockerfile; \
         echo by=dockerfile >> $GITHUB_OUTPUT; echo s=saved >> $GITHUB_STATE\\n' > /main.sh && \\\n    \
         chmod +x /*.sh\n\
         USER 1234\n\
         ENTRYPOINT [\"/main.sh\"]\n",
    ),
];

/// Runs the workflow in a job container of this image.
fn run(runner: &RunnerPod, image: &str, options: &str) -> JobReport {
    for (name, text) in JS {
        runner.write(&format!("{WORK}/_actions/octo/js/v1/{name}"), text);
    }
    for (name, text) in EDITS {
        runner.write(&format!("{WORKSPACE}/.github/actions/edits/{name}"), text);
    }
    runner.write(&format!("{WORKSPACE}/.github/actions/composite/action.yml"), COMPOSITE);
    // A container step of another user than the runner's writes here.
    runner.open(WORKSPACE);
    let yaml = WORKFLOW.replace("IMAGE", image).replace("OPTIONS", options);
    runner.run_job(&JobDefinition::from_yaml(&yaml).unwrap())
}

fn assert_ran(runner: &RunnerPod, report: &JobReport) {
    let text = |name: &str| report.call(name).unwrap_or_else(|| panic!("no call {name}")).text();
    let code = |name: &str| {
        let call = report.call(name).unwrap_or_else(|| panic!("no call {name}"));
        assert!(call.code() < 256);
        call.code()
    };
    for name in ["prepare_job", "bash", "sets", "uses", "pre js", "js", "image", "dockerfile"] {
        assert_eq!(code(name), 0, "{name}:\n{}", text(name));
    }
    let log = report.call("prepare_job").unwrap().log();
    assert!(log.contains("Container busybox-0 is healthy after"), "{log}");
    assert_eq!(
        text("bash"),
        "cache/7101 says cache\nqueue/7102 says queue\nport 7101 job s3cret-of-the-job /github/home\n"
    );
    assert_eq!(text("sets"), "/__w/demo/demo/sub\n");
    assert_eq!(report.call("sets").unwrap().end.outcome.summary, "# Summary\n");
    assert_eq!(text("uses"), "tool of here\n42\n");
    let js = text("js");
    assert!(js.starts_with("v20.") && js.ends_with(" you before\n"), "{js}");
    assert_eq!(text("after-composite"), "mine at composite composite\n");
    assert_eq!(text("image"), "two  spaces here\n2\n");
    assert_eq!(text("dockerfile"), "[a   b]\n[]\n");
    assert_eq!(text("sees"), "i\nd\nimage dockerfile\n");
    assert_eq!((code("served"), code("fails")), (0, 3));
    let stderr = &report.call("fails").unwrap().end.stderr;
    assert!(stderr.starts_with(b"failing\nThe program itself ended with exit code 3, "));
    assert_eq!(report.conclusions["skipped"], Conclusion::Skipped);
    assert_eq!(text("always"), "failure because of this\n");
    assert_eq!(text("post js"), "post after main\n");
    let post = report.calls.iter().filter(|call| call.name.starts_with("post ")).count();
    // Of js and of what the composite action uses, and of the Dockerfile's action twice.
    assert_eq!(post, 4, "{:?}", report.names());
    assert_eq!(text("post dockerfile"), "post of the action saved\n");
    // One build for the action's uses and stages.
    let builds = report.calls.iter().filter(|call| call.log().contains("##[group]Build")).count();
    assert_eq!(builds, 1, "{:?}", report.names());
    assert_eq!(report.names().last(), Some(&"cleanup_job"));
    assert_eq!(code("cleanup_job"), 0);
    assert!(!report.success, "the job has a failed step");
    runner.assert_nothing_left();
    assert!(!runner.log().contains("s3cret-of-the-job"), "a value of the job is in hookd's log");
}

#[test]
fn a_workflow_runs_in_a_job_container_of_root() {
    let runner = RunnerPod::start();
    assert_ran(&runner, &run(&runner, "debian:bookworm-slim", ""));
}

#[test]
fn a_workflow_runs_in_a_job_image_with_a_user_of_its_own() {
    let runner = RunnerPod::start();
    let image = images::derived("debian:bookworm-slim", &["--user", "1000:1000"]);
    assert_ran(&runner, &run(&runner, &image, ""));
}

#[test]
fn a_workflow_runs_as_another_user_by_the_containers_options() {
    let runner = RunnerPod::start();
    assert_ran(&runner, &run(&runner, "debian:bookworm-slim", "--user 1000:1000"));
}

#[test]
fn a_workflow_runs_unchanged_in_the_runner_pod() {
    let runner = RunnerPod::with(&Setup::in_runner_pod().with_registry());
    assert_ran(&runner, &run(&runner, "debian:bookworm-slim", ""));
}

#[test]
fn a_workflow_runs_in_the_runner_pod_whoever_the_images_user() {
    let user = images::derived("debian:bookworm-slim", &["--user", "1000:1000"]);
    for (image, options) in [(user.as_str(), ""), ("debian:bookworm-slim", "--user 1000:1000")] {
        let runner = RunnerPod::with(&Setup::in_runner_pod().with_registry());
        assert_ran(&runner, &run(&runner, image, options));
    }
}
