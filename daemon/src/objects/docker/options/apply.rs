//! From options to the fields of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, Container, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{ContainerKind, CreateOptions};
use crate::names;
use crate::objects::docker::volumes::{self, UserVolume};
use crate::registry::image_config::ImageConfig;

/// Requested beside a limit, which the API server would else take for the request too: docker starts a
/// container wherever it is, however busy the machine.
const REQUESTED_MILLI_CPUS: u64 = 10;
const REQUESTED_MEMORY: u64 = 16 << 20;

impl CreateOptions {
    /// Sets what the options ask for. `image` is what is known of the container's image.
    pub fn apply(
        &self,
        container: &mut Container,
        kind: ContainerKind,
        image: Option<&ImageConfig>,
    ) {
        container.resources = self.resources();
        container.security_context = self.security_context();
        container.image_pull_policy = self.pull_policy.map(str::to_owned);
        if kind == ContainerKind::Service {
            container.startup_probe = self.health.probe(image);
            container.tty = self.tty.then_some(true);
            container.stdin = self.stdin.then_some(true);
        }
        if let Some(directory) = &self.working_directory {
            container.working_dir = Some(directory.clone());
        }
    }

    /// One line for each option that a container of this kind does not get, with the reason.
    pub fn warnings(&self, kind: ContainerKind) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        let mut warn = |given: bool, flag: &str, why: &str| {
            if given {
                warnings.push(format!("`{flag}` in `options:` is ignored: {why}"));
            }
        };
        let (job, step) = (kind == ContainerKind::Job, kind == ContainerKind::Step);
        warn(
            (job || step) && self.health.is_set(),
            "--health-*, --no-healthcheck",
            "only services are waited for until they are healthy; check it in a step instead",
        );
        warn(
            job && self.entrypoint.is_some(),
            "--entrypoint",
            "the program of the job container is the agent that starts the steps; start yours in \
             a step",
        );
        warn(
            kind == ContainerKind::Service && self.init,
            "--init",
            "a service is started by the kubelet; use an image whose entrypoint reaps (tini)",
        );
        warn(
            self.no_new_privileges && self.privileged,
            "--security-opt no-new-privileges",
            "Kubernetes does not take it together with --privileged",
        );
        warn(step && self.tty, "--tty", "a step's output goes to its log; it has no terminal");
        warn(
            step && self.stdin,
            "--interactive",
            "a step has no standard input; write a file to the workspace instead",
        );
        warnings
    }

    /// True if the image's HEALTHCHECK counts: the options name no other, and do not turn it off.
    pub fn asks_the_images_health(&self) -> bool {
        self.health.command.as_ref().is_none_or(String::is_empty) && !self.health.none
    }

    /// The entrypoint, in place of the image's; docker takes one word.
    pub fn entrypoint(&self) -> Option<&str> {
        self.entrypoint.as_deref().filter(|program| !program.is_empty())
    }

    /// --hostname, if a pod can have it: one label.
    pub fn hostname(&self) -> Option<String> {
        let name = self.hostname.as_ref()?.to_ascii_lowercase();
        names::is_label(&name).then_some(name)
    }

    /// --user, as it is given.
    pub fn user_text(&self) -> Option<&str> {
        Some(self.user_text.as_str()).filter(|text| !text.is_empty())
    }

    /// --workdir.
    pub fn working_directory(&self) -> Option<&str> {
        self.working_directory.as_deref()
    }

    /// Variables of --env.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Groups of --group-add: those of a pod are shared by its containers.
    pub fn groups(&self) -> &[i64] {
        &self.groups
    }

    /// Volumes of --volume, --mount, --tmpfs and --shm-size.
    pub fn volumes(&self) -> impl Iterator<Item = UserVolume> + '_ {
        let shm = self.shm_size.map(volumes::shared_memory);
        // A mount at the same place is the more explicit one.
        let shm = shm.filter(|shm| self.volumes.iter().all(|other| other.target != shm.target));
        self.volumes.iter().cloned().chain(shm)
    }

    fn resources(&self) -> Option<ResourceRequirements> {
        let pairs = |pairs: [(&str, Option<Quantity>); 2]| {
            let pairs =
                pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Some(pairs.collect::<BTreeMap<_, _>>()).filter(|pairs| !pairs.is_empty())
        };
        let least_memory = self.memory.map(|limit| limit.min(REQUESTED_MEMORY));
        let memory = self.memory_reservation.or(least_memory);
        let cpus = self.cpus.map(|limit| limit.min(REQUESTED_MILLI_CPUS));
        let limits = pairs([("cpu", self.cpus.map(cpu)), ("memory", self.memory.map(bytes))]);
        let requests = pairs([("cpu", cpus.map(cpu)), ("memory", memory.map(bytes))]);
        (limits.is_some() || requests.is_some()).then(|| ResourceRequirements {
            limits,
            requests,
            ..ResourceRequirements::default()
        })
    }

    fn security_context(&self) -> Option<SecurityContext> {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let (add, drop) = (some(&self.cap_add), some(&self.cap_drop));
        let unconfined = "Unconfined".to_owned();
        let context = SecurityContext {
            privileged: self.privileged.then_some(true),
            read_only_root_filesystem: self.read_only.then_some(true),
            allow_privilege_escalation: (self.no_new_privileges && !self.privileged)
                .then_some(false),
            run_as_user: self.user.map(|user| user.user),
            run_as_group: self.user.and_then(|user| user.group),
            capabilities: (add.is_some() || drop.is_some()).then_some(Capabilities { add, drop }),
            seccomp_profile: self
                .seccomp_unconfined
                .then(|| SeccompProfile { type_: unconfined.clone(), localhost_profile: None }),
            app_armor_profile: self
                .apparmor_unconfined
                .then_some(AppArmorProfile { type_: unconfined, localhost_profile: None }),
            ..SecurityContext::default()
        };
        (context != SecurityContext::default()).then_some(context)
    }
}

/// Thousandths as a quantity.
fn cpu(milli: u64) -> Quantity {
    Quantity(if milli.is_multiple_of(1000) {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

fn bytes(number: u64) -> Quantity {
    Quantity(number.to_string())
}
