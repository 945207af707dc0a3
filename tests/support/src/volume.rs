//! A work volume that is a small file system of its own, which a test can fill and turn read-only.
//!
//! The streams of hooks lie in a folder within it that belongs to the disk: what a hook prints is seen
//! whatever state the volume is in.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::run;
use crate::hook::STREAMS;
use crate::work::RUNNER_ID;

/// Room for what the operations need many times over, and quick to fill.
const ROOM: &str = "size=64m,nr_inodes=4096,mode=0755";

/// Mounts the file system on the folder `volume`.
pub(crate) fn mount(volume: &Path) {
    let disk = disk(volume);
    fs::create_dir_all(&disk).unwrap();
    chown(&disk, Some(RUNNER_ID), Some(RUNNER_ID)).unwrap();
    let options = format!("{ROOM},uid={RUNNER_ID},gid={RUNNER_ID}");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "work"]).arg(volume), None)
        .unwrap_or_else(|error| panic!("no file system for {}: {error}", volume.display()));
    let streams = volume.join(STREAMS);
    fs::create_dir(&streams).unwrap();
    run(Command::new("mount").arg("--bind").arg(&disk).arg(&streams), None)
        .unwrap_or_else(|error| panic!("no folder for streams in {}: {error}", volume.display()));
}

/// Unmounts what [`mount`] mounted, if it did. A pod that still runs keeps what it has.
pub(crate) fn unmount(volume: &Path) {
    let disk = disk(volume);
    if disk.exists() {
        // What is not mounted any more need not be unmounted.
        let arguments = ["--recursive", "--lazy"];
        let _ = run(Command::new("umount").args(arguments).arg(volume), None);
        let _ = fs::remove_dir_all(disk);
    }
}

/// Lets the file system take writes, or none; why it could not be done, if so.
pub fn set_read_only(volume: &Path, read_only: bool) -> Result<(), String> {
    let options = if read_only { "remount,ro" } else { "remount,rw" };
    run(Command::new("mount").args(["-o", options]).arg(volume), None).map(drop)
}

/// The folder of the disk beside the volume.
fn disk(volume: &Path) -> PathBuf {
    volume.with_extension("streams")
}
