//! hookd is fed what a job can make it read, and stays small: an out-of-memory kill of the sidecar
//! costs the job its runner. The daemon's service runs in a process of its own, which is asked through
//! its socket; what it has needed at most is read from the kernel at the end.
//!
//! `HOOKD_MEMORY_INPUTS` sets the number of inputs.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use futures::StreamExt;
use hookd::config::Config;
use hookd::hooks::Context;
use hookd::rpc::{LARGEST_CALL, Service, listener};
use hookd_api::v1;
use hookd_api::v1::hook_service_client::HookServiceClient;
use hookd_api::v1::hook_service_server::HookServiceServer;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

use hostile::Chance;

/// What hookd may need, a debug build included.
const MOST: u64 = 64 << 20;
/// Inputs unless the environment says how many.
const INPUTS: usize = 10_000;
/// Bytes of an input that is not made to be heavy: many are to be fed.
const ORDINARY: usize = 1 << 10;
/// Calls at the same time: a job has ten hooks at most.
const AT_ONCE: usize = 10;
/// Directory in which the process of the daemon finds its work.
const DIRECTORY: &str = "HOOKD_MEMORY_DIRECTORY";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// An API server that knows the runner's pod and refuses to make anything.
fn answer(request: &Request<kube::client::Body>) -> (u16, Value) {
    let path = request.uri().path();
    match request.method().as_str() {
        _ if path.ends_with("selfsubjectrulesreviews") => {
            let status = json!({"incomplete": true, "resourceRules": [], "nonResourceRules": []});
            (
                201,
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                "metadata": {}, "spec": {}, "status": status}),
            )
        }
        _ if path == "/version" => (
            200,
            json!({"major": "1", "minor": "30", "gitVersion": "v1.30.0",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
            "platform": ""}),
        ),
        "GET" if path.ends_with("/pods/r") => (
            200,
            json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "r", "uid": "u"},
            "spec": {"containers": [{"name": "runner", "image": "r", "volumeMounts": [
                {"name": "w", "mountPath": "/w"}]}],
                "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "c"}}]}}),
        ),
        "POST" => (
            422,
            json!({"kind": "Status", "status": "Failure", "code": 422,
            "reason": "Invalid", "message": "refused by the test"}),
        ),
        _ => {
            (404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}))
        }
    }
}

/// The process of the daemon; runs until it is killed.
#[test]
#[ignore = "the daemon of the other test"]
fn daemon() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let service = tower::service_fn(|request: Request<kube::client::Body>| {
        let (code, body) = answer(&request);
        std::future::ready(
            Response::builder().status(code).body(Full::<Bytes>::from(body.to_string())),
        )
    });
    let work = directory.join("work");
    let arguments = ["hookd", "--pod-name", "r", "--registry-host", "localhost:1", "--work-dir"];
    let arguments = arguments.map(Into::into).into_iter().chain([work.into_os_string()]);
    let arguments = arguments.chain(["--socket-dir".into(), directory.clone().into_os_string()]);
    let config = Cli::parse_from(arguments).config;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let context = Context::new(config, kube::Client::new(service, "ns"), "ns".to_owned());
        let listener = listener::bind(&directory.join("hookd.sock")).unwrap();
        let service = HookServiceServer::new(Service::new(Arc::new(context)))
            .max_decoding_message_size(LARGEST_CALL);
        let own = rustix::process::getuid().as_raw();
        let connections = listener::connections(listener, vec![own]);
        hookd::rpc::server().add_service(service).serve_with_incoming(connections).await.unwrap();
    });
}

/// The daemon's process, killed at the end.
struct Daemon {
    process: Child,
    directory: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            // As the supervisor starts it.
            .envs(hookd::supervisor::ALLOCATOR)
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    async fn client(&self) -> HookServiceClient<Channel> {
        let socket = self.directory.path().join("hookd.sock");
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let socket = socket.clone();
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            match Endpoint::from_static("http://hookd").connect_with_connector(connector).await {
                Ok(channel) => return HookServiceClient::new(channel),
                Err(error) => assert!(Instant::now() < until, "no daemon: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The most memory that the process has had, in bytes.
    fn peak(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }
}

/// A container step that says all that it can.
fn step(
    number: usize,
    container: v1::ContainerSpec,
    cursor: Vec<u8>,
) -> v1::RunContainerStepRequest {
    let resume = (!cursor.is_empty()).then(|| v1::Resume { cursor, ..v1::Resume::default() });
    let start = v1::RunContainerStepStart {
        step_id: format!("s{number}"),
        container: Some(container),
        resume,
        auto_ack: true,
    };
    v1::RunContainerStepRequest {
        message: Some(v1::run_container_step_request::Message::Start(start)),
    }
}

/// Runs the call to its end, which is a refusal.
async fn run(mut client: HookServiceClient<Channel>, request: v1::RunContainerStepRequest) {
    let called = client.run_container_step(futures::stream::iter([request])).await;
    let Ok(answer) = called else { return };
    let mut events = answer.into_inner();
    while let Ok(Some(_)) = events.message().await {}
}

/// An action beneath the work directory, with this definition and these rules.
fn action(work: &Path, number: usize, definition: &[u8], rules: &[u8]) -> String {
    let directory = work.join(format!("_actions/{}", number % (4 * AT_ONCE)));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("action.yml"), definition).unwrap();
    std::fs::write(directory.join(".dockerignore"), rules).unwrap();
    std::fs::write(directory.join("Dockerfile"), "FROM x\n").unwrap();
    directory.join("Dockerfile").display().to_string()
}

fn variables(number: usize, bytes: usize) -> BTreeMap<String, String> {
    (0..number).map(|number| (format!("V{number}"), "x".repeat(bytes))).collect()
}

/// Aliases that stand for a billion words.
fn bomb() -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
    }
    text + "runs: {args: *a9}\n"
}

