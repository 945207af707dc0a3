//! What a work volume answers that takes no writes, as a message for the user.

use std::io;

use rustix::io::Errno;

use crate::error::{Failure, Reason, report};

/// The failure of an operation on the work volume. `what` is a sentence that names the object,
/// without its full stop and without the cause.
pub fn unusable(what: &str, error: &io::Error) -> Failure {
    let (reason, remedy) = match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => (
            Reason::VolumeFull,
            "Free space and inodes on the runner's work volume, or enlarge it; run the job again",
        ),
        Some(Errno::ROFS) => (
            Reason::VolumeReadOnly,
            "Find out why the runner's work volume is read-only: its mount options, or the log of \
             the node's kernel after an error of the storage; run the job again",
        ),
        _ => (
            Reason::ClaimUnusable,
            "The runner's user must own its work directory; check the permissions and the storage of \
             the volume",
        ),
    };
    Failure::new(reason, format!("{what}: {}", report(error)), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_takes_no_writes_has_its_own_reason_and_remedy() {
        for (errno, reason, words, remedy) in [
            (Errno::NOSPC, Reason::VolumeFull, "No space left on device", "Free space"),
            (Errno::DQUOT, Reason::VolumeFull, "quota exceeded", "Free space"),
            (Errno::ROFS, Reason::VolumeReadOnly, "Read-only file system", "read-only"),
            (Errno::ACCESS, Reason::ClaimUnusable, "Permission denied", "must own"),
            (Errno::IO, Reason::ClaimUnusable, "Input/output error", "the storage"),
        ] {
            let failure = unusable("/home/runner/_work/_temp cannot be made", &errno.into());
            assert_eq!(failure.reason, reason);
            assert!(
                failure.message.starts_with("/home/runner/_work/_temp cannot be made: "),
                "{failure}"
            );
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.remedy.contains(remedy), "{}", failure.remedy);
        }
    }
}
