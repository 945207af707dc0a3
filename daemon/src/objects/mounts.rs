//! Mounts of a step: the paths of the contract, from the work volume.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use hookd_api::v1::Mount;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::error::Failure;
use crate::names;
use crate::objects::docker::volumes::{UserVolume, VolumeSource};
use crate::objects::error::SpecError;
use crate::runner::WorkVolume;

/// Name of the work volume in a pod.
pub const WORK: &str = "work";
/// Start of the names of volumes that the containers of a job share.
pub const NAMED: &str = "named-";
/// Docker's socket, which the runner always lists and which no step gets.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Volumes and mounts of a step's pod, and the directories that must exist before it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mounts {
    /// The pod's volumes.
    pub volumes: Vec<Volume>,
    /// The container's mounts.
    pub mounts: Vec<VolumeMount>,
    /// Directories on the runner. One that is missing would be made by the kubelet, as root.
    pub directories: Vec<PathBuf>,
}

/// Maps the mounts of the input onto the work volume.
///
/// # Errors
/// A mount from elsewhere than the work directory, or the work directory on no claim.
pub fn of_step(
    mounts: &[Mount],
    work_dir: &Path,
    work: Option<&WorkVolume>,
) -> Result<Mounts, Failure> {
    let mut result = Mounts::default();
    for mount in mounts.iter().filter(|mount| mount.source_volume_path != DOCKER_SOCKET) {
        let source = Path::new(&mount.source_volume_path);
        let Some(inside) = beneath(source, work_dir) else {
            return Err(elsewhere(mount, work_dir));
        };
        let work = work.ok_or_else(|| no_claim(work_dir))?;
        if result.volumes.is_empty() {
            result.volumes.push(volume(work));
        }
        let sub_path = Path::new(&work.sub_path).join(&inside);
        result.mounts.push(VolumeMount {
            name: WORK.to_owned(),
            mount_path: mount.target_volume_path.clone(),
            sub_path: sub_path.to_str().filter(|path| !path.is_empty()).map(str::to_owned),
            read_only: mount.read_only.then_some(true),
            ..VolumeMount::default()
        });
        result.directories.push(work_dir.join(inside));
    }
    Ok(result)
}

/// The directory of the job container that has the runner's externals (Node.js).
pub const EXTERNALS: &str = "/__e";
/// Name of its volume.
pub const EXTERNALS_VOLUME: &str = "externals";

/// Maps the runner's own mounts of a job's container or service. `name`: of the container, for
/// volumes that it has for itself. What the runner has outside its work directory is an empty
/// directory here, which stepd fills in the case of the externals.
///
/// # Errors
/// The work directory on no claim.
pub fn for_job(
    name: &str,
    system: &[Mount],
    work_dir: &Path,
    work: Option<&WorkVolume>,
) -> Result<Mounts, Failure> {
    let is_beneath =
        |mount: &&Mount| beneath(Path::new(&mount.source_volume_path), work_dir).is_some();
    let (inside, outside): (Vec<_>, Vec<_>) = system
        .iter()
        .filter(|mount| mount.source_volume_path != DOCKER_SOCKET)
        .partition(is_beneath);
    let inside: Vec<_> = inside.into_iter().cloned().collect();
    let mut mounts = of_step(&inside, work_dir, work)?;
    for (at, mount) in outside.into_iter().enumerate() {
        let externals = mount.target_volume_path == EXTERNALS;
        let volume =
            if externals { EXTERNALS_VOLUME.to_owned() } else { format!("{name}-runner-{at}") };
        mounts.mounts.push(VolumeMount {
            name: volume.clone(),
            mount_path: mount.target_volume_path.clone(),
            // stepd writes links into the externals; no other container needs to.
            read_only: (mount.read_only && !externals).then_some(true),
            ..VolumeMount::default()
        });
        mounts.volumes.push(empty_dir(&volume));
    }
    Ok(mounts)
}

