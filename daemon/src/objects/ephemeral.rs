//! A container of the runner pod, from the one that a pod of its own would have: an ephemeral container
//! mounts whole volumes of that pod only, and has no resources, ports, probes or lifecycle.

use std::collections::BTreeMap;

use hookd_api::transport::STEPD_DIR;
use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, Pod, PodSpec, SecurityContext, Volume, VolumeMount,
};
use serde_json::{Map, Value};

use crate::objects::error::SpecError;
use crate::objects::mounts::{EXTERNALS_VOLUME, NAMED, WORK};
use crate::objects::step_job;
use crate::runner::job_volumes::JobVolumes;

/// Where a container has stepd's program.
pub const TOOLS: &str = "/__hookd";
/// stepd's program there.
const STEPD: &str = "/__hookd/stepd";
/// Where a container has the work directory.
pub const WORK_DIR: &str = "/__w";
/// Where a container has the runner's own directories.
const GITHUB: &str = "/github";
/// What hookd sets in every pod of a job, and handles here otherwise.
const OF_EVERY_POD: [&str; 10] = [
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "hostAliases",
    "imagePullSecrets",
    "initContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "volumes",
];
/// A field that puts a stronger wall around a pod.
const SANDBOX: &str = "runtimeClassName";
/// Memory that its programs share; docker and Kubernetes give each container some.
const SHARED_MEMORY: &str = "/dev/shm";

/// A container to be made so.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As a pod of its own would have it.
    pub container: &'a Container,
    /// The volumes of that pod.
    pub volumes: &'a [Volume],
    /// Its name in the runner pod.
    pub name: &'a str,
    /// The volume for stepd's socket.
    pub agent: &'a str,
    /// A Secret that hookd reads itself: no variable comes from it.
    pub secret: &'a str,
}

/// The container, and what it needs.
#[derive(Debug)]
pub struct Lowered {
    /// As it is sent.
    pub container: EphemeralContainer,
    /// Links in `/github`: their names, and where they lead.
    pub links: BTreeMap<String, String>,
    /// Lines for the user.
    pub warnings: Vec<String>,
}

/// The empty volumes that the runner pod brings for jobs. Each is given once: hookd cannot empty one
/// that programs of another user have written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SpareVolumes {
    /// Of earlier jobs.
    used: Vec<String>,
    /// Of this job, by the names that the volumes would have in a pod of its own.
    given: BTreeMap<String, String>,
}

impl SpareVolumes {
    /// For the next job.
    pub fn next(self) -> Self {
        let used = self.used.into_iter().chain(self.given.into_values()).collect();
        Self { used, given: BTreeMap::new() }
    }

    /// The volume for what is called `planned`.
    fn give(&mut self, planned: &str, all: &[String]) -> Option<String> {
        if let Some(given) = self.given.get(planned) {
            return Some(given.clone());
        }
        let is_taken = |name: &String| {
            self.used.contains(name) || self.given.values().any(|given| given == name)
        };
        let free = all.iter().find(|name| !is_taken(name))?.clone();
        self.given.insert(planned.to_owned(), free.clone());
        Some(free)
    }
}

