//! What may be mounted, and where.

use super::error::PolicyError;
use super::file::VolumeRules;
use crate::objects::docker::volumes::{self, UserVolume, UserVolumes, VolumeSource};

/// Where `--shm-size` is mounted: that is no choice of the workflow.
const SHARED_MEMORY: &str = "/dev/shm";

/// What the rules refuse of the volumes of a container.
pub(super) fn check(
    rules: &VolumeRules,
    container: &str,
    volumes: &UserVolumes,
) -> Vec<PolicyError> {
    volumes.volumes.iter().flat_map(|volume| check_one(rules, container, volume)).collect()
}

fn check_one(rules: &VolumeRules, container: &str, volume: &UserVolume) -> Vec<PolicyError> {
    let refused = |what: &str, rule: &str| PolicyError::VolumeNotAllowed {
        container: container.to_owned(),
        volume: volume.written.clone(),
        what: what.to_owned(),
        rule: rule.to_owned(),
    };
    let source = match &volume.source {
        VolumeSource::Named(name) => Some(name.clone()),
        // What is no path is refused elsewhere; here it is allowed by no pattern.
        VolumeSource::Directory(path) => Some(volumes::plain_path(path).unwrap_or_default()),
        VolumeSource::Anonymous | VolumeSource::Memory(_) => None,
    };
    let by_sources = rules.sources.as_ref().zip(source).and_then(|(allowed, source)| {
        let is_allowed = allowed.iter().any(|pattern| pattern.allows(&source));
        (!is_allowed).then(|| refused(&format!("source {source:?}"), "volumes.sources"))
    });
    let is_shared_memory =
        matches!(volume.source, VolumeSource::Memory(_)) && volume.target == SHARED_MEMORY;
    let by_targets = rules.targets.as_ref().filter(|_| !is_shared_memory).and_then(|allowed| {
        let is_allowed = allowed.iter().any(|pattern| pattern.allows(&volume.target));
        (!is_allowed).then(|| refused(&format!("target {:?}", volume.target), "volumes.targets"))
    });
    by_sources.into_iter().chain(by_targets).collect()
}
