//! The work directory: ours to write to, with room.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};

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

/// Bytes that are written: more than a file system keeps without a block of its own.
const WRITTEN: usize = 64 << 10;

/// What the volume says.
#[derive(Debug)]
struct Volume {
    owner: String,
    /// Free ones; none: the file system does not count them.
    bytes: Option<u64>,
    inodes: Option<u64>,
}

/// A file can be written and deleted in it.
pub(super) async fn check(facts: &Facts) -> Outcome {
    let directory = facts.config.work_dir.clone();
    let looked = move || look(&directory);
    let what = format!("Writing a file into {}", facts.config.work_dir.display());
    match blocking::run(DEADLINE, &what, looked).await {
        Ok(Ok(volume)) => judge(&facts.config.work_dir, &volume),
        Ok(Err(failure)) | Err(failure) => failure.into(),
    }
}

fn judge(directory: &Path, volume: &Volume) -> Outcome {
    let path = directory.display();
    let amount = |amount: Option<u64>, unit: &str| {
        amount.map_or_else(|| format!("uncounted {unit}"), |amount| format!("{amount} {unit}"))
    };
    let mib = amount(volume.bytes.map(|bytes| bytes >> 20), "MiB");
    let free = format!("{mib} and {} are free", amount(volume.inodes, "inodes"));
    let has_less = |bytes: u64, inodes: u64| {
        volume.bytes.is_some_and(|free| free < bytes)
            || volume.inodes.is_some_and(|free| free < inodes)
    };
    let cause = "Checkouts, build contexts and outputs of jobs lie there";
    let remedy = "Enlarge the volume (`sizeLimit` of the emptyDir, or the claim), or delete what earlier jobs left";
    if has_less(1, 1) {
        return Outcome::failure(format!("{path} is full: {free}"), cause, remedy);
    }
    if has_less(LITTLE_SPACE, FEW_INODES) {
        return Outcome::warning(format!("{path} has little room: {free}"), cause, remedy);
    }
    Outcome::ok(format!("{path} can be written to; {}; {free}", volume.owner))
}

fn look(directory: &Path) -> Result<Volume, Failure> {
    let failed = |what: &str, source: io::Error| {
        Failure::from(VolumeError::new(format!("{} {what}", directory.display()), source))
    };
    let metadata = std::fs::metadata(directory).map_err(|error| failed("cannot be read", error))?;
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    let own = rustix::process::getuid().as_raw();
    let owner = format!("it is of {uid}:{gid} with mode {mode:o}, hookd runs as {own}");
    let name = ids::unguessable().map_err(|error| failed("has no file", error))?;
    write(&directory.join(format!(".hookd-doctor-{name}")))
        .map_err(|error| failed(&format!("cannot be written to: {owner}"), error))?;
    let space =
        rustix::fs::statvfs(directory).map_err(|error| failed("cannot be read", error.into()))?;
    let bytes = (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize));
    let inodes = (space.f_files > 0).then_some(space.f_favail);
    Ok(Volume { owner, bytes, inodes })
}

/// Writes a file that is not there yet, as far as its storage, and deletes it.
fn write(path: &Path) -> io::Result<()> {
    // What a file system could compress takes no room on a full one.
    let mut content = vec![0; WRITTEN];
    getrandom(&mut content, GetRandomFlags::empty())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(&content).and_then(|()| file.sync_all());
    let deleted = std::fs::remove_file(path);
    written.and(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

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

    #[test]
    fn a_volume_without_room_is_a_failure_and_little_is_a_warning() {
        let (much, many) = (Some(LITTLE_SPACE), Some(FEW_INODES));
        for (bytes, inodes, expected) in [
            (much, many, Status::Ok),
            (None, None, Status::Ok),
            (Some(LITTLE_SPACE - 1), many, Status::Warning),
            (much, Some(FEW_INODES - 1), Status::Warning),
            (Some(0), many, Status::Failure),
            (much, Some(0), Status::Failure),
            (Some(0), None, Status::Failure),
        ] {
            let outcome =
                judge(Path::new("/work"), &Volume { owner: String::new(), bytes, inodes });
            assert_eq!(outcome.status, expected, "{outcome:?}");
            assert_eq!(outcome.remedy.is_empty(), expected == Status::Ok, "{outcome:?}");
        }
    }
}
