//! A daemon and a Kubernetes that are older than the hookd that looks at them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use e2e::faults::Gateway;
use hookd_api::transport::HOOKD_SOCKET;
use hookd_api::v1::hook_service_server::{HookService, HookServiceServer};
use hookd_api::v1::{
    BuildImageRequest, BuildImageResponse, CancelStepRequest, CancelStepResponse,
    CleanupJobRequest, CleanupJobResponse, GetStatusRequest, GetStatusResponse, PrepareJobRequest,
    PrepareJobResponse, RunContainerStepRequest, RunContainerStepResponse, RunScriptStepRequest,
    RunScriptStepResponse,
};
use tokio_stream::Empty;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming};

use test_support::{RunnerPod, Setup};

use super::is_well;
use super::report::{Report, Said};

/// The version that the daemon says.
const OLDER: &str = "0.0.9";

#[test]
fn a_daemon_of_another_version_is_named_with_both_versions() {
    let runner = RunnerPod::start();
    is_well(&runner);
    let older = Older::in_place_of_the_daemon(&runner);
    let report = Report::of(&runner, &[]);
    let own = report.json["version"].as_str().unwrap();
    let said = Said {
        found: &format!("hookd is {own}; the daemon that runs is {OLDER}"),
        cause: "The daemon of another image serves HOOKD_SOCKET_DIR",
        remedy: "Give each runner pod an emptyDir of its own at HOOKD_SOCKET_DIR",
    };
    report.assert_says("versions", "failure", &said);
    // It answers all the same.
    assert_eq!(report.check("daemon")["status"], "ok");
    report.assert_only_failed(&["versions"]);
    drop(older);
    is_well(&runner);
}

#[test]
fn an_old_kubernetes_is_named_with_the_one_that_is_needed() {
    let gateway = Gateway::start();
    let runner = RunnerPod::with(&gateway.before(Setup::default()));
    is_well(&runner);
    gateway.say_version("v1.29.4");
    let report = Report::of(&runner, &[]);
    let said = Said {
        found: "the API server is v1.29.4, older than 1.30",
        cause: "hookd is a native sidecar and uses what later versions have",
        remedy: "Upgrade the cluster to Kubernetes 1.30 or later",
    };
    report.assert_says("api-server", "failure", &said);
    report.assert_only_failed(&["api-server"]);
    // The oldest one that will do has no image volumes.
    gateway.say_version("v1.30.0");
    let report = Report::of(&runner, &[]);
    assert_eq!(report.check("api-server")["status"], "ok");
    let said = Said {
        found: "the API server is v1.30.0: an init container copies stepd into each job pod",
        cause: "Image volumes are on by default from Kubernetes 1.35 on",
        remedy: "Upgrade to Kubernetes 1.35",
    };
    report.assert_says("image-volumes", "warning", &said);
    report.assert_only_failed(&[]);
}

/// A daemon at the place of the runner's own, which says another version and nothing else; until this is
/// dropped.
struct Older {
    socket: PathBuf,
    _ends: DropGuard,
}

impl Older {
    fn in_place_of_the_daemon(runner: &RunnerPod) -> Self {
        let directory = runner.socket_directory();
        let socket = directory.join(HOOKD_SOCKET);
        fs::rename(&socket, aside(&socket)).unwrap();
        // The path is too long for a socket.
        let opened = fs::File::open(directory).unwrap();
        let short = format!("/proc/self/fd/{}/{HOOKD_SOCKET}", opened.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        listener.set_nonblocking(true).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server =
                tonic::transport::Server::builder().add_service(HookServiceServer::new(Stub));
            let incoming = UnixListenerStream::new(listener);
            server.serve_with_incoming_shutdown(incoming, stopped.cancelled()).await.unwrap();
        };
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve);
        });
        Self { socket, _ends: stop.drop_guard() }
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        let _ = fs::rename(aside(&self.socket), &self.socket);
    }
}

/// Where the daemon's own socket is meanwhile.
fn aside(socket: &Path) -> PathBuf {
    socket.with_extension("aside")
}

struct Stub;

type Answer<T> = Result<Response<T>, Status>;
type Nothing<T> = Empty<Result<T, Status>>;

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("it says its status alone"))
}

#[tonic::async_trait]
impl HookService for Stub {
    type PrepareJobStream = Nothing<PrepareJobResponse>;
    type RunScriptStepStream = Nothing<RunScriptStepResponse>;
    type RunContainerStepStream = Nothing<RunContainerStepResponse>;
    type BuildImageStream = Nothing<BuildImageResponse>;

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let version = OLDER.to_owned();
        Ok(Response::new(GetStatusResponse { version, ..GetStatusResponse::default() }))
    }

    async fn prepare_job(
        &self,
        _: Request<Streaming<PrepareJobRequest>>,
    ) -> Answer<Self::PrepareJobStream> {
        unasked()
    }

    async fn run_script_step(
        &self,
        _: Request<Streaming<RunScriptStepRequest>>,
    ) -> Answer<Self::RunScriptStepStream> {
        unasked()
    }

    async fn run_container_step(
        &self,
        _: Request<Streaming<RunContainerStepRequest>>,
    ) -> Answer<Self::RunContainerStepStream> {
        unasked()
    }

    async fn build_image(
        &self,
        _: Request<Streaming<BuildImageRequest>>,
    ) -> Answer<Self::BuildImageStream> {
        unasked()
    }

    async fn cancel_step(&self, _: Request<CancelStepRequest>) -> Answer<CancelStepResponse> {
        unasked()
    }

    async fn cleanup_job(&self, _: Request<CleanupJobRequest>) -> Answer<CleanupJobResponse> {
        unasked()
    }
}
