//! From options to the fields of a container.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, ExecAction, Probe, ResourceRequirements,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{CreateOptions, Health};
use crate::image::lookup::Healthcheck;

impl CreateOptions {
    /// Sets what the options ask for; returns the volumes that the pod needs for it. `image` is the
    /// HEALTHCHECK of the container's image.
    pub fn apply(&self, container: &mut Container, image: Option<&Healthcheck>) -> Vec<Volume> {
        container.resources = self.resources();
        container.security_context = self.security_context();
        container.startup_probe = self.health.probe(image);
        if let Some(directory) = &self.working_directory {
            container.working_dir = Some(directory.clone());
        }
        let shm = self.shm_size.iter().map(|size| ("/dev/shm".to_owned(), Some(size.clone())));
        let memory = self.tmpfs.iter().cloned().chain(shm).enumerate();
        let name = container.name.clone();
        memory
            .map(|(at, (path, size))| {
                let volume = format!("{name}-memory-{at}");
                container.volume_mounts.get_or_insert_default().push(VolumeMount {
                    name: volume.clone(),
                    mount_path: path,
                    ..VolumeMount::default()
                });
                in_memory(volume, size)
            })
            .collect()
    }

    /// True if the image's HEALTHCHECK counts: the options name no other, and do not turn it off.
    pub fn asks_the_images_health(&self) -> bool {
        self.health.command.is_none() && !self.health.none
    }

    /// The entrypoint, in place of the image's; docker takes one word.
    pub fn entrypoint(&self) -> Option<&str> {
        self.entrypoint.as_deref().filter(|program| !program.is_empty())
    }

    /// Variables of --env.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Groups of --group-add: those of a pod are shared by its containers.
    pub fn groups(&self) -> &[i64] {
        &self.groups
    }

    fn resources(&self) -> Option<ResourceRequirements> {
        let quantity = |text: &Option<String>| text.clone().map(Quantity);
        let pairs = |pairs: [(&str, Option<Quantity>); 2]| {
            let pairs =
                pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Some(pairs.collect::<BTreeMap<_, _>>()).filter(|pairs| !pairs.is_empty())
        };
        let limits = pairs([("cpu", quantity(&self.cpus)), ("memory", quantity(&self.memory))]);
        let requests = pairs([("cpu", None), ("memory", quantity(&self.memory_reservation))]);
        (limits.is_some() || requests.is_some()).then(|| ResourceRequirements {
            limits,
            requests,
            ..ResourceRequirements::default()
        })
    }

    fn security_context(&self) -> Option<SecurityContext> {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let (add, drop) = (some(&self.cap_add), some(&self.cap_drop));
        let context = SecurityContext {
            privileged: self.privileged.then_some(true),
            read_only_root_filesystem: self.read_only.then_some(true),
            run_as_user: self.user.map(|(user, _)| user),
            run_as_group: self.user.and_then(|(_, group)| group),
            capabilities: (add.is_some() || drop.is_some()).then_some(Capabilities { add, drop }),
            ..SecurityContext::default()
        };
        (context != SecurityContext::default()).then_some(context)
    }
}

/// docker's time where nobody says another.
const THIRTY_SECONDS: Duration = Duration::from_secs(30);
/// docker's number of failures, likewise.
const RETRIES: u32 = 3;

impl Health {
    /// docker asks until the first success, at most `retries` times after the start period. The
    /// kubelet asks every second, so that nobody waits for the end of an interval.
    fn probe(&self, image: Option<&Healthcheck>) -> Option<Probe> {
        let command = self.test(image)?;
        let of_image = |time: fn(&Healthcheck) -> u64| {
            image.map(time).filter(|time| *time > 0).map(Duration::from_nanos)
        };
        let interval = self.interval.or(of_image(|image| image.interval));
        let timeout = self.timeout.or(of_image(|image| image.timeout)).unwrap_or(THIRTY_SECONDS);
        let start = self.start_period.or(of_image(|image| image.start_period));
        let retries = self.retries.or(image.map(|image| image.retries)).filter(|n| *n > 0);
        let patience = start.unwrap_or_default()
            + interval.unwrap_or(THIRTY_SECONDS) * retries.unwrap_or(RETRIES);
        let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        Some(Probe {
            exec: Some(ExecAction { command: Some(command) }),
            period_seconds: Some(1),
            timeout_seconds: Some(seconds(timeout).max(1)),
            failure_threshold: Some(seconds(patience).max(1)),
            ..Probe::default()
        })
    }

    /// The program that tells the container's health, if it has one.
    fn test(&self, image: Option<&Healthcheck>) -> Option<Vec<String>> {
        if self.none {
            return None;
        }
        let shell = |command: &str| ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
        if let Some(command) = self.command.as_ref().filter(|command| !command.is_empty()) {
            return Some(shell(command));
        }
        match image?.test.as_slice() {
            [kind, command] if kind == "CMD-SHELL" => Some(shell(command)),
            [kind, program @ ..] if kind == "CMD" && !program.is_empty() => Some(program.to_vec()),
            _ => None,
        }
    }
}

fn in_memory(name: String, size: Option<String>) -> Volume {
    let medium = Some("Memory".to_owned());
    let size_limit = size.map(Quantity);
    let empty_dir = EmptyDirVolumeSource { medium, size_limit, ..EmptyDirVolumeSource::default() };
    Volume { name, empty_dir: Some(empty_dir), ..Volume::default() }
}
