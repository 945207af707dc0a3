//! A work volume on which a step's directory or file cannot be made.

use std::io;

use rustix::io::Errno;

use crate::error::{Explain, Reason};

/// Why a directory or file cannot be made. `what` is a sentence that names it, without its full stop
/// and without the cause.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// No space, no inodes or no quota is left.
    #[error("{what}")]
    Full {
        /// What failed.
        what: String,
        /// The volume's answer.
        source: io::Error,
    },
    /// The volume is mounted read-only.
    #[error("{what}")]
    ReadOnly {
        /// What failed.
        what: String,
        /// The volume's answer.
        source: io::Error,
    },
    /// The volume answers otherwise: permissions, or its storage.
    #[error("{what}")]
    Unusable {
        /// What failed.
        what: String,
        /// The volume's answer.
        source: io::Error,
    },
}

impl VolumeError {
    /// The error of an operation that the volume answered with `source`.
    pub fn new(what: String, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { what, source },
            Some(Errno::ROFS) => Self::ReadOnly { what, source },
            _ => Self::Unusable { what, source },
        }
    }
}

impl Explain for VolumeError {
    fn reason(&self) -> Reason {
        match self {
            Self::Full { .. } => Reason::VolumeFull,
            Self::ReadOnly { .. } => Reason::VolumeReadOnly,
            Self::Unusable { .. } => Reason::ClaimUnusable,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::Full { .. } => {
                "Free space and inodes on the runner's work volume, or enlarge it; run the job again"
            }
            Self::ReadOnly { .. } => {
                "Find out why the runner's work volume is read-only: its mount options, or the log of \
                 the node's kernel after an error of the storage; run the job again"
            }
            Self::Unusable { .. } => {
                "The runner's user must own its work directory; check the permissions and the storage \
                 of the volume"
            }
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    [Errno::NOSPC, Errno::ROFS, Errno::ACCESS]
        .map(|errno| -> Box<dyn Explain> {
            let what = "/home/runner/_work/_temp cannot be made ready for the step".to_owned();
            Box::new(VolumeError::new(what, errno.into()))
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Failure, report};

    #[test]
    fn a_volume_that_takes_no_writes_has_its_own_reason_and_remedy() {
        for (errno, reason, words, remedy) in [
            (Errno::NOSPC, Reason::VolumeFull, "No space left on device", "Free space"),
            (Errno::DQUOT, Reason::VolumeFull, "quota exceeded", "Free space"),
            (Errno::ROFS, Reason::VolumeReadOnly, "Read-only file system", "read-only"),
            (Errno::ACCESS, Reason::ClaimUnusable, "Permission denied", "must own"),
            (Errno::IO, Reason::ClaimUnusable, "Input/output error", "the storage"),
        ] {
            let what = "/home/runner/_work/_temp cannot be made".to_owned();
            let failure = Failure::from(VolumeError::new(what, errno.into()));
            assert_eq!(failure.reason, reason);
            let message = report(&failure);
            assert!(message.starts_with("/home/runner/_work/_temp cannot be made: "), "{message}");
            assert!(message.contains(words), "{message}");
            assert!(failure.remedy.contains(remedy), "{}", failure.remedy);
        }
    }
}