/// Makes the container one of the runner pod.
///
/// # Errors
/// A mount that no volume of the pod can stand for.
pub fn lower(
    request: Request<'_>,
    pod: &JobVolumes,
    spare: &mut SpareVolumes,
) -> Result<Lowered, SpecError> {
    let Request { container, name, secret, .. } = request;
    let mut mounts = Mounts {
        request,
        pod,
        spare,
        all: Vec::new(),
        links: BTreeMap::new(),
        more_links: BTreeMap::new(),
        warnings: Vec::new(),
    };
    mounts.add(&pod.tools, TOOLS, true);
    mounts.add(request.agent, STEPD_DIR, false);
    for mount in container.volume_mounts.iter().flatten() {
        mounts.lower(mount)?;
    }
    if !mounts.links.is_empty() {
        mounts.add(&pod.github, GITHUB, true);
    }
    let Mounts { all, links, more_links, mut warnings, .. } = mounts;
    if container.resources.is_some() {
        warnings.push(format!(
            "Container {}: its limits for CPU and memory are ignored in the runner pod; those of the \
             runner container, or of the pod, hold for all",
            container.name
        ));
    }
    let variables = container.env.iter().flatten().filter(|variable| {
        let source = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        source.is_none_or(|source| source.name != secret)
    });
    let variables: Vec<_> = variables.cloned().collect();
    let container = EphemeralContainer {
        name: name.to_owned(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        command: Some(command(name, &more_links)),
        env: (!variables.is_empty()).then_some(variables),
        env_from: container.env_from.clone(),
        working_dir: container.working_dir.clone(),
        security_context: Some(confined(container.security_context.clone())),
        stdin: container.stdin,
        tty: container.tty,
        volume_mounts: Some(all),
        ..EphemeralContainer::default()
    };
    Ok(Lowered { container, links, warnings })
}

/// With the container runtime's own seccomp profile where there is no other: the pod may have none.
fn confined(context: Option<SecurityContext>) -> SecurityContext {
    let mut context = context.unwrap_or_default();
    context.seccomp_profile.get_or_insert_with(step_job::runtime_default);
    context
}

/// Lines for the user: what of a pod of its own a job does not get in the runner pod.
///
/// # Errors
/// A field that is to keep the job from something.
pub fn unused_of_pod(pod: &PodSpec, containers: &[String]) -> Result<Vec<String>, SpecError> {
    let mut fields = match serde_json::to_value(pod) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    OF_EVERY_POD.iter().for_each(|field| _ = fields.remove(*field));
    let context = fields.remove("securityContext").unwrap_or_default();
    let mut context = context.as_object().cloned().unwrap_or_default();
    let groups = context.remove("supplementalGroups");
    context.remove("seccompProfile");
    let refused = fields.contains_key(SANDBOX).then(|| SANDBOX.to_owned());
    let refused =
        refused.or_else(|| context.keys().next().map(|field| format!("securityContext.{field}")));
    if let Some(field) = refused {
        return Err(SpecError::NotInRunnerPod { field });
    }
    let added = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    let added = added.filter(|one| !containers.contains(&one.name));
    let added = added.map(|one| format!("container {}", one.name));
    let groups = groups.map(|_| "`--group-add`, or groups of the hook template,".to_owned());
    let all = added.chain(fields.keys().map(|field| format!("`spec.{field}`"))).chain(groups);
    let line = |what| format!("{what} of the job's pod is ignored: the job runs in the runner pod");
    Ok(all.map(line).collect())
}

/// Names of the containers of ours that run in the runner pod. A person may have added others, to debug
/// it.
pub fn running(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let ours = containers.filter(|one| {
        one.command.as_ref().and_then(|command| command.first()).is_some_and(|first| first == STEPD)
    });
    let statuses = pod.status.as_ref().and_then(|all| all.ephemeral_container_statuses.as_ref());
    let runs = |name: &str| {
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status.name == name);
        status.and_then(|status| status.state.as_ref()?.running.as_ref()).is_some()
    };
    ours.map(|one| one.name.clone()).filter(|name| runs(name)).collect()
}

/// stepd, whose clients are in another container; it makes these links in the container's own root.
fn command(name: &str, links: &BTreeMap<String, String>) -> Vec<String> {
    let directory = format!("{STEPD_DIR}/{name}");
    let serve = [STEPD, "serve", "--clients", "outside", "--dir", &directory];
    let links = links.iter().flat_map(|(path, target)| ["--link", path, target]);
    serve.into_iter().chain(links).map(str::to_owned).collect()
}