impl Mounts {
    /// Adds the user's volumes of the container `name`.
    ///
    /// # Errors
    /// A directory from elsewhere than the work directory, or the work directory on no claim.
    pub fn add_user(
        &mut self,
        name: &str,
        volumes: &[UserVolume],
        work_dir: &Path,
        work: Option<&WorkVolume>,
    ) -> Result<(), Failure> {
        for (at, volume) in volumes.iter().enumerate() {
            if let VolumeSource::Directory(path) = &volume.source {
                let mount = Mount {
                    source_volume_path: path.clone(),
                    target_volume_path: volume.target.clone(),
                    read_only: volume.read_only,
                    ..Mount::default()
                };
                let from_work = of_step(&[mount], work_dir, work).map_err(|source| {
                    SpecError::InContainer { container: name.to_owned(), source }
                })?;
                self.volumes.extend(from_work.volumes);
                self.mounts.extend(from_work.mounts);
                self.directories.extend(from_work.directories);
                continue;
            }
            let made = match &volume.source {
                VolumeSource::Named(named) => empty_dir(&volume_name(named)),
                VolumeSource::Memory(size) => in_memory(&format!("{name}-user-{at}"), *size),
                _ => empty_dir(&format!("{name}-user-{at}")),
            };
            self.mounts.push(VolumeMount {
                name: made.name.clone(),
                mount_path: volume.target.clone(),
                read_only: volume.read_only.then_some(true),
                ..VolumeMount::default()
            });
            self.volumes.push(made);
        }
        let mut names = HashSet::new();
        self.volumes.retain(|volume| names.insert(volume.name.clone()));
        Ok(())
    }
}

/// An empty directory that lives as long as the pod.
pub fn empty_dir(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn in_memory(name: &str, size: Option<u64>) -> Volume {
    let medium = Some("Memory".to_owned());
    let size_limit = size.map(|size| Quantity(size.to_string()));
    let empty_dir = EmptyDirVolumeSource { medium, size_limit, ..EmptyDirVolumeSource::default() };
    Volume { name: name.to_owned(), empty_dir: Some(empty_dir), ..Volume::default() }
}

/// A named volume is the job's: containers that name it share it. Names that differ in docker stay
/// different: one that Kubernetes cannot have as it is gets a hash behind it.
fn volume_name(named: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let name: String = named
        .to_ascii_lowercase()
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte) } else { '-' })
        .take(40)
        .collect();
    let name = name.trim_matches('-');
    if name == named {
        format!("{NAMED}{name}")
    } else {
        format!("{NAMED}{name}-{}", names::hash(named))
    }
}

/// The work volume.
pub fn volume(work: &WorkVolume) -> Volume {
    Volume {
        name: WORK.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: work.claim.clone(),
            ..PersistentVolumeClaimVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// `path` relative to `root`, without "." and ".."; none if it does not lie beneath it.
pub fn beneath(path: &Path, root: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.strip_prefix(root).ok()?.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir if inside.pop() => {}
            _ => return None,
        }
    }
    Some(inside)
}

fn elsewhere(mount: &Mount, work_dir: &Path) -> Failure {
    SpecError::OutsideWorkDir {
        path: mount.source_volume_path.clone(),
        target: mount.target_volume_path.clone(),
        work_dir: work_dir.to_owned(),
    }
    .into()
}

fn no_claim(work_dir: &Path) -> Failure {
    SpecError::NoClaim { work_dir: work_dir.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn mount(source: &str, target: &str) -> Mount {
        Mount {
            source_volume_path: source.into(),
            target_volume_path: target.into(),
            ..Mount::default()
        }
    }

    fn work(sub_path: &str) -> WorkVolume {
        WorkVolume { claim: "c".into(), sub_path: sub_path.into(), same_node: true }
    }

    #[test]
    fn a_mount_of_the_work_directory_is_a_sub_path_of_the_claim() {
        let input =
            [mount(DOCKER_SOCKET, DOCKER_SOCKET), mount("/w/_temp/./_github_home", "/github/home")];
        let mounts = of_step(&input, Path::new("/w"), Some(&work("runner-1"))).unwrap();
        assert_eq!(mounts.volumes.len(), 1);
        assert_eq!(mounts.mounts[0].sub_path.as_deref(), Some("runner-1/_temp/_github_home"));
        assert_eq!(mounts.directories, [PathBuf::from("/w/_temp/_github_home")]);
    }

    #[test]
    fn the_work_directory_itself_needs_no_sub_path() {
        let mounts = of_step(&[mount("/w", "/__w")], Path::new("/w"), Some(&work(""))).unwrap();
        assert_eq!(mounts.mounts[0].sub_path, None);
    }

    #[test]
    fn a_mount_from_elsewhere_is_refused_by_name() {
        for source in ["/etc", "/w/../etc", "/work", "/w/a/../../etc"] {
            let error =
                of_step(&[mount(source, "/t")], Path::new("/w"), Some(&work(""))).unwrap_err();
            assert!(error.message.contains(source), "{error}");
        }
    }

    #[test]
    fn a_work_directory_on_no_claim_is_an_error_with_a_remedy() {
        let error = of_step(&[mount("/w/a", "/a")], Path::new("/w"), None).unwrap_err();
        assert_eq!(error.reason, Reason::ClaimUnusable);
    }
}
