//! The clients in `examples/` and the commands of its README, against hookd's API on a socket.
//! `.ci/examples` makes the programs and names them in the environment.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use clap::Parser;
use hookd::app;
use hookd::config::Config;
use hookd::context::Context;
use hookd::rpc::listener;
use hookd_api::transport::HOOKD_SOCKET;
use rules::blocks::{ShellBlock, run_by};
use serde_json::Value;

mod refusing_cluster;

/// A Dockerfile that does not exist.
const NO_DOCKERFILE: &str =
    r#"{"start": {"step_id": "example", "auto_ack": true, "dockerfile": "/w/none/Dockerfile"}}"#;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// The root of the repository. Checkouts share their build directory: the path is that of the run, not
/// of the build.
fn repository() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

/// hookd's API on a socket, served until the end of the test.
struct Served {
    directory: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let work = work.to_str().unwrap();
        let arguments = ["hookd", "--pod-name", "r", "--registry-host", "localhost:1"];
        let bounds = ["--work-dir", work, "--api-timeout", "5"];
        let config = Cli::parse_from([&arguments[..], &bounds].concat()).config;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let socket = directory.path().join(HOOKD_SOCKET);
        runtime.block_on(async {
            let context = Context::new(config, refusing_cluster::client(), "ns".to_owned());
            let server = app::router(&Arc::new(context)).await.unwrap();
            let own = rustix::process::getuid().as_raw();
            let connections = listener::connections(listener::bind(&socket).unwrap(), vec![own]);
            tokio::spawn(server.serve_with_incoming(connections));
        });
        Self { directory, _runtime: runtime }
    }

    /// Runs the program that the environment names, in the socket's directory.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let path = std::env::var_os(program)
            .unwrap_or_else(|| panic!("{program} is not set: run `make test-examples`"));
        let mut command = Command::new(path);
        command.args(arguments).current_dir(self.directory.path());
        command.env("HOOKD_SOCKET", HOOKD_SOCKET).output().unwrap()
    }

    fn python(&self, arguments: &[&str]) -> Value {
        let client = repository().join("examples/python/client.py");
        let arguments = [&[client.to_str().unwrap()], arguments].concat();
        let output = self.run("HOOKD_EXAMPLES_PYTHON", &arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

/// A directory with a Dockerfile in the work directory.
fn context(served: &Served) -> String {
    let directory = served.directory.path().join("work/app");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\n").unwrap();
    directory.to_str().unwrap().to_owned()
}

/// hookd refuses a build with such an argument, and another one for the cluster only.
fn assert_builds(build: impl Fn(&[&str]) -> Output) {
    for (argument, expected) in
        [("A B=1", "\nreason: INVALID_INPUT\nremedy: "), ("A=1", "refused by the test")]
    {
        let failed = build(&[argument]);
        assert_eq!(failed.status.code(), Some(1), "{failed:?}");
        assert!(text(&failed.stderr).contains(expected), "{failed:?}");
        assert!(failed.stdout.is_empty(), "{failed:?}");
    }
}

#[test]
fn the_python_client_builds_a_directory() {
    let served = Served::start();
    let directory = context(&served);
    let script = repository().join("examples/python/build.py");
    let command = [script.to_str().unwrap(), &directory];
    assert_builds(|more| served.run("HOOKD_EXAMPLES_PYTHON", &[&command[..], more].concat()));
}

#[test]
fn the_go_client_builds_a_directory() {
    let served = Served::start();
    let directory = context(&served);
    let command = ["build", &directory];
    assert_builds(|more| served.run("HOOKD_EXAMPLES_GO", &[&command[..], more].concat()));
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_python_client_calls_and_streams() {
    let served = Served::start();
    let services = served.python(&["services"])["services"].to_string();
    assert!(services.contains("hookd.v1.HookService"), "{services}");
    let status = served.python(&["call", "hookd.v1.HookService/GetStatus", "{}"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"), "{status}");
    let error = served.python(&["stream", "hookd.v1.HookService/BuildImage", NO_DOCKERFILE]);
    assert_eq!(error["error"]["reason"], "CONTEXT_INVALID", "{error}");
    assert!(error["error"]["metadata"]["remedy"].is_string(), "{error}");
}

#[test]
fn the_go_client_calls_and_streams() {
    let served = Served::start();
    let go = |arguments: &[&str]| served.run("HOOKD_EXAMPLES_GO", arguments);
    let services = go(&["services"]);
    assert!(text(&services.stdout).contains("hookd.v1.HookService\n"), "{services:?}");
    let status = go(&["call", "hookd.v1.HookService/GetStatus", "{}"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"), "{status}");
    let failed = go(&["stream", "hookd.v1.HookService/BuildImage", NO_DOCKERFILE]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let said = text(&failed.stderr);
    assert!(said.contains("\nreason: CONTEXT_INVALID\nremedy: "), "{said}");
}

/// Where the README's commands find hookd's socket and the work directory.
const SOCKET: &str = "/run/hookd/hookd.sock";
const WORK: &str = "/home/runner/_work";
/// How the README names the Python that has the client's packages.
const PYTHON: &str = "~/hookd-client/bin/python";

impl Served {
    /// Runs a command of the README as it stands there, from the root of the repository.
    fn follow(&self, command: &str) -> Output {
        let program = |name| std::env::var(name).expect("run `make test-examples`");
        let here = self.directory.path();
        let (socket, work) = (here.join(HOOKD_SOCKET), here.join("work"));
        let grpcurl = PathBuf::from(program("HOOKD_EXAMPLES_GRPCURL"));
        let path = std::env::var("PATH").unwrap();
        let command = command
            .replace(PYTHON, &program("HOOKD_EXAMPLES_PYTHON"))
            .replace(SOCKET, socket.to_str().unwrap())
            .replace(WORK, work.to_str().unwrap());
        Command::new("timeout")
            .args(["300", "bash", "-euc", &command])
            .current_dir(repository())
            .env("PATH", format!("{}:{path}", grpcurl.parent().unwrap().display()))
            .env("HOOKD_SOCKET", &socket)
            // As `.ci/examples` has compiled the client.
            .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
            .output()
            .unwrap()
    }
}

/// Each message must be valid: hookd does what it is asked for, or the cluster of this test refuses it.
fn assert_is_answered(command: &str, output: &Output) {
    let said = text(&output.stderr);
    // grpcurl knows no `ErrorInfo`: the code and the message have to tell. The clients print the reason.
    let is_answered = output.status.success()
        || said.contains("google.rpc.ErrorInfo")
        || said.contains("\nreason: ");
    let invalid = ["Code: InvalidArgument", "reason: INVALID_INPUT", "reason: CONTEXT_INVALID"];
    let is_invalid = invalid.iter().any(|part| said.contains(part));
    let is_valid = !is_invalid || said.contains("refused by the test");
    assert!(is_answered && is_valid, "{command}: {output:?}");
}

#[test]
fn every_command_of_the_readme_is_taken_by_hookd() {
    let served = Served::start();
    let app = served.directory.path().join("work/app/app");
    std::fs::create_dir_all(app.join("docker")).unwrap();
    for name in ["Dockerfile", "docker/Dockerfile"] {
        std::fs::write(app.join(name), "FROM scratch AS release\nARG VERSION\n").unwrap();
    }
    let blocks = run_by("daemon/tests/examples.rs");
    assert!(blocks.iter().all(|block| block.document == "examples/README.md"), "{blocks:?}");
    let commands: Vec<_> = blocks.iter().flat_map(ShellBlock::commands).collect();
    for method in [
        "PrepareJob",
        "RunScriptStep",
        "RunContainerStep",
        "BuildImage",
        "CancelStep",
        "CleanupJob",
        "GetStatus",
    ] {
        let named = format!("hookd.v1.HookService/{method}");
        let is_called = commands.iter().any(|command| command.contains(&named));
        assert!(is_called, "the README does not call {method}");
    }
    for command in &commands {
        let output = served.follow(command);
        assert_is_answered(command, &output);
        for (part, expected) in [
            (" list", "hookd.v1.HookService"),
            (" services", "hookd.v1.HookService"),
            (" describe ", "auto_ack"),
            ("/GetStatus", "version"),
            ("/Check", "SERVING"),
        ] {
            let said = text(&output.stdout);
            assert!(!command.contains(part) || said.contains(expected), "{command}: {output:?}");
        }
    }
}
