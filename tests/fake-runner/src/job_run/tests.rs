//! Jobs against a hook that is a closure.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::layout::FileCommand;
use crate::{Job, WorkDir};

const CONTAINER: &str = "container: debian\n";

/// What the hook was called with, as JSON, in order.
type Inputs = Vec<Value>;

/// Runs a job whose hook answers each call by `answer`, which may write file commands.
fn job(
    folder: &Path,
    yaml: &str,
    mut answer: impl FnMut(&Value, &dyn Fn(FileCommand, &str)) -> i32,
) -> (Result<JobReport, JobError>, Inputs) {
    let hook = folder.join("hook.sh");
    fs::write(&hook, "").unwrap();
    let work = WorkDir::new("/home/runner/_work", folder);
    let runner = Runner::new(work.clone(), Job::new("octo/demo", "r"), hook);
    let definition = JobDefinition::from_yaml(yaml).unwrap();
    let mut inputs = Vec::new();
    let report = runner.run_job(&definition, &mut |_, prepared| {
        let input: Value = serde_json::from_str(&prepared.process.input).unwrap();
        let write = |command: FileCommand, text: &str| {
            fs::write(work.local(&prepared.files.command_file(command)), text).unwrap();
        };
        let code = answer(&input, &write);
        if input["command"] == "prepare_job" && code == 0 {
            let response = json!({"state": {"jobPod": "p"}, "isAlpine": false, "context": {
                "container": {"id": "job", "network": "p"},
                "services": [{"id": "web", "network": "p", "ports": {"80": "8080"}}]}});
            let services = input["args"]["services"].as_array().unwrap().len();
            let mut response = response;
            response["context"]["services"].as_array_mut().unwrap().truncate(services);
            fs::write(work.local(&prepared.files.response), response.to_string()).unwrap();
        }
        inputs.push(input);
        let outcome = prepared.read_back(code).unwrap();
        HookEnd { stdout: Vec::new(), stderr: Vec::new(), outcome }
    });
    (report, inputs)
}

fn script_of(folder: &Path, input: &Value) -> String {
    let last = input["args"]["entryPointArgs"].as_array().unwrap().last().unwrap();
    let file = last.as_str().unwrap().replacen("/__w", "/home/runner/_work", 1);
    fs::read_to_string(WorkDir::new("/home/runner/_work", folder).local(&file)).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn what_a_step_says_reaches_later_steps_and_the_state_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "{CONTAINER}services: {{web: {{image: nginx, ports: ['8080:80']}}}}\nsteps:\n\
         - {{run: one, id: first}}\n- run: two ${{{{ steps.first.outputs.x }}}} \
           ${{{{ job.services.web.ports['80'] }}}} ${{{{ env.E }}}}\n"
    );
    let (report, inputs) = job(folder.path(), &yaml, |input, write| {
        if input["command"] == "run_script_step" {
            write(FileCommand::SetOutput, "x=1\n");
            write(FileCommand::SetEnv, "E=e\n");
            write(FileCommand::AddPath, "/a\n/b\n");
        }
        0
    });
    let report = report.unwrap();
    assert!(report.success);
    let commands: Vec<_> = inputs.iter().map(|input| input["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["prepare_job", "run_script_step", "run_script_step", "cleanup_job"]);
    let state = json!({"jobPod": "p"});
    assert_eq!((&inputs[0]["state"], &inputs[1]["state"]), (&Value::Null, &state));
    assert_eq!(inputs[3]["state"], state);
    assert_eq!(script_of(folder.path(), &inputs[2]), "two 1 8080 e");
    let second = &inputs[2]["args"];
    assert_eq!(second["prependPath"], json!(["/b", "/a"]));
    assert_eq!(second["environmentVariables"]["E"], "e");
    assert_eq!(second["workingDirectory"], "/__w/demo/demo");
}

#[test]
fn a_failed_step_lets_only_those_run_that_ask_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "{CONTAINER}steps:\n- {{run: bad, id: may, continue-on-error: true}}\n- {{run: good, id: a}}\n\
         - {{run: bad, id: b}}\n- {{run: good, id: c}}\n- {{run: good, id: d, if: always()}}\n\
         - {{run: good, id: e, if: failure()}}\n"
    );
    let within = folder.path().to_owned();
    let (report, _) = job(folder.path(), &yaml, |input, _| {
        i32::from(input["command"] == "run_script_step" && script_of(&within, input) == "bad")
    });
    let report = report.unwrap();
    assert_eq!(report.names(), ["prepare_job", "may", "a", "b", "d", "e", "cleanup_job"]);
    assert!(!report.success);
    assert_eq!(report.conclusions["b"], Conclusion::Failure);
    assert_eq!(report.conclusions["c"], Conclusion::Skipped);
    assert_eq!(report.conclusions["may"], Conclusion::Success);
}