/// The same container under another name.
pub fn renamed(mut container: EphemeralContainer, name: &str) -> EphemeralContainer {
    let before = format!("{STEPD_DIR}/{}", container.name);
    for word in container.command.iter_mut().flatten().filter(|word| **word == before) {
        *word = format!("{STEPD_DIR}/{name}");
    }
    container.name = name.to_owned();
    container
}

struct Mounts<'a> {
    request: Request<'a>,
    pod: &'a JobVolumes,
    spare: &'a mut SpareVolumes,
    all: Vec<VolumeMount>,
    links: BTreeMap<String, String>,
    /// Links elsewhere than in `/github`.
    more_links: BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl Mounts<'_> {
    fn add(&mut self, volume: &str, path: &str, read_only: bool) {
        if self.all.iter().any(|mount| mount.mount_path == path) {
            return;
        }
        self.all.push(VolumeMount {
            name: volume.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        });
    }

    fn lower(&mut self, mount: &VolumeMount) -> Result<(), SpecError> {
        match mount.name.as_str() {
            WORK => self.lower_work(mount),
            EXTERNALS_VOLUME => self.add(&self.pod.externals, &mount.mount_path, true),
            _ => return self.lower_other(mount),
        }
        Ok(())
    }

    /// A part of the work directory: all of it is at `/__w`, and links in `/github` lead there.
    fn lower_work(&mut self, mount: &VolumeMount) {
        self.add(&self.pod.work, WORK_DIR, false);
        let inside = mount.sub_path.as_deref().unwrap_or_default();
        let inside =
            if inside.is_empty() { WORK_DIR.to_owned() } else { format!("{WORK_DIR}/{inside}") };
        let target = mount.mount_path.trim_end_matches('/');
        if target == inside {
            return;
        }
        match target.strip_prefix("/github/") {
            Some(name) if !name.contains('/') => {
                self.links.insert(name.to_owned(), inside);
            }
            _ => self.link_elsewhere(target, inside, mount.read_only.unwrap_or_default()),
        }
    }

    fn link_elsewhere(&mut self, target: &str, inside: String, read_only: bool) {
        if read_only {
            self.warnings.push(format!(
                "Container {}: {target} is not read-only in the runner pod: it is a link to {inside}",
                self.request.container.name
            ));
        }
        self.more_links.insert(target.to_owned(), inside);
    }

    /// A volume of the job's own, or one that the administrator's template names.
    fn lower_other(&mut self, mount: &VolumeMount) -> Result<(), SpecError> {
        let container = &self.request.container.name;
        let planned = self.request.volumes.iter().find(|volume| volume.name == mount.name);
        let empty = planned.and_then(|volume| volume.empty_dir.as_ref());
        let Some(empty) = empty else {
            if self.pod.all.contains(&mount.name) && mount.sub_path.is_none() {
                self.all.push(mount.clone());
            } else {
                self.warnings.push(format!(
                    "Container {container} has nothing at {}: volume {} is not in the runner pod",
                    mount.mount_path, mount.name
                ));
            }
            return Ok(());
        };
        if empty.medium.is_some() && mount.mount_path == SHARED_MEMORY {
            self.warnings.push(format!(
                "Container {container}: `--shm-size` is ignored in the runner pod; its programs share \
                 the 64 MiB that each container has"
            ));
            return Ok(());
        }
        if empty.medium.is_some() {
            self.warnings.push(format!(
                "Container {container}: {} is on the node's disk in the runner pod, not in memory",
                mount.mount_path
            ));
        }
        let planned = match mount.name.starts_with(NAMED) {
            true => mount.name.clone(),
            // Of this container alone: a later one gets another.
            false => format!("{}/{}", self.request.name, mount.name),
        };
        let given = self.spare.give(&planned, &self.pod.spare);
        let volume = given.ok_or_else(|| SpecError::NoSpareVolume {
            container: container.clone(),
            target: mount.mount_path.clone(),
            number: self.pod.spare.len(),
        })?;
        self.add(&volume, &mount.mount_path, mount.read_only.unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