/// Inputs that were made to need much.
fn heavy(work: &Path, number: usize) -> v1::RunContainerStepRequest {
    let pieces = || vec!["\"a".to_owned(), "b\"".to_owned()];
    let image = || v1::ContainerSpec { image: "x".into(), ..v1::ContainerSpec::default() };
    let built = |definition: &str| v1::ContainerSpec {
        dockerfile: action(work, number, definition.as_bytes(), b"*\n"),
        entry_point_args: pieces(),
        ..v1::ContainerSpec::default()
    };
    let environment = |all| v1::ContainerSpec { environment_variables: all, ..image() };
    let strings = format!("s: &s {}\nruns: {{args: [{}]}}", "x".repeat(60_000), "*s,".repeat(200));
    let container = match number % 10 {
        0 => environment(variables(24, 1 << 20)),
        1 => environment(variables(30, 120_000)),
        2 => environment(variables(9, 100_000)),
        3 => environment(variables(150_000, 8)),
        4 => built(&bomb()),
        5 => built(&strings),
        6 => built(&format!("runs: {{args: {}", "[".repeat(200_000))),
        7 => v1::ContainerSpec { entry_point_args: vec!["x".repeat(4); 400_000], ..image() },
        8 => v1::ContainerSpec {
            entry_point_args: pieces(),
            environment_variables: [("INPUT_A".to_owned(), "y".repeat(100_000))].into(),
            ..built(&format!("runs: {{args: [\"{}\"]}}", "${{inputs.a}}".repeat(15_000)))
        },
        _ => v1::ContainerSpec { create_options: "--label a=b ".repeat(80_000), ..image() },
    };
    step(number, container, Vec::new())
}

/// Inputs made by chance.
fn chosen(work: &Path, number: usize, chance: &mut Chance) -> v1::RunContainerStepRequest {
    let yaml = ["runs: {args: [a, &b c, *b]}", "runs:\n  args:\n  - ${{ inputs.x }}\n"];
    let rules = ["*\n!a/**\n", "[a-c]/**/x\n"];
    let cursors = [
        r#"{"build":{"attempt":20000000,"context_sent":false,"token":null,"log":{"timestamp":null,
        "nth":0,"bytes":0,"line_ended":false}},"image":null,"run":null,"started":null}"#,
        r#"{"build":null,"image":{"reference":"r@sha256:0","digest":"sha256:0"},"run":null}"#,
    ];
    let words = ["[", "]", "{", "}", "&a ", "*a", "**", "!", "\"", ":", "9", "null"];
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut input = |seeds: &[&str]| {
        let mut input = chance.input(seeds, &words);
        input.truncate(ORDINARY);
        input
    };
    let (definition, rules) = (input(&yaml), input(&rules));
    let cursor = if number.is_multiple_of(2) { input(&cursors) } else { Vec::new() };
    let container = v1::ContainerSpec {
        dockerfile: action(work, number, &definition, &rules),
        entry_point_args: lossy(input(&["\"a b\" c"])).split(' ').map(Into::into).collect(),
        create_options: lossy(input(&["--cpus 1"])),
        environment_variables: [("INPUT_X".to_owned(), lossy(input(&["x"])))].into(),
        ..v1::ContainerSpec::default()
    };
    step(number, container, cursor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hookd_stays_below_64_mb_whatever_a_job_lets_it_read() {
    let inputs = std::env::var("HOOKD_MEMORY_INPUTS").ok().and_then(|text| text.parse().ok());
    let inputs: usize = inputs.unwrap_or(INPUTS);
    let daemon = Daemon::start();
    let (client, work) = (daemon.client().await, daemon.work());
    let before = daemon.peak();
    let mut chance = Chance::new(1);
    // Each hundredth is a heavy one; the first hundred are, so that ten of them meet.
    let calls = (0..inputs).map(|number| {
        let request = if number < 100 || number % 100 == 0 {
            heavy(&work, number)
        } else {
            chosen(&work, number, &mut chance)
        };
        run(client.clone(), request)
    });
    futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect::<()>().await;
    let peak = daemon.peak();
    eprintln!("{inputs} inputs: {} KiB at most, {} before", peak >> 10, before >> 10);
    assert!(peak < MOST, "{} KiB", peak >> 10);
    // It lives, and is the process that was started.
    daemon.client().await.get_status(v1::GetStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_caller_is_told_which_limit_its_call_exceeds() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let request = step(
        0,
        v1::ContainerSpec {
            image: "x".into(),
            environment_variables: variables(24, 1 << 20),
            ..v1::ContainerSpec::default()
        },
        Vec::new(),
    );
    let refused = client.run_container_step(futures::stream::iter([request])).await.unwrap_err();
    let details = tonic_types::StatusExt::get_details_error_info(&refused).unwrap();
    assert_eq!(details.reason, "INVALID_INPUT", "{refused}");
    assert!(refused.message().contains("more than 4 MiB"), "{refused}");
}