#[test]
fn actions_run_before_and_after_with_what_they_saved() {
    let folder = tempfile::tempdir().unwrap();
    let js = "inputs: {who: {default: all}}\nruns: {using: node20, pre: pre.js, main: main.js, post: post.js}";
    write(folder.path(), "_actions/octo/js/v1/action.yml", js);
    let docker = "runs: {using: docker, image: Dockerfile, post-entrypoint: /post}";
    write(folder.path(), "_actions/octo/docker/v1/action.yml", docker);
    write(folder.path(), "_actions/octo/docker/v1/Dockerfile", "FROM scratch");
    let yaml = format!(
        "{CONTAINER}steps:\n- {{uses: octo/js@v1, id: js, with: {{who: me}}}}\n\
         - {{uses: octo/docker@v1, id: docker}}\n- {{uses: 'docker://busybox:1', id: image}}\n"
    );
    let (report, inputs) = job(folder.path(), &yaml, |input, write| {
        if input["command"] == "run_script_step" {
            write(FileCommand::SaveState, "seen=yes\n");
        }
        0
    });
    let names = ["prepare_job", "pre js", "js", "docker", "image", "post docker", "post js"];
    assert_eq!(report.unwrap().names()[..7], names);
    let main = &inputs[2]["args"];
    assert_eq!(main["entryPoint"], "/__e/node20/bin/node");
    assert_eq!(main["entryPointArgs"], json!(["/__w/_actions/octo/js/v1/main.js"]));
    assert_eq!(main["environmentVariables"]["INPUT_WHO"], "me");
    assert_eq!(main["environmentVariables"]["STATE_seen"], "yes");
    assert_eq!(inputs[4]["args"]["image"], "busybox:1");
    assert_eq!(inputs[5]["args"]["entryPoint"], "/post");
    assert_eq!(inputs[6]["args"]["environmentVariables"]["STATE_seen"], "yes");
}

#[test]
fn a_composite_action_has_inputs_outputs_and_a_path_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let action = "inputs: {name: {default: x}}\noutputs: {o: {value: '${{ steps.s.outputs.x }}'}}\n\
                  runs:\n  using: composite\n  steps:\n  - {id: s, shell: bash, run: \
                  'in ${{ inputs.name }} ${{ github.action_path }}'}\n";
    write(folder.path(), "demo/demo/mine/action.yml", action);
    let yaml = format!(
        "{CONTAINER}steps:\n- {{uses: ./mine, id: c, with: {{name: y}}}}\n\
         - run: ${{{{ steps.c.outputs.o }}}}${{{{ steps.s.outputs.x }}}}\n"
    );
    let (report, inputs) = job(folder.path(), &yaml, |input, write| {
        if input["command"] == "run_script_step" {
            write(FileCommand::SetOutput, "x=1\n");
        }
        0
    });
    assert!(report.unwrap().success);
    assert_eq!(script_of(folder.path(), &inputs[1]), "in y /__w/demo/demo/mine");
    let path = &inputs[1]["args"]["environmentVariables"]["GITHUB_ACTION_PATH"];
    assert_eq!(path, "/__w/demo/demo/mine");
    // The steps of an action are not those of the job.
    assert_eq!(script_of(folder.path(), &inputs[2]), "1");
}

