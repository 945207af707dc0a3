//! `volumes:` of a container, and `--volume`, `--mount` and `--tmpfs` of its options: each is mounted,
//! refused by name, or named in a warning.

use hookd_api::v1::Mount;

use crate::error::Failure;
use crate::objects::docker::options::CreateOptions;
use crate::objects::error::SpecError;

mod written;

pub use written::{Read, of_flag, of_mount_flag, of_tmpfs};

/// Where docker's socket is mounted from and to. No pod has it.
const DOCKER_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];
/// Directories of hookd and of the runner in a container: nothing is mounted there, beneath or over
/// them.
const OURS: [&str; 3] = ["/__e", "/__r", "/__copy"];
/// All names that begin so are hookd's.
const HOOKD: &str = "/__hookd";
/// Directories of the runner's contract: nothing is mounted in their place.
const CONTRACT: [&str; 6] =
    ["/__w", "/__t", "/github", "/github/home", "/github/workflow", "/github/workspace"];

/// A volume that the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserVolume {
    /// As the workflow has it.
    pub written: String,
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, in the container.
    pub target: String,
    /// The container cannot write to it.
    pub read_only: bool,
    /// docker would not fill it with the image's files either.
    pub no_copy: bool,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A new one of the container's own.
    Anonymous,
    /// One of the job, shared by the containers that name it.
    Named(String),
    /// A directory of the runner's machine.
    Directory(String),
    /// A new one in memory, with a limit in bytes.
    Memory(Option<u64>),
}

/// The volumes of a container, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserVolumes {
    /// Those to mount; their targets are absolute, plain and unlike.
    pub volumes: Vec<UserVolume>,
    /// What the user must know of them.
    pub warnings: Vec<String>,
}

/// `--shm-size`.
pub fn shared_memory(size: u64) -> UserVolume {
    UserVolume {
        written: format!("--shm-size {size}"),
        source: VolumeSource::Memory(Some(size)),
        target: "/dev/shm".to_owned(),
        read_only: false,
        no_copy: true,
    }
}

/// Reads and checks the volumes of the container `name`, which the runner mounts `system` in.
///
/// # Errors
/// `INVALID_INPUT` with the container and the volume for what cannot be mounted.
pub fn read(
    name: &str,
    mounts: &[Mount],
    options: &CreateOptions,
    system: &[Mount],
) -> Result<UserVolumes, Failure> {
    let mut result = UserVolumes::default();
    let mut all = Vec::new();
    for mount in mounts {
        let (volume, ignored) = written::of_runner(mount).into_parts();
        result.warnings.extend(ignored.iter().map(|field| {
            format!("`{field}` of volume {:?} has no equivalent and is ignored", volume.written)
        }));
        all.push(volume);
    }
    for mut volume in all.into_iter().chain(options.volumes()) {
        if is_docker_socket(&volume) {
            result.warnings.push(format!(
                "volume {:?} is not mounted: there is no docker daemon. Use container actions and \
                 `services:` instead; Dockerfile actions build images",
                volume.written
            ));
            continue;
        }
        let target = target(&volume, system).and_then(|target| {
            let twice = result.volumes.iter().find(|other| other.target == target);
            match twice {
                Some(other) => Err(format!("{:?} is mounted at {target} too", other.written)),
                None => source(&volume).map(|()| target),
            }
        });
        volume.target = target.map_err(|why| refused(name, &volume, &why))?;
        result.volumes.push(volume);
    }
    result.warnings.extend(starts_empty(&result.volumes));
    Ok(result)
}

/// docker fills a new volume with the image's files.
fn starts_empty(volumes: &[UserVolume]) -> Option<String> {
    let empty = volumes.iter().filter(|volume| {
        !volume.no_copy && matches!(volume.source, VolumeSource::Anonymous | VolumeSource::Named(_))
    });
    let targets: Vec<_> = empty.map(|volume| volume.target.as_str()).collect();
    (!targets.is_empty()).then(|| {
        format!(
            "volume at {} starts empty and hides what the image has there; docker would copy it. \
             If the files are needed, mount the volume elsewhere, or copy them in a step",
            targets.join(", ")
        )
    })
}

fn is_docker_socket(volume: &UserVolume) -> bool {
    let is =
        |path: &str| plain_path(path).is_some_and(|path| DOCKER_SOCKETS.contains(&path.as_str()));
    matches!(&volume.source, VolumeSource::Directory(path) if is(path)) || is(&volume.target)
}

/// The target without ".", ".." and doubled slashes; or why nothing can be mounted there.
fn target(volume: &UserVolume, system: &[Mount]) -> Result<String, String> {
    let Some(target) = plain_path(&volume.target) else {
        return Err(format!("its target {:?} is no absolute path in the container", volume.target));
    };
    if target.contains([':', '\0']) {
        return Err(format!("its target {target:?} holds a character that no mount may have"));
    }
    if target == "/" {
        return Err("nothing can be mounted over the root of the container".to_owned());
    }
    let within = |path: &str, directory: &str| {
        path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let of_tools = target.starts_with(HOOKD) || OURS.iter().any(|ours| within(&target, ours));
    let system = system.iter().map(|mount| mount.target_volume_path.as_str());
    let mut in_its_place = CONTRACT.into_iter().chain(system).filter(|path| within(path, &target));
    if of_tools || in_its_place.next().is_some() {
        return Err(format!(
            "{target} is needed by the runner and by hookd; choose another directory"
        ));
    }
    Ok(target)
}

/// Why the source cannot be mounted.
fn source(volume: &UserVolume) -> Result<(), String> {
    let VolumeSource::Named(name) = &volume.source else { return Ok(()) };
    if name.starts_with(['.', '~', '$']) || name.contains('/') {
        return Err(format!(
            "{name:?} is a relative path, which neither docker nor hookd resolves; write an \
             absolute path of the work directory"
        ));
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first || !name.bytes().all(letter) || name.len() > 255 {
        return Err(format!(
            "{name:?} is no name of a volume: one has letters, digits, '_', '.' and '-', and begins \
             with a letter or digit"
        ));
    }
    Ok(())
}

/// An absolute path without ".", ".." and doubled slashes.
pub fn plain_path(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

fn refused(name: &str, volume: &UserVolume, why: &str) -> Failure {
    SpecError::VolumeRefused {
        container: name.to_owned(),
        volume: volume.written.clone(),
        problem: why.to_owned(),
    }
    .into()
}

#[cfg(test)]
mod tests;
