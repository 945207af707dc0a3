//! Ephemeral containers of the runner pod: their making, and the agents in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookd_api::v1::Phase;
use k8s_openapi::api::core::v1::EphemeralContainer;
use kube::api::{Patch, PatchParams};
use rustix::fs::Mode;
use serde_json::json;
use tokio::time::Instant;

use crate::beneath::Tree;
use crate::blocking;
use crate::cluster::ContainerRef;
use crate::cluster::error::ClusterError;
use crate::cluster::pod::{self, ContainerState};
use crate::cluster::watch::{PodState, PodWatch};
use crate::context::Context;
use crate::error::Failure;
use crate::ids::StepId;
use crate::install;
use crate::metrics;
use crate::names;
use crate::objects::ephemeral;
use crate::placement::error::PlacementError;
use crate::placement::lost_agent;
use crate::runner::job_volumes::{self, JobVolumes};
use crate::session::cursor::{Cursor, RunPosition};
use crate::session::events::Session;
use crate::stepd::pods::AgentAddress;
use crate::stepd::socket::SocketDir;
use crate::work_volume::error::VolumeError;
use crate::work_volume::files;
use crate::workload::start::{Awaited, started};

/// A container that was made and not started by then never is: the kubelet, which ended in that moment,
/// starts no ephemeral container that the runtime knows (`computePodActions` of kuberuntime).
const UNSTARTED: Duration = Duration::from_secs(10);
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

/// Where the agent of a container step is; each attempt at building its image has another container.
pub(super) fn of_step(context: &Context, step: &StepId, attempt: u32) -> AgentAddress {
    address(context, job_volumes::STEPS, &names::step_container(step, attempt))
}

/// Where the agent of a container step that runs is. A client may have written the position: it leads to a
/// container of its own step, or to none.
pub(super) fn of_run(context: &Context, step: &StepId, run: &RunPosition) -> AgentAddress {
    match names::step_of_container(&run.job_uid) {
        Some(own) if own == step.as_str() => address(context, job_volumes::STEPS, &run.job_uid),
        _ => of_step(context, step, 0),
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

/// Waits until the container's agent listens. A container that the kubelet has left unstarted, or whose
/// start it did not see to its end, gets another in its place, which `record` keeps in the cursor;
/// `address` is the one that listens.
///
/// # Errors
/// Why the container does not start.
pub(super) async fn listening(
    context: &Context,
    address: &mut AgentAddress,
    watch: &PodWatch,
    session: &mut Session,
    record: impl Fn(&mut Cursor, &AgentAddress),
) -> Result<(), Failure> {
    let began = Instant::now();
    for left in (0..=names::MOST_AGAIN).rev() {
        tokio::select! {
            biased;
            listens = listening_once(context, address, watch, session) => match listens {
                Err(failure) if left > 0 && was_interrupted(&failure) => {}
                listens => {
                    if listens.is_ok() {
                        session.timings.took(metrics::Phase::Start, began.elapsed());
                    }
                    return listens;
                }
            },
            () = is_left_unstarted(watch, &address.container), if left > 0 => {}
        }
        let Some(container) = again(watch, address) else { continue };
        tracing::warn!(
            container = address.container,
            "the kubelet has not started it, and never will; another takes its place"
        );
        address.container.clone_from(&container.name);
        if let Some(socket) = &mut address.socket {
            // Without it the first ends at once, should it start yet.
            socket.remove();
            socket.name.clone_from(&container.name);
        }
        record(&mut session.cursor, address);
        session.checkpoint(Phase::RunPending).await?;
        let agents = address.socket.clone().into_iter().collect();
        Preparation { agents, ..Preparation::default() }.make(context).await?;
        add(context, &[container]).await?;
    }
    Ok(())
}

/// True if the kubelet or the runtime was killed while it started the agent, which has begun nothing.
fn was_interrupted(failure: &Failure) -> bool {
    failure.cause().is_some_and(ClusterError::is_interrupted_start)
}

/// The container under another name.
fn again(watch: &PodWatch, address: &AgentAddress) -> Option<EphemeralContainer> {
    let seen = watch.now();
    let containers = seen.pod()?.spec.as_ref()?.ephemeral_containers.as_ref()?;
    let container = containers.iter().find(|one| one.name == address.container)?.clone();
    Some(ephemeral::renamed(container, &names::again(&address.container)))
}

/// Waits for as long as it may yet be started.
async fn is_left_unstarted(watch: &PodWatch, container: &str) {
    let is_unstarted =
        |seen: &PodState| seen.pod().is_some_and(|pod| pod::is_unstarted(pod, container));
    let mut watch = watch.clone();
    loop {
        watch.until(is_unstarted).await;
        let goes_on = watch.until(|seen| !is_unstarted(seen));
        if tokio::time::timeout(UNSTARTED, goes_on).await.is_err() {
            return;
        }
    }
}

async fn listening_once(
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
        seen = ended => Err(no_agent(context, address, &seen, session).await?),
        () = tokio::time::sleep(LISTENS) => {
            Err(no_agent(context, address, &watch.now(), session).await?)
        }
    }
}

/// Why a container's agent does not answer before its job is ready; the last lines of one that ended are
/// printed.
///
/// # Errors
/// When the client is gone.
pub(super) async fn no_agent(
    context: &Context,
    address: &AgentAddress,
    seen: &PodState,
    session: &mut Session,
) -> Result<Failure, Failure> {
    let (pod, container) = (address.pod.clone(), address.container.clone());
    let silent = PlacementError::NoSocket { pod, container };
    let container = ContainerRef { pod: &address.pod, container: &address.container };
    lost_agent::failure(&context.cluster, container, seen, silent, session).await
}
