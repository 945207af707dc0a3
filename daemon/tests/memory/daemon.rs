//! The process of the daemon: its service, with a cluster that refuses everything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use hookd::app;
use hookd::config::Config;
use hookd::context::Context;
use hookd::rpc::listener;
use hookd_api::transport::HOOKD_SOCKET;
use hookd_api::v1::hook_service_client::HookServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::refusing_cluster;

/// Directory in which the process finds its work.
const DIRECTORY: &str = "HOOKD_MEMORY_DIRECTORY";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// The process of the daemon; runs until it is killed.
#[test]
#[ignore = "the daemon of the other test"]
fn daemon() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let work = directory.join("work");
    let template = directory.join("template.yaml");
    let arguments = ["hookd", "--pod-name", "r", "--registry-host", "localhost:1"];
    let arguments = arguments.map(OsString::from).into_iter().chain([
        "--work-dir".into(),
        work.into(),
        "--socket-dir".into(),
        directory.clone().into(),
        "--hook-template".into(),
        template.into(),
    ]);
    let config = Cli::parse_from(arguments).config;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let context = Context::new(config, refusing_cluster::client(), "ns".to_owned());
        let listener = listener::bind(&directory.join(HOOKD_SOCKET)).unwrap();
        let own = rustix::process::getuid().as_raw();
        let connections = listener::connections(listener, vec![own]);
        let server = app::router(&Arc::new(context)).await.unwrap();
        server.serve_with_incoming(connections).await.unwrap();
    });
}

/// The daemon's process, killed at the end.
pub(crate) struct Daemon {
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
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A daemon that asks this registry without TLS.
    pub(crate) fn start_with(registry: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        std::fs::write(directory.path().join("template.yaml"), "spec: {}\n").unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon::daemon", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env("HOOKD_INSECURE_REGISTRIES", registry)
            // Images without a registry are Docker Hub's, which no test asks.
            .env("HOOKD_REGISTRY_MAP", "index.docker.io=localhost:1")
            // As the supervisor starts it.
            .envs(hookd::supervisor::ALLOCATOR)
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The administrator's template.
    pub(crate) fn template(&self) -> PathBuf {
        self.directory.path().join("template.yaml")
    }

    pub(crate) async fn client(&self) -> HookServiceClient<Channel> {
        let socket = self.directory.path().join(HOOKD_SOCKET);
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

    /// What its inputs have needed at most, in bytes: all memory but the pages of its program, of which
    /// a debug build has several times as many as a release build. The kernel takes those back, too,
    /// before it kills a container.
    pub(crate) fn need(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        field("VmHWM:").saturating_sub(field("RssFile:"))
    }
}
