//! The runner pod that hookd lives in: what its own object says, read once at start.

use k8s_openapi::api::core::v1::{LocalObjectReference, PersistentVolumeClaim, Pod, VolumeMount};
use kube::{Api, Client};

use crate::cluster::retry::Retry;
use crate::config::Config;
use crate::error::{Failure, Reason};

/// What steps inherit from the runner pod.
#[derive(Clone, Debug, Default)]
pub struct Runner {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
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
    /// Image of hookd itself, which has stepd; by digest where the cluster tells it.
    pub hookd_image: String,
    /// Image of the runner, which has the externals; likewise.
    pub runner_image: String,
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
    /// Reads the runner pod and its claim.
    ///
    /// # Errors
    /// When the API refuses or stays away.
    pub async fn read(
        client: &Client,
        namespace: &str,
        config: &Config,
        retry: &Retry,
    ) -> Result<Self, Failure> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let name = &config.pod_name;
        let pod = retry.run(&format!("read pod {namespace}/{name}"), || pods.get(name)).await?;
        let mut runner = Self::from_pod(&pod, namespace, config);
        if let Some(work) = &mut runner.work {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
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
        Self {
            name: config.pod_name.clone(),
            namespace: namespace.to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: spec.node_name.unwrap_or_default(),
            host_ip: pod
                .status
                .as_ref()
                .and_then(|status| status.host_ip.clone())
                .unwrap_or_default(),
            pull_secrets: spec.image_pull_secrets.unwrap_or_default(),
            supplemental_groups: (!groups.is_empty()).then_some(groups),
            work: work_volume(pod, config),
            hookd_image: image_that_mounts(pod, config, false),
            runner_image: config
                .runner_image
                .clone()
                .unwrap_or_else(|| image_that_mounts(pod, config, true)),
        }
    }
}

/// Image of the container that mounts the socket's directory: read-only the runner, else hookd.
fn image_that_mounts(pod: &Pod, config: &Config, read_only: bool) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let directory = config.socket_dir.to_string_lossy();
    let is_it = |mount: &VolumeMount| {
        mount.mount_path.trim_end_matches('/') == directory.trim_end_matches('/')
            && mount.read_only.unwrap_or_default() == read_only
    };
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let found = containers.find(|container| container.volume_mounts.iter().flatten().any(is_it));
    let Some(container) = found else { return String::new() };
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

/// The claim that the administrator named, or the one mounted at the work directory.
fn work_volume(pod: &Pod, config: &Config) -> Option<WorkVolume> {
    let spec = pod.spec.as_ref()?;
    let work_dir = config.work_dir.to_str()?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mount: Option<&VolumeMount> = containers
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .find(|mount| mount.mount_path.trim_end_matches('/') == work_dir.trim_end_matches('/'));
    let mounted = mount.and_then(|mount| {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            // A generic ephemeral volume's claim is named after its pod.
            (None, Some(_)) => Some(format!("{}-{}", config.pod_name, volume.name)),
            (None, None) => None,
        }
    });
    let claim = config.claim_name.clone().or(mounted)?;
    let sub_path = mount.and_then(|mount| mount.sub_path.clone()).unwrap_or_default();
    Some(WorkVolume { claim, sub_path, same_node: true })
}

/// Whether pods that share the claim must share a node.
fn same_node(claim: &PersistentVolumeClaim) -> Result<bool, Failure> {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    let has = |wanted: &str| modes.is_some_and(|modes| modes.iter().any(|mode| mode == wanted));
    if has("ReadWriteOncePod") {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        return Err(Failure::new(
            Reason::ClaimUnusable,
            format!("Claim {name} is ReadWriteOncePod: no step can mount the work directory"),
            "Use a claim with access mode ReadWriteOnce or ReadWriteMany",
        ));
    }
    Ok(!has("ReadWriteMany"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(volume: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": {
            "containers": [{"name": "runner", "volumeMounts": [
                {"name": "work", "mountPath": "/home/runner/_work/", "subPath": "w"}]}],
            "volumes": [volume],
        }}))
        .unwrap()
    }

    #[test]
    fn the_claim_is_found_in_the_runner_pod() {
        let pod = pod(json!({"name": "work", "persistentVolumeClaim": {"claimName": "c"}}));
        let work = work_volume(&pod, &Config::of(&[])).unwrap();
        assert_eq!((work.claim.as_str(), work.sub_path.as_str()), ("c", "w"));
    }

    #[test]
    fn the_claim_of_an_ephemeral_volume_is_named_after_the_pod() {
        let pod = pod(json!({"name": "work", "ephemeral": {}}));
        assert_eq!(work_volume(&pod, &Config::of(&[])).unwrap().claim, "r-work");
    }

    #[test]
    fn a_claim_that_the_administrator_named_wins() {
        let pod = pod(json!({"name": "work", "emptyDir": {}}));
        assert_eq!(work_volume(&pod, &Config::of(&[])), None);
        let named = Config::of(&["--claim-name", "mine"]);
        assert_eq!(work_volume(&pod, &named).unwrap().claim, "mine");
    }

    #[test]
    fn the_images_of_hookd_and_of_the_runner_are_known_by_digest() {
        let mount = |read_only: bool| {
            json!([{"name": "hookd", "mountPath": "/run/hookd",
            "readOnly": read_only}])
        };
        let pod: Pod = serde_json::from_value(json!({
            "spec": {
                "initContainers": [{"name": "h", "image": "r/hookd:1", "volumeMounts": mount(false)}],
                "containers": [{"name": "x", "image": "other"},
                    {"name": "run", "image": "r/runner:1", "volumeMounts": mount(true)}],
            },
            "status": {
                "initContainerStatuses": [{"name": "h", "image": "", "ready": true,
                    "restartCount": 0, "imageID": "r/hookd@sha256:1"}],
                "containerStatuses": [{"name": "run", "image": "", "ready": true,
                    "restartCount": 0, "imageID": "sha256:2"}],
            },
        }))
        .unwrap();
        let runner = Runner::from_pod(&pod, "ns", &Config::of(&[]));
        assert_eq!(runner.hookd_image, "r/hookd@sha256:1");
        assert_eq!(runner.runner_image, "r/runner:1");
    }

    #[test]
    fn only_a_shared_claim_lets_a_step_leave_the_runners_node() {
        let claim =
            |mode: &str| serde_json::from_value(json!({"spec": {"accessModes": [mode]}})).unwrap();
        assert!(same_node(&claim("ReadWriteOnce")).unwrap());
        assert!(!same_node(&claim("ReadWriteMany")).unwrap());
        assert_eq!(
            same_node(&claim("ReadWriteOncePod")).unwrap_err().reason,
            Reason::ClaimUnusable
        );
    }
}
