//! Why a build context cannot be read.

use std::io;
use std::path::PathBuf;

use crate::error::{Explain, Reason};

/// Why a build context cannot be opened or sent.
///
/// Paths are the job's and may hold anything: they are printed quoted and escaped.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The Dockerfile lies in none of the directories that contexts may come from.
    #[error(
        "{path:?} lies in none of the directories that build contexts may come from: {roots:?}"
    )]
    Outside {
        /// The Dockerfile.
        path: PathBuf,
        /// The directories.
        roots: Vec<PathBuf>,
    },

    /// A symlink leads out of the directories that contexts may come from.
    #[error(
        "The symlink {link:?} on the way to {path:?} leads to {target:?}, out of the directories \
         that build contexts may come from"
    )]
    Escapes {
        /// What was to be opened.
        path: PathBuf,
        /// The symlink.
        link: PathBuf,
        /// Where it leads, as an absolute path.
        target: PathBuf,
    },

    /// One of the directories that contexts may come from cannot be opened.
    #[error("{root:?}, a directory that build contexts may come from, cannot be opened")]
    Root {
        /// The directory.
        root: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The Dockerfile's directory does not exist, or a symlink on the way to it dangles.
    #[error("The build context {path:?} does not exist")]
    DirectoryMissing {
        /// The directory.
        path: PathBuf,
    },

    /// The directory has no such file, or it is a symlink that dangles.
    #[error("The Dockerfile {path:?} does not exist")]
    NotFound {
        /// The Dockerfile.
        path: PathBuf,
    },

    /// A directory stands where a Dockerfile or `.dockerignore` file is wanted.
    #[error("{path:?} is a directory, not a file")]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },

    /// What stands where a Dockerfile or `.dockerignore` file is wanted is not a file.
    #[error("{path:?} is a {kind}, not a file")]
    NotRegular {
        /// Its path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },

    /// The name of the Dockerfile is not UTF-8, so it cannot be an argument of the builder.
    #[error("The name of the Dockerfile {path:?} is not valid UTF-8")]
    NameNotUtf8 {
        /// The Dockerfile.
        path: PathBuf,
    },

    /// The permissions of a file or directory keep hookd from reading it.
    #[error("{path:?} may not be read")]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A line of a `.dockerignore` file is not a pattern.
    #[error("Line {line} of {path:?} is not a valid pattern: {rule:?}")]
    InvalidRule {
        /// The `.dockerignore` file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The line.
        rule: String,
    },

    /// The context holds something that cannot be part of an image.
    #[error("The build context holds a {kind}, {path:?}")]
    SpecialFile {
        /// Its path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },

    /// The context was changed while it was read.
    #[error("{path:?} changed while the build context was read")]
    Changed {
        /// The file or directory that is not what it was a moment before.
        path: PathBuf,
    },

    /// The context is larger than allowed.
    #[error("The build context {path:?} has more than {limit} bytes, the limit")]
    TooLarge {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },

    /// A Dockerfile, a `.dockerignore` file or an action's metadata is larger than allowed.
    #[error("{path:?} has more than {limit} bytes, the limit of such a file")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },

    /// A `.dockerignore` file has more patterns than allowed.
    #[error("{path:?} has more than {limit} patterns, the limit")]
    TooManyRules {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },

    /// A pattern is longer than any path.
    #[error("Line {line} of {path:?} has a pattern of more than {limit} bytes, the limit")]
    RuleTooLong {
        /// The `.dockerignore` file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },

    /// A path in the context is longer than the builder could unpack.
    #[error(
        "The build context holds a path of more than {limit} bytes, which begins with {path:?}"
    )]
    PathTooLong {
        /// The first bytes of the path, relative to the context.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },

    /// Reading or sending took too long.
    #[error("The build context {path:?} could not be read and sent within {seconds} s")]
    TimedOut {
        /// The directory.
        path: PathBuf,
        /// The limit.
        seconds: u64,
    },

    /// The step was cancelled meanwhile.
    #[error("Reading the build context was cancelled")]
    Cancelled,

    /// The kernel has no openat2, or a seccomp profile forbids it.
    #[error("openat2, without which build contexts cannot be read safely, is not available")]
    NoOpenat2 {
        /// The cause.
        source: io::Error,
    },

    /// Reading failed.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The writer that the context went to failed.
    #[error("The build context cannot be sent")]
    Output {
        /// The cause.
        source: io::Error,
    },
}

impl Explain for ContextError {
    fn reason(&self) -> Reason {
        match self {
            Self::Cancelled => Reason::Cancelled,
            _ => Reason::ContextInvalid,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::Outside { .. } | Self::Escapes { .. } => {
                "Mount the directory into hookd's container at the runner's own path and name it \
                 in HOOKD_CONTEXT_DIRS"
            }
            Self::Root { .. } => {
                "Mount the directory into hookd's container at the runner's own path, and check \
                 HOOKD_WORK_DIR and HOOKD_CONTEXT_DIRS"
            }
            Self::DirectoryMissing { .. } => {
                "Check that the work directory, and the action cache if there is one, are mounted \
                 into hookd's container at the runner's own paths"
            }
            Self::NotFound { .. } | Self::IsDirectory { .. } => {
                "Check the image that the action's action.yml names, and that the file is checked \
                 out"
            }
            Self::NotRegular { .. } => "Replace it with a file",
            Self::NameNotUtf8 { .. } => "Rename the Dockerfile",
            Self::Unreadable { .. } => {
                "Let the runner's user read it, or name it in the .dockerignore file"
            }
            Self::InvalidRule { .. } => "Correct the line",
            Self::SpecialFile { .. } => "Remove it, or name it in the .dockerignore file",
            Self::Changed { .. } => {
                "End what still writes there before this step, or name it in the .dockerignore file"
            }
            Self::TooLarge { .. } => {
                "Name what the build does not need in the .dockerignore file, or raise \
                 HOOKD_BUILD_CONTEXT_LIMIT_BYTES"
            }
            Self::FileTooLarge { .. } => "Make the file smaller",
            Self::TooManyRules { .. } => {
                "Use fewer patterns: one for a directory holds for all that lies in it, and `*` stands \
                 for any name"
            }
            Self::RuleTooLong { .. } => "Shorten the pattern",
            Self::PathTooLong { .. } => {
                "Use shorter or fewer nested directories, or name them in the .dockerignore file"
            }
            Self::TimedOut { .. } => {
                "Name what the build does not need in the .dockerignore file, use simpler patterns \
                 there, check the work volume, or raise HOOKD_BUILD_CONTEXT_TIMEOUT_SECONDS"
            }
            Self::Cancelled => "Nothing to do",
            Self::NoOpenat2 { .. } => {
                "Use Linux 5.6 or later and a seccomp profile such as RuntimeDefault that allows \
                 openat2"
            }
            Self::Read { .. } => "Check the storage of the volume that it is on",
            Self::Output { .. } => {
                "Check the API server and the kubelet of the build's node; run the job again"
            }
        };
        help.to_owned()
    }
}

#[cfg(test)]
mod examples;

#[cfg(test)]
pub(crate) use examples::examples;
