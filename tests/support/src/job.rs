//! A job with a job container, step after step, as the runner drives its hook.

use std::collections::BTreeMap;

use fake_runner::layout::{FileCommand, guid};
use serde_json::{Value, json};

use crate::hook::Call;
use crate::outcome::Outcome;
use crate::runner::RunnerPod;
use crate::work::WORK;

/// What the runner keeps between the steps of a job.
#[derive(Debug)]
pub struct JobRun<'a> {
    runner: &'a RunnerPod,
    /// What the hook last answered.
    state: Value,
    /// `env:` of the job, and what steps wrote to GITHUB_ENV.
    pub environment: BTreeMap<String, String>,
    /// What steps wrote to GITHUB_PATH, the newest first.
    path: Vec<String>,
}

/// A step that runs a program in the job container.
#[derive(Clone, Debug)]
pub struct Program {
    /// As the runner sends it.
    pub entry_point: String,
    /// As the runner splits it.
    pub arguments: Vec<String>,
    /// In the container.
    pub directory: String,
    /// `env:` of the step.
    pub environment: Vec<(String, String)>,
}

/// The job container of most tests.
pub const IMAGE: &str = "debian:bookworm-slim";

/// A container as the runner describes it, with what is given in place of the defaults.
pub fn container(image: &str, fields: &Value) -> Value {
    let mut container = json!({
        "image": image, "dockerfile": null, "entryPointArgs": [], "entryPoint": null,
        "workingDirectory": null, "createOptions": null, "registry": null,
        "environmentVariables": {}, "portMappings": [], "systemMountVolumes": [],
        "userMountVolumes": [],
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        container[name] = value.clone();
    }
    container
}

/// The job container: a container with the runner's mounts.
pub fn job_container(image: &str, fields: &Value) -> Value {
    let mut job = container(image, fields);
    let mount = |source: &str, target: &str, read_only: bool| {
        json!({"userProvidedValue": null, "sourceVolumePath": source, "targetVolumePath": target,
            "readOnly": read_only})
    };
    let work = |name: &str| format!("{WORK}/{name}");
    job["workingDirectory"] = "/__w/demo/demo".into();
    job["environmentVariables"]["HOME"] = "/github/home".into();
    job["systemMountVolumes"] = json!([
        mount("/var/run/docker.sock", "/var/run/docker.sock", false),
        mount(WORK, "/__w", false),
        mount("/home/runner/externals", "/__e", true),
        mount(&work("_temp"), "/__w/_temp", false),
        mount(&work("_actions"), "/__w/_actions", false),
        mount(&work("_tool"), "/__w/_tool", false),
        mount(&work("_temp/_github_home"), "/github/home", false),
        mount(&work("_temp/_github_workflow"), "/github/workflow", false),
    ]);
    job
}

impl Program {
    /// A script as `run:` with a shell of this name has it.
    pub fn script(runner: &RunnerPod, shell: &str, script: &str) -> Self {
        let name = guid().unwrap();
        runner.write(&format!("{WORK}/_temp/{name}.sh"), script);
        let file = format!("/__w/_temp/{name}.sh");
        let line = match shell {
            "bash" => format!("--noprofile --norc -e -o pipefail {file}"),
            _ => format!("-e {file}"),
        };
        Self::new(shell, &line)
    }

    /// A program with a line of arguments.
    pub fn new(program: &str, line: &str) -> Self {
        Self {
            entry_point: program.to_owned(),
            arguments: line.split(' ').map(str::to_owned).collect(),
            directory: "/__w/demo/demo".to_owned(),
            environment: Vec::new(),
        }
    }

    /// In another directory.
    pub fn within(mut self, directory: &str) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// With a variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl<'a> JobRun<'a> {
    /// A job that has not begun.
    pub fn of(runner: &'a RunnerPod) -> Self {
        Self { runner, state: Value::Null, environment: BTreeMap::new(), path: Vec::new() }
    }

    /// A job in a container of [`IMAGE`], prepared.
    pub fn start(runner: &'a RunnerPod) -> Self {
        let mut job = Self::of(runner);
        job.prepare(&job_container(IMAGE, &json!({})), &json!([])).assert_code(0);
        job
    }

    /// The call prepare_job.
    pub fn prepare_call(&self, container: &Value, services: &Value) -> Call<'a> {
        self.call("prepare_job", &json!({"container": container, "services": services}))
    }

    /// Runs prepare_job.
    pub fn prepare(&mut self, container: &Value, services: &Value) -> Outcome {
        let outcome = self.prepare_call(container, services).run();
        self.take(&outcome);
        outcome
    }

    /// The call run_script_step.
    pub fn step_call(&self, program: &Program) -> Call<'a> {
        self.call_with_files("run_script_step", |environment| {
            environment.extend(self.environment.clone());
            environment.extend(program.environment.iter().cloned());
            json!({
                "entryPointArgs": program.arguments, "entryPoint": program.entry_point,
                "environmentVariables": environment, "prependPath": self.path,
                "workingDirectory": program.directory,
            })
        })
    }

    /// Runs a program to its end.
    pub fn run_program(&mut self, program: &Program) -> Outcome {
        let outcome = self.step_call(program).run();
        self.take(&outcome);
        outcome
    }

    /// Runs a script with sh to its end.
    pub fn run(&mut self, script: &str) -> Outcome {
        self.run_program(&Program::script(self.runner, "sh", script))
    }

    /// Runs cleanup_job.
    pub fn clean_up(&self) -> Outcome {
        self.call("cleanup_job", &json!({})).run()
    }

    fn call(&self, command: &str, args: &Value) -> Call<'a> {
        self.call_with_files(command, |_| args.clone())
    }

    /// A call with the files that the runner makes before each step.
    fn call_with_files(
        &self,
        command: &str,
        args: impl FnOnce(&mut BTreeMap<String, String>) -> Value,
    ) -> Call<'a> {
        let mut call = self.runner.cleanup();
        let mut environment = BTreeMap::from([
            ("GITHUB_WORKSPACE".to_owned(), "/__w/demo/demo".to_owned()),
            ("RUNNER_TEMP".to_owned(), "/__w/_temp".to_owned()),
        ]);
        for command in FileCommand::ALL {
            let file = call.command_file(command);
            environment.insert(command.variable().to_owned(), file.replace(WORK, "/__w"));
            // The hook's own environment has the runner's paths.
            call = call.set(command.variable(), &file);
        }
        let args = args(&mut environment);
        let (command, state) = (command.to_owned(), self.state.clone());
        call.edit(move |input| {
            input["command"] = command.into();
            input["args"] = args;
            input["state"] = state;
        })
    }

    /// What the runner does after a step.
    fn take(&mut self, outcome: &Outcome) {
        let read = &outcome.read_back;
        if let Some(state) = read.response.as_ref().and_then(|response| response.get("state")) {
            self.state = state.clone();
        }
        for (name, value) in read.env.iter() {
            self.environment.insert(name.to_owned(), value.to_owned());
        }
        for entry in &read.path {
            self.path.insert(0, entry.clone());
        }
    }
}
