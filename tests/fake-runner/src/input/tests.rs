use serde_json::json;

use super::*;

const WORK: &str = "/home/runner/_work";

fn fixture(name: &str) -> String {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = format!("{package}/../fixtures/{name}.json");
    std::fs::read_to_string(path).unwrap()
}

struct Case<'a> {
    uses: &'a str,
    action: Action,
    with: &'a [(&'a str, &'a str)],
    guids: [&'a str; 2],
}

/// The line for a step of the job that all fixtures belong to.
fn line(case: &Case<'_>) -> String {
    let mut job = Job::new("octo-org/widget-shop", "arc-widget-7k2xq-runner-m9d4t");
    job.architecture = "X64".to_owned();
    let work = WorkDir::new(WORK, WORK);
    let uses: Uses = case.uses.parse().unwrap();
    let layout = crate::Layout::new(work.clone(), job.repository.as_str());
    let folder = layout.action_folder(&uses);
    let given: Vec<_> = case.with.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let env = Variables::from_iter([
        ("BUILD_MODE", "release"),
        ("GREETING", "héllo \"wörld\" $HOME \\ 'q' `tick`"),
        ("MULTI", "line one\nline two\n"),
    ]);
    let step = ContainerStep {
        job: &job,
        work: &work,
        uses: &uses,
        folder: folder.as_deref(),
        action: &case.action,
        stage: Stage::Main,
        inputs: &Inputs::new(&given, &case.action).unwrap(),
        env: &env,
        saved: &Variables::default(),
        files: &StepFiles::named(&work, case.guids[0], case.guids[1]),
    };
    let state = json!({"jobPod": "arc-widget-7k2xq-runner-m9d4t-workflow"});
    HookInput::run_container_step(&step, state).unwrap().to_line().unwrap()
}

#[test]
fn the_input_of_a_dockerfile_with_arguments_is_the_fixtures() {
    let action = Action::from_yaml(
        r#"
inputs: {title: {required: true}, body: {default: say "hi"}}
runs:
  using: docker
  image: Dockerfile
  entrypoint: /entrypoint.sh
  args: ["--title", "${{ inputs.title }}", "${{ inputs.body }}", "", "src/**/*.ts"]
  env: {REPORT_LEVEL: full, BUILD_MODE: ignored}
"#,
    )
    .unwrap();
    let line = line(&Case {
        uses: "octo-org/report-action/docker@v3",
        action,
        with: &[("title", "hello world")],
        guids: ["7de22216-a233-5b8f-892a-c60ed5154c85", "54027e3d-677c-5ae8-b239-4ac5134c4723"],
    });
    assert_eq!(line, fixture("run_container_step_dockerfile_entrypoint_args"));
}

#[test]
fn the_input_of_a_dockerfile_with_an_entrypoint_is_the_fixtures() {
    let line = line(&Case {
        uses: "octo-org/lint-action@v2",
        action: Action::from_yaml("runs: {using: docker, image: Dockerfile}").unwrap(),
        with: &[("paths", "src/**/*.ts")],
        guids: ["748d6f8f-6294-5a01-b8d7-3da81acea8a0", "c82dc0b0-fb93-5015-8852-56a11286cc20"],
    });
    assert_eq!(line, fixture("run_container_step_dockerfile_no_entrypoint"));
}

#[test]
fn an_image_with_raw_arguments_is_written_byte_for_byte() {
    let arguments = "-c \"echo 'hello   world' && printf '%s\\n' \\\"$GREETING\\\"\"";
    let line = line(&Case {
        uses: "docker://alpine:3.20",
        action: Action::from_image("alpine:3.20"),
        with: &[("entrypoint", "/bin/sh"), ("args", arguments)],
        guids: ["beef5853-8172-58d7-9077-73c1005f8891", "ceabfaab-9503-5765-be12-8ab09e100641"],
    });
    assert_eq!(line, fixture("run_container_step_image_args"));
}

#[test]
fn cleanup_is_written_byte_for_byte() {
    let response = "9a3ba2af-b45c-5fbe-a4b4-dfbe6d333801";
    let response = format!("{WORK}/_temp/_runner_hook_responses/{response}.json");
    let state = json!({"jobPod": "arc-widget-7k2xq-runner-m9d4t-workflow"});
    let line = HookInput::cleanup_job(response, state).to_line().unwrap();
    assert_eq!(line, fixture("cleanup_job"));
}

#[test]
fn line_separators_of_unicode_are_escaped_as_the_runner_does() {
    let state = json!({"x": "\u{85}\u{2028}\u{2029}\u{7}é"});
    let line = HookInput::cleanup_job("/r", state).to_line().unwrap();
    assert!(line.contains(r#""\u0085\u2028\u2029\u0007é""#), "{line}");
}

#[test]
fn an_expression_in_an_argument_is_refused_with_its_place() {
    let yaml = "runs: {using: docker, image: 'docker://x', args: [a, '${{ github.sha }}']}";
    let action = Action::from_yaml(yaml).unwrap();
    let (job, work) = (Job::new("octo/demo", "r"), WorkDir::new(WORK, WORK));
    let uses: Uses = "a/b@v1".parse().unwrap();
    let step = ContainerStep {
        job: &job,
        work: &work,
        uses: &uses,
        folder: None,
        action: &action,
        stage: Stage::Main,
        inputs: &Inputs::default(),
        env: &Variables::default(),
        saved: &Variables::default(),
        files: &StepFiles::named(&work, "g", "r"),
    };
    let error = HookInput::run_container_step(&step, Value::Null).unwrap_err();
    assert_eq!(error.to_string(), "argument 2 of the action cannot be evaluated");
    let post = ContainerStep { stage: Stage::Post, ..step };
    assert!(post.entry_point().is_err());
}
