//! Ephemeral containers of the runner pod: their making, and the agents in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::EphemeralContainer;
use kube::api::{Patch, PatchParams};
use rustix::fs::Mode;
use serde_json::json;

use crate::beneath::Tree;
use crate::blocking;
use crate::cluster::ContainerRef;
use crate::cluster::error::ClusterError;
use crate::cluster::pod::{self, ContainerState};
use crate::cluster::watch::PodWatch;
use crate::context::Context;
use crate::error::Failure;
use crate::install;
use crate::placement::error::PlacementError;
use crate::runner::job_volumes::{self, JobVolumes};
use crate::session::events::Session;
use crate::stepd::pods::AgentAddress;
use crate::stepd::socket::SocketDir;
use crate::work_volume::error::VolumeError;
use crate::work_volume::files;
use crate::workload::last_lines;
use crate::workload::start::{Awaited, started};

/// How long the log of a container that ended is asked for.
const LOG_LIMIT: Duration = Duration::from_secs(15);
/// A container that runs has listened for long by then.
const LISTENS: Duration = Duration::from_secs(10);

/// The volumes for jobs.
///
/// # Errors
/// What of the runner pod keeps jobs from running in it.
pub(super) async fn volumes(context: &Context) -> Result<&JobVolumes, Failure> {
    match &context.cluster_info().await?.runner.job_volumes {
        Some(Ok(volumes)) => {
            context.tools.get_or_try_init(|| install_tools(context)).await?;
            Ok(volumes)
        }
        Some(Err(error)) => Err(error.clone().into()),
        // Only a job that an earlier daemon has started comes here without them.
        None => {
            let path = context.config.agents_dir.join(job_volumes::JOB);
            Err(crate::runner::error::RunnerError::NoJobVolume { path }.into())
        }
    }
}

/// Puts stepd's program where containers find it.
async fn install_tools(context: &Context) -> Result<(), Failure> {
    let directory = context.config.agents_dir.join(job_volumes::TOOLS);
    blocking::run(blocking::DEADLINE, "Copying stepd", move || {
        install::stepd_into(&directory)
            .map_err(|error| VolumeError::new(error.to_string(), error.into_cause()).into())
    })
    .await?
}

/// What containers need before they start.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    /// Directories of agents: the kind, and the container's name.
    pub(super) agents: Vec<SocketDir>,
    /// Links in `/github`.
    pub(super) links: BTreeMap<String, String>,
    /// Directories of the work directory.
    pub(super) directories: Vec<PathBuf>,
}

impl Preparation {
    /// Does it; lines for the user.
    pub(super) async fn make(self, context: &Context) -> Result<Vec<String>, Failure> {
        let (agents_dir, work_dir) =
            (context.config.agents_dir.clone(), context.config.work_dir.clone());
        blocking::run(blocking::DEADLINE, "Preparing the volumes of the runner pod", move || {
            for SocketDir { root, name } in &self.agents {
                let made = open_to_all(root, name);
                made.map_err(|error| {
                    VolumeError::new(
                        format!("{} cannot be made", root.join(name).display()),
                        error.into(),
                    )
                })?;
            }
            let github = agents_dir.join(job_volumes::GITHUB);
            for (name, target) in &self.links {
                let linked = Tree::open(&github).and_then(|tree| tree.link(name, target));
                linked.map_err(|error| {
                    VolumeError::new(
                        format!("{} cannot be made", github.join(name).display()),
                        error.into(),
                    )
                })?;
            }
            let warnings = files::make_directories(&work_dir, &self.directories)?;
            files::open_home(&work_dir, &self.directories);
            Ok(warnings)
        })
        .await?
    }
}

/// A directory in which any user that the container may have can make its socket.
fn open_to_all(root: &Path, name: &str) -> Result<(), rustix::io::Errno> {
    let tree = Tree::open(root)?;
    tree.directory(Path::new(name), crate::beneath::Kept::Nothing)?;
    // Sticky: no other user of the container can move what stepd makes there.
    let all = Mode::RWXU | Mode::RWXG | Mode::RWXO | Mode::SVTX;
    tree.widen(Path::new(name), rustix::fs::FileType::Directory, all, false).map(drop)
}

/// Where the agent of a container is.
pub(super) fn address(context: &Context, kind: &str, container: &str) -> AgentAddress {
    let root = context.config.agents_dir.join(kind);
    AgentAddress {
        socket: Some(SocketDir { root, name: container.to_owned() }),
        ..AgentAddress::in_pod(&context.config.pod_name, container)
    }
}

/// Adds the containers to the runner pod; those that it has already stay as they are.
pub(super) async fn add(context: &Context, new: &[EphemeralContainer]) -> Result<(), Failure> {
    let (pods, name) = (context.cluster.pods(), &context.config.pod_name);
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": new}}));
    let params = PatchParams::default();
    let patched = context
        .cluster
        .retry()
        .attempt(|| pods.patch_ephemeral_containers(name, &params, &patch))
        .await;
    let action = || format!("add containers to pod {name}");
    patched.map(drop).map_err(|error| ClusterError::from_request(action(), error).into())
}

/// Waits until the container's agent listens.
///
/// # Errors
/// Why the container does not start.
pub(super) async fn listening(
    context: &Context,
    address: &AgentAddress,
    watch: &PodWatch,
    session: &mut Session,
) -> Result<(), Failure> {
    let Some(socket) = &address.socket else { return Ok(()) };
    let container = address.container.as_str();
    let awaited = Awaited { job: None, container, phase: Phase::RunPending };
    let mut starting = watch.clone();
    tokio::select! {
        biased;
        () = socket.listening() => return Ok(()),
        started = started(&context.cluster, &mut starting, awaited, session) => drop(started?),
    }
    // The kubelet is slower to tell than the socket to come: it comes no more.
    let mut watch = watch.clone();
    let ended = watch.until(|seen| {
        let state = seen.pod().map(|pod| pod::container_state(pod, container));
        !matches!(state, Some(ContainerState::Running))
    });
    tokio::select! {
        () = socket.listening() => Ok(()),
        seen = ended => Err(match seen.pod().map(|pod| pod::container_state(pod, container)) {
            Some(ContainerState::Failed(failure)) => failure,
            Some(ContainerState::Terminated(ended)) => {
                let ended_at = ContainerRef { pod: &address.pod, container };
                last_lines::print(&context.cluster, ended_at, LOG_LIMIT, session).await?;
                let (pod, exit_code) = (address.pod.clone(), ended.exit_code);
                PlacementError::AgentEnded { pod, container: container.to_owned(), exit_code }.into()
            }
            _ => pod::deleted(&address.pod),
        }),
        () = tokio::time::sleep(LISTENS) => {
            let pod = address.pod.clone();
            Err(PlacementError::NoSocket { pod, container: container.to_owned() }.into())
        }
    }
}