#[test]
fn a_failed_prepare_job_is_followed_by_cleanup_job_only() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("{CONTAINER}steps: [{{run: x}}]");
    let (report, inputs) =
        job(folder.path(), &yaml, |input, _| i32::from(input["command"] == "prepare_job"));
    let report = report.unwrap();
    assert_eq!(report.names(), ["prepare_job", "cleanup_job"]);
    assert!(!report.success && inputs[1]["state"].is_null());
}

/// The structure of a value: names in order, with what kind of value each has.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => "text".into(),
        other => other.clone(),
    }
}

#[test]
fn the_input_of_prepare_job_is_the_fixtures() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = r#"
container:
  image: ghcr.io/octo-org/build-image:1.4
  credentials: {username: octocat, password: fake-password-1}
  env: {NODE_ENV: development, EMPTY: ""}
  ports: ["8080:80/tcp", 9229, 9229]
  volumes: ["my_docker_volume:/volume_mount", "/home/runner/_work/widget-shop/cache:/cache:ro", /scratch]
  options: --cpus 1 --user root
services:
  redis:
    image: redis:7-alpine
    ports: [6379]
    options: --health-cmd "redis-cli ping" --health-interval 10s --health-timeout 5s --health-retries 5
  db:
    image: octoorg/private-postgres:16
    credentials: {username: octobot, password: fake-password-2}
    env: {POSTGRES_PASSWORD: fake-password-3, POSTGRES_DB: shop}
    ports: ["5432:5432", "8081:8081/udp"]
    volumes: ["pgdata:/var/lib/postgresql/data"]
steps: []
"#;
    let work = WorkDir::new("/home/runner/_work", folder.path());
    fs::write(folder.path().join("hook.sh"), "").unwrap();
    let hook = folder.path().join("hook.sh");
    let runner = Runner::new(work, Job::new("octo-org/widget-shop", "r"), hook);
    let definition = JobDefinition::from_yaml(yaml).unwrap();
    let mut input = String::new();
    let _ = runner.run_job(&definition, &mut |command, prepared| {
        if command == "prepare_job" {
            input.clone_from(&prepared.process.input);
        }
        let outcome = prepared.read_back(1).unwrap();
        HookEnd { stdout: Vec::new(), stderr: Vec::new(), outcome }
    });
    let fixture = include_str!("../../../fixtures/prepare_job_container_services.json");
    let args = |text: &str| text.split_once("\"args\":").unwrap().1.to_owned();
    assert_eq!(args(&input), args(fixture));
    let both = [input.as_str(), fixture].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(shape(&both[0]), shape(&both[1]));
}

#[test]
fn the_input_of_run_script_step_is_the_fixtures() {
    let folder = tempfile::tempdir().unwrap();
    let yaml =
        format!("{CONTAINER}steps: [{{run: x, shell: bash}}, {{run: x}}, {{run: x, shell: pwsh}}]");
    let (_, inputs) = job(folder.path(), &yaml, |_, _| 0);
    for (input, fixture) in inputs[1..4].iter().zip([
        include_str!("../../../fixtures/run_script_step_bash.json"),
        include_str!("../../../fixtures/run_script_step_default_sh.json"),
        include_str!("../../../fixtures/run_script_step_pwsh.json"),
    ]) {
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        let pieces = |value: &Value| {
            let pieces = value["args"]["entryPointArgs"].as_array().unwrap().clone();
            let pieces = pieces.iter().map(|piece| piece.as_str().unwrap().to_owned());
            // Names of scripts are random.
            let plain = pieces.map(|piece| match piece.rsplit_once("/__w/_temp/") {
                Some((before, file)) => {
                    let (_, end) = file.split_once('.').unwrap();
                    format!("{before}SCRIPT.{end}")
                }
                None => piece,
            });
            plain.collect::<Vec<_>>()
        };
        assert_eq!(pieces(input), pieces(&fixture));
        assert_eq!(input["args"]["entryPoint"], fixture["args"]["entryPoint"]);
        let own = ["BUILD_MODE", "GREETING", "MULTI"];
        let names = |value: &Value| {
            let variables = value["args"]["environmentVariables"].as_object().unwrap().clone();
            variables
                .into_iter()
                .map(|(name, _)| name)
                .filter(|name| !own.contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(input), names(&fixture));
    }
}
