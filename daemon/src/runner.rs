//! The runner pod that hookd lives in: what its own object says, read once at start.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LocalObjectReference, PersistentVolumeClaim, Pod, VolumeMount,
};
use kube::Api;

use crate::cluster::Cluster;
use crate::cluster::retry::Retry;
use crate::config::{Config, JobPlacement};
use crate::error::Failure;

pub mod error;
mod hook_template;
pub mod job_volumes;
mod sub_path;

use error::RunnerError;
pub use hook_template::HookTemplate;
use job_volumes::JobVolumes;

/// What steps inherit from the runner pod.
#[derive(Clone, Debug, Default)]
pub struct Runner {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its uid, for ownerReferences.
    pub uid: String,
    /// Node that it runs on.
    pub node: String,
    /// Address of that node; empty: not known.
    pub host_ip: String,
    /// Its image pull Secrets: an image pulled with credentials is refused to pods without them.
    pub pull_secrets: Vec<LocalObjectReference>,
    /// Groups that may write to the work volume.
    pub supplemental_groups: Option<Vec<i64>>,
    /// The volume of the work directory; none: it is not on a claim.
    pub work: Option<WorkVolume>,
    /// Why no step may mount that volume.
    pub work_refused: Option<RunnerError>,
    /// The volumes for jobs that run in this pod; none: they run in pods of their own. Or why they
    /// cannot.
    pub job_volumes: Option<Result<JobVolumes, RunnerError>>,
    /// Image of hookd itself, which has stepd; by digest where the cluster reports it.
    pub hookd_image: String,
    /// Image of the runner, which has the externals; likewise.
    pub runner_image: String,
    /// No step of a job runs where hooks do: jobs must have a container, and hooks are started without a
    /// shell, which jobs could replace.
    pub hooks_are_alone: bool,
    /// The hook template that the runner container's environment names.
    pub hook_template: HookTemplate,
}

/// The claim that holds the work directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkVolume {
    /// Name of the PersistentVolumeClaim.
    pub claim: String,
    /// Where in the volume the work directory is; empty: at its root.
    pub sub_path: String,
    /// Steps must run on the runner's node.
    pub same_node: bool,
}

impl Runner {
    /// Whether steps may mount the work directory.
    ///
    /// The kubelet follows symlinks within a volume when it mounts a part of it. A step can put one
    /// in place of a directory that the next container mounts, and so reach every other part of
    /// the claim, that of another runner too.
    ///
    /// # Errors
    /// `CLAIM_UNUSABLE` for a part of a claim whose other parts are not declared to be trusted.
    pub fn check_work(&self) -> Result<(), Failure> {
        self.work_refused.clone().map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Reads the runner pod and its claim.
    ///
    /// # Errors
    /// When the API refuses or stays away.
    pub async fn read(cluster: &Cluster, config: &Config, retry: &Retry) -> Result<Self, Failure> {
        let (pods, namespace) = (cluster.pods(), &cluster.namespace);
        let name = &config.pod_name;
        let pod = retry.run(&format!("read pod {namespace}/{name}"), || pods.get(name)).await?;
        let mut runner = Self::from_pod(&pod, namespace, config);
        if let Some(work) = &mut runner.work {
            let claims: Api<PersistentVolumeClaim> =
                Api::namespaced(cluster.client.clone(), namespace);
            match retry.attempt(|| claims.get(&work.claim)).await {
                Ok(claim) => work.same_node = same_node(&claim)?,
                // Unknown counts as ReadWriteOnce.
                Err(error) => tracing::info!(claim = work.claim, %error, "claim not readable"),
            }
        }
        Ok(runner)
    }

    fn from_pod(pod: &Pod, namespace: &str, config: &Config) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let context = spec.security_context.unwrap_or_default();
        let groups = context.supplemental_groups.unwrap_or_default();
        let groups: Vec<_> = groups.into_iter().chain(context.fs_group).collect();
        let (work, work_refused) = work_volume(pod, config);
        Self {
            name: config.pod_name.clone(),
            namespace: namespace.to_owned(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: spec.node_name.unwrap_or_default(),
            host_ip: pod
                .status
                .as_ref()
                .and_then(|status| status.host_ip.clone())
                .unwrap_or_default(),
            pull_secrets: spec.image_pull_secrets.unwrap_or_default(),
            supplemental_groups: (!groups.is_empty()).then_some(groups),
            job_volumes: job_volumes(pod, config, work.is_some()),
            work,
            work_refused,
            hooks_are_alone: hooks_are_alone(pod, config),
            hook_template: hook_template::find(pod, config),
            hookd_image: image_that_mounts(pod, config, false),
            runner_image: config
                .runner_image
                .clone()
                .unwrap_or_else(|| image_that_mounts(pod, config, true)),
        }
    }
}

/// The volumes for jobs that run in this pod. They do so by the setting, or by default where the work
/// directory is on no claim and the pod has such volumes.
fn job_volumes(
    pod: &Pod,
    config: &Config,
    has_claim: bool,
) -> Option<Result<JobVolumes, RunnerError>> {
    match config.job_placement {
        JobPlacement::OwnPod => None,
        JobPlacement::Auto if has_claim => None,
        JobPlacement::Auto => job_volumes::find(pod, config),
        JobPlacement::RunnerPod => Some(job_volumes::find(pod, config).unwrap_or_else(|| {
            Err(RunnerError::NoJobVolume { path: config.agents_dir.join(job_volumes::TOOLS) })
        })),
    }
}

/// The container that mounts the socket's directory: read-only the runner, else hookd.
fn that_mounts<'a>(pod: &'a Pod, config: &Config, read_only: bool) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let directory = config.socket_dir.to_string_lossy();
    let is_it = |mount: &VolumeMount| {
        mount.mount_path.trim_end_matches('/') == directory.trim_end_matches('/')
            && mount.read_only.unwrap_or_default() == read_only
    };
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.find(|container| container.volume_mounts.iter().flatten().any(is_it))
}

