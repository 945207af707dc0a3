//! A job with a job container, step after step, as the runner drives its hook.

use fake_runner::layout::{FileCommand, guid};
use fake_runner::runner::PrepareError;
use fake_runner::{Driver, Prepared, Program, Variables};
use serde_json::{Value, json};

use crate::hook::Call;
use crate::outcome::Outcome;
use crate::runner::RunnerPod;
use crate::work::WORK;

/// A job of a runner pod.
#[derive(Debug)]
pub struct JobRun<'a> {
    runner: &'a RunnerPod,
    driver: Driver,
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

impl RunnerPod {
    /// A script as `run:` with this shell, `sh` or `bash`, has it.
    pub fn script_program(&self, shell: &str, script: &str) -> Program {
        let name = guid().unwrap();
        self.write(&format!("{WORK}/_temp/{name}.sh"), script);
        Program::script(shell, &format!("/__w/_temp/{name}.sh"))
    }
}

impl<'a> JobRun<'a> {
    /// A job that has not begun.
    pub fn of(runner: &'a RunnerPod) -> Self {
        Self { runner, driver: Driver::begin(runner.runner(), Variables::default()) }
    }

    /// A job in a container of [`IMAGE`], prepared.
    pub fn start(runner: &'a RunnerPod) -> Self {
        let mut job = Self::of(runner);
        job.prepare(&job_container(IMAGE, &json!({})), &json!([])).assert_code(0);
        job
    }

    /// The call prepare_job.
    pub fn prepare_call(&self, container: &Value, services: &Value) -> Call<'a> {
        self.call(self.driver.prepare_json(container, services))
    }

    /// Runs prepare_job.
    pub fn prepare(&mut self, container: &Value, services: &Value) -> Outcome {
        let outcome = self.prepare_call(container, services).run();
        self.driver.take(&outcome.read_back);
        outcome
    }

    /// The call run_script_step.
    pub fn step_call(&self, program: &Program) -> Call<'a> {
        self.call(self.driver.run_program(program))
    }

    /// Runs a program to its end.
    pub fn run_program(&mut self, program: &Program) -> Outcome {
        let outcome = self.step_call(program).run();
        self.driver.take(&outcome.read_back);
        outcome
    }

    /// Runs a script with sh to its end.
    pub fn run(&mut self, script: &str) -> Outcome {
        self.run_program(&self.runner.script_program("sh", script))
    }

    /// Runs cleanup_job.
    pub fn clean_up(&self) -> Outcome {
        self.call(self.driver.finish()).run()
    }

    /// The call, whose environment names the step's files whatever the command is.
    fn call(&self, prepared: Result<Prepared, PrepareError>) -> Call<'a> {
        let mut call = Call::new(self.runner, prepared.unwrap());
        for command in FileCommand::ALL {
            let file = call.command_file(command);
            call = call.set(command.variable(), &file);
        }
        call
    }
}
