//! The work volume takes no writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::COMPLETION_TIMEOUT;
use super::evidence::{Evidence, observed_if};
use super::fault::Fault;
use super::operation::Operation;
use super::workload::{Completion, Run, running_pod};
use test_support::volume;
use test_support::wait::{eventually, s};

/// How a volume takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VolumeFault {
    /// It has no space and no inodes left.
    Full,
    /// It is read-only.
    ReadOnly,
}

impl VolumeFault {
    pub(crate) fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::VolumeFull => Some(Self::Full),
            Fault::VolumeReadOnly => Some(Self::ReadOnly),
            _ => None,
        }
    }

    /// What a write answers.
    fn errno(self) -> Errno {
        match self {
            Self::Full => Errno::NOSPC,
            Self::ReadOnly => Errno::ROFS,
        }
    }
}

/// Lets the volume take no writes from the middle of the operation to its end.
pub(crate) fn volume_fault(run: &Run<'_>, fault: VolumeFault) -> Evidence {
    under_way(run);
    let errno = fault.errno();
    let what = format!("a write answered \"{}\" until its end", io::Error::from(errno));
    observed_if(run.is_running(), &what, || {
        let broken = Broken::begin(&run.workload.runner.volume, fault);
        let refused = broken.refuses();
        run.release();
        let ended = run.wait(COMPLETION_TIMEOUT) != Completion::TimedOut;
        refused && ended && broken.refuses()
    })
}

/// Waits until the operation's program runs, or its pod.
fn under_way(run: &Run<'_>) {
    match run.workload.operation {
        // Its requests are held.
        Operation::Cleanup => {}
        Operation::Prepare => drop(running_pod(run)),
        Operation::Build => run.hook.wait_for("~b1\n"),
        _ => run.hook.wait_for("~"),
    }
}

/// A volume that takes no writes until this is dropped.
#[derive(Debug)]
struct Broken<'a> {
    volume: &'a Path,
    fault: VolumeFault,
}

impl<'a> Broken<'a> {
    fn begin(volume: &'a Path, fault: VolumeFault) -> Self {
        // First, so that the volume is mended whatever happens.
        let broken = Self { volume, fault };
        match fault {
            VolumeFault::Full => fill(&broken.filler()).unwrap(),
            VolumeFault::ReadOnly => broken.set_read_only(true).unwrap(),
        }
        broken
    }

    /// Folder of what fills the volume.
    fn filler(&self) -> PathBuf {
        self.volume.join(".full")
    }

    /// A file that is open for a moment to be written to holds it up.
    fn set_read_only(&self, read_only: bool) -> Result<(), String> {
        let mut last = Ok(());
        eventually(s(10), || {
            last = volume::set_read_only(self.volume, read_only);
            last.is_ok().then_some(())
        });
        last
    }

    /// True if the volume refuses a write because of this very fault.
    fn refuses(&self) -> bool {
        let probe = self.volume.join(".probe");
        let written = fs::write(&probe, "x");
        let _ = fs::remove_file(probe);
        written.is_err_and(|error| Errno::from_io_error(&error) == Some(self.fault.errno()))
    }
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        let mended = match self.fault {
            VolumeFault::Full => {
                fs::remove_dir_all(self.filler()).map_err(|error| error.to_string())
            }
            VolumeFault::ReadOnly => self.set_read_only(false),
        };
        assert!(mended.is_ok() || std::thread::panicking(), "the volume stays broken: {mended:?}");
    }
}

/// Takes all space, and then all inodes.
fn fill(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut data = File::create(folder.join("data"))?;
    while data.write(&[0; 1 << 16]).is_ok() {}
    let mut files = 0_u32..;
    while files.next().is_some_and(|file| File::create_new(folder.join(file.to_string())).is_ok()) {
    }
    Ok(())
}