/// See [`Runner::hooks_are_alone`].
fn hooks_are_alone(pod: &Pod, config: &Config) -> bool {
    let Some(runner) = that_mounts(pod, config, true) else { return false };
    let value = |name: &str| {
        let found = runner.env.iter().flatten().rfind(|variable| variable.name == name);
        found.and_then(|variable| variable.value.as_deref()).unwrap_or_default().trim()
    };
    let required = value("ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER").to_ascii_lowercase();
    matches!(required.as_str(), "true" | "1")
        && value("ACTIONS_RUNNER_CONTAINER_HOOKS").ends_with(".js")
}

/// Image of the container that mounts the socket's directory: read-only the runner, else hookd.
fn image_that_mounts(pod: &Pod, config: &Config, read_only: bool) -> String {
    let Some(container) = that_mounts(pod, config, read_only) else { return String::new() };
    let status = pod.status.clone().unwrap_or_default();
    let statuses = [status.init_container_statuses, status.container_statuses];
    let mut statuses = statuses.into_iter().flatten().flatten();
    let by_digest = statuses.find(|status| status.name == container.name);
    // A bare digest names no registry that the image could be pulled from again.
    by_digest
        .map(|status| status.image_id)
        .filter(|id| id.contains('@'))
        .map(|id| id.trim_start_matches("docker-pullable://").to_owned())
        .unwrap_or_else(|| container.image.clone().unwrap_or_default())
}

/// The claim that the administrator named, or the one mounted at the work directory; and why no
/// step may mount it.
fn work_volume(pod: &Pod, config: &Config) -> (Option<WorkVolume>, Option<RunnerError>) {
    let Some((spec, work_dir)) = pod.spec.as_ref().zip(config.work_dir.to_str()) else {
        return (None, None);
    };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut mounts = containers.flat_map(|container| {
        container.volume_mounts.iter().flatten().map(move |mount| (container, mount))
    });
    let at = work_dir.trim_end_matches('/');
    let mounted = mounts.find(|(_, mount)| mount.mount_path.trim_end_matches('/') == at);
    let volume = mounted.and_then(|(_, mount)| {
        spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)
    });
    let (shared, own) = volume.map_or((None, None), |volume| {
        let shared = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        // A generic ephemeral volume's claim is named after its pod, which no other pod mounts.
        let own = volume.ephemeral.as_ref().map(|_| format!("{}-{}", config.pod_name, volume.name));
        (shared, own)
    });
    let is_own =
        own.is_some() && config.claim_name.as_ref().is_none_or(|name| own.as_ref() == Some(name));
    let Some(claim) = config.claim_name.clone().or(shared).or(own) else { return (None, None) };
    let sub_path = mounted.map_or_else(
        || Ok(String::new()),
        |(container, mount)| sub_path::of_mount(pod, container, mount),
    );
    let (sub_path, refused) = match sub_path {
        Err(variable) => (String::new(), Some(RunnerError::UnknownSubPath { variable })),
        Ok(sub_path) if !sub_path.is_empty() && !is_own && !config.trust_shared_claim => {
            let (claim, sub_path) = (claim.clone(), sub_path.clone());
            let refused = RunnerError::SharedClaim { claim, sub_path: sub_path.clone() };
            (sub_path, Some(refused))
        }
        Ok(sub_path) => (sub_path, None),
    };
    (Some(WorkVolume { claim, sub_path, same_node: true }), refused)
}

/// Whether pods that share the claim must share a node.
fn same_node(claim: &PersistentVolumeClaim) -> Result<bool, Failure> {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    let has = |wanted: &str| modes.is_some_and(|modes| modes.iter().any(|mode| mode == wanted));
    if has("ReadWriteOncePod") {
        let claim = claim.metadata.name.clone().unwrap_or_default();
        return Err(RunnerError::ClaimOfOnePod { claim }.into());
    }
    Ok(!has("ReadWriteMany"))
}

#[cfg(test)]
mod tests;
