//! What reaches the hook, call after call.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{Job, WorkDir};

const WORK: &str = "/home/runner/_work";

fn begin(folder: &TempDir) -> Driver {
    let hook = folder.path().join("hook.sh");
    fs::write(&hook, "").unwrap();
    let runner = Runner::new(WorkDir::new(WORK, folder.path()), Job::new("octo/demo", "r"), hook);
    Driver::begin(runner, Variables::default())
}

fn input(prepared: &Prepared) -> Value {
    serde_json::from_str(&prepared.process.input).unwrap()
}

/// Lets the call end with this response and these file commands.
fn end(driver: &mut Driver, prepared: &Prepared, response: &Value, files: &[(FileCommand, &str)]) {
    let work = driver.runner().layout().work().clone();
    fs::write(work.local(&prepared.files.response), response.to_string()).unwrap();
    for (command, text) in files {
        fs::write(work.local(&prepared.files.command_file(*command)), text).unwrap();
    }
    driver.take(&prepared.read_back(0).unwrap());
}

/// Variables of a program's step: two of the runner, the file commands, and `own`.
fn environment(prepared: &Prepared, own: &Value) -> Value {
    let mut environment =
        json!({"GITHUB_WORKSPACE": "/__w/demo/demo", "RUNNER_TEMP": "/__w/_temp"});
    for command in FileCommand::ALL {
        let file = prepared.files.command_file(command).replace(WORK, "/__w");
        environment[command.variable()] = file.into();
    }
    for (name, value) in own.as_object().unwrap() {
        environment[name] = value.clone();
    }
    environment
}

#[test]
fn prepare_job_sends_containers_as_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let (container, services) = (json!({"image": "a", "odd": [1]}), json!([{"image": "b"}, null]));
    let prepared = begin(&folder).prepare_json(&container, &services).unwrap();
    assert_eq!(
        input(&prepared),
        json!({
            "command": "prepare_job", "responseFile": prepared.files.response, "state": null,
            "args": {"container": container, "services": services},
        })
    );
    let none = begin(&folder).prepare_json(&Value::Null, &json!([])).unwrap();
    assert_eq!(input(&none)["args"], json!({"container": null, "services": []}));
}

#[test]
fn a_script_is_a_program_with_the_arguments_of_its_shell() {
    let folder = tempfile::tempdir().unwrap();
    let driver = begin(&folder);
    for (shell, arguments) in [
        ("sh", json!(["-e", "/__w/_temp/s.sh"])),
        ("bash", json!(["--noprofile", "--norc", "-e", "-o", "pipefail", "/__w/_temp/s.sh"])),
    ] {
        let call = driver.run_program(&Program::script(shell, "/__w/_temp/s.sh")).unwrap();
        assert_eq!(
            input(&call),
            json!({
                "command": "run_script_step", "responseFile": call.files.response, "state": null,
                "args": {
                    "entryPoint": shell, "entryPointArgs": arguments, "prependPath": [],
                    "workingDirectory": "/__w/demo/demo",
                    "environmentVariables": environment(&call, &json!({})),
                },
            })
        );
    }
}

#[test]
fn a_program_may_have_a_directory_and_replace_variables() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::new("true", "").within("/tmp").set("A", "b c").set("GITHUB_ENV", "x");
    let call = begin(&folder).run_program(&program).unwrap();
    let args = &input(&call)["args"];
    assert_eq!(args["entryPointArgs"], json!([""]));
    assert_eq!(args["workingDirectory"], "/tmp");
    let own = json!({"A": "b c", "GITHUB_ENV": "x"});
    assert_eq!(args["environmentVariables"], environment(&call, &own));
}

#[test]
fn state_variables_and_path_reach_later_calls() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = begin(&folder);
    let prepared = driver.prepare_json(&json!({}), &json!([])).unwrap();
    let state = json!({"jobPod": "p"});
    end(&mut driver, &prepared, &json!({"state": state}), &[]);
    let step = driver.run_program(&Program::new("true", "x")).unwrap();
    assert_eq!(input(&step)["state"], state);
    let files = [(FileCommand::SetEnv, "E=a step\n"), (FileCommand::AddPath, "/one\n/two\n")];
    // An answer without a state changes none.
    end(&mut driver, &step, &json!({}), &files);

    let call = driver.run_program(&Program::new("true", "x").set("F", "f")).unwrap();
    let next = input(&call);
    assert_eq!(next["state"], state);
    assert_eq!(next["args"]["prependPath"], json!(["/two", "/one"]));
    let own = json!({"E": "a step", "F": "f"});
    assert_eq!(next["args"]["environmentVariables"], environment(&call, &own));

    let cleanup = driver.finish().unwrap();
    assert_eq!(
        input(&cleanup),
        json!({
            "command": "cleanup_job", "responseFile": cleanup.files.response, "args": {},
            "state": state,
        })
    );
}
