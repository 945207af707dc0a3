//! The work directory: ours to write to, with room.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::beneath::Tree;
use crate::blocking;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::Failure;
use crate::ids;
use crate::work_volume::error::VolumeError;

/// A volume that takes longer than this is not well.
const DEADLINE: Duration = Duration::from_secs(4);
/// Bytes and inodes that a job needs at least.
const LITTLE_SPACE: u64 = 1 << 30;
const FEW_INODES: u64 = 10_000;

/// What the volume says.
struct Volume {
    owner: String,
    bytes: u64,
    /// None: the file system does not count them.
    inodes: Option<u64>,
}

/// A file can be made and deleted in it.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let directory = facts.config.work_dir.clone();
    let looked = move || look(&directory);
    let what = format!("Writing a file into {}", facts.config.work_dir.display());
    let volume = match blocking::run(DEADLINE, &what, looked).await {
        Ok(Ok(volume)) => volume,
        Ok(Err(failure)) | Err(failure) => return failure.into(),
    };
    let path = facts.config.work_dir.display();
    let gib = volume.bytes >> 30;
    let found = format!("{path} can be written to; {}; {gib} GiB are free", volume.owner);
    let few = volume.inodes.is_some_and(|inodes| inodes < FEW_INODES);
    if volume.bytes < LITTLE_SPACE || few {
        let inodes = volume.inodes.map(|inodes| format!(", {inodes} inodes")).unwrap_or_default();
        return Outcome::warning(
            format!("{path} has little room: {} MiB{inodes}", volume.bytes >> 20),
            "Checkouts, build contexts and outputs of jobs lie there",
            "Enlarge the volume (`sizeLimit` of the emptyDir, or the claim), or delete what earlier jobs left",
        );
    }
    Outcome::ok(found)
}

fn look(directory: &Path) -> Result<Volume, Failure> {
    let failed = |what: &str, source: io::Error| {
        Failure::from(VolumeError::new(format!("{} {what}", directory.display()), source))
    };
    let metadata = std::fs::metadata(directory).map_err(|error| failed("cannot be read", error))?;
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let own = rustix::process::getuid().as_raw();
    let owner = format!("it is of {uid}:{gid} with mode {mode:o}, hookd runs as {own}");
    let not_ours = |error| failed(&format!("cannot be written to: {owner}"), error);
    let name = ids::unguessable().map_err(|error| failed("has no file", error))?;
    let name = format!(".hookd-doctor-{name}");
    let written = Tree::open(directory).and_then(|tree| tree.put(&name, b"", 0o600));
    written.map_err(|error| not_ours(error.into()))?;
    let made: PathBuf = directory.join(name);
    std::fs::remove_file(made).map_err(not_ours)?;
    let space =
        rustix::fs::statvfs(directory).map_err(|error| failed("cannot be read", error.into()))?;
    let inodes = (space.f_files > 0).then_some(space.f_favail);
    Ok(Volume { owner, bytes: space.f_bavail.saturating_mul(space.f_frsize), inodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let volume = look(directory.path()).unwrap();
        assert!(volume.owner.contains("hookd runs as"), "{}", volume.owner);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let failure = look(Path::new("/nowhere/work")).err().unwrap();
        let outcome = Outcome::from(failure);
        assert!(outcome.found.contains("/nowhere/work"), "{outcome:?}");
        assert!(
            outcome.cause.contains("No such file") && !outcome.remedy.is_empty(),
            "{outcome:?}"
        );
    }
}
