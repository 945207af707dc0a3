//! The faults, and how each operation must end under each of them.

use super::operation::Operation;
use test_support::Placement;

/// What goes wrong while an operation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The API server is killed and comes back after so many seconds.
    ApiServerStopped(u64),
    /// It is killed and started again while exec sessions are open.
    ApiServerRestarted,
    /// Connections to it are reset, the next ones after some bytes.
    ConnectionsReset,
    /// Connections pass nothing on any more, and neither end hears of it.
    HalfOpen,
    /// Connections lose one direction.
    HalfClosed,
    /// Nothing passes for 30 s, on old and new connections.
    Stalled,
    /// 32 KiB a second for 20 s.
    Throttled,
    /// 429, 500, 503, 410, pages of other sites and answers that are cut off.
    WrongAnswers,
    /// The daemon's process is killed.
    DaemonKilled,
    /// The sidecar's first process is killed, and so its container.
    ContainerKilled,
    /// The daemon is stopped for 30 s.
    DaemonStopped,
    /// The daemon is stopped for good: it lives and answers nothing.
    DaemonHung,
    /// hook is killed.
    HookKilled,
    /// Hook's standard output is not read for 20 s.
    StdoutBlocked,
    /// The kubelet is killed and started again.
    KubeletRestarted,
    /// containerd likewise.
    ContainerdRestarted,
    /// The registry is away while images are built.
    RegistryStopped,
    /// The pod of the operation's program is deleted.
    JobPodDeleted,
    /// The main process of that pod is killed for its memory.
    JobPodOutOfMemory,
    /// Hook's standard output is not read until the spool in the job pod is full.
    SpoolFull,
    /// The work volume has neither space nor inodes left.
    VolumeFull,
    /// The work volume is turned read-only.
    VolumeReadOnly,
    /// The runner's own pod is deleted.
    RunnerPodDeleted,
}

/// All; those that end the sidecar's container and the runner pods come last.
pub const ALL: [Fault; 25] = [
    Fault::ApiServerStopped(1),
    Fault::ApiServerStopped(10),
    Fault::ApiServerStopped(60),
    Fault::ApiServerRestarted,
    Fault::ConnectionsReset,
    Fault::HalfOpen,
    Fault::HalfClosed,
    Fault::Stalled,
    Fault::Throttled,
    Fault::WrongAnswers,
    Fault::DaemonKilled,
    Fault::DaemonStopped,
    Fault::DaemonHung,
    Fault::HookKilled,
    Fault::StdoutBlocked,
    Fault::KubeletRestarted,
    Fault::ContainerdRestarted,
    Fault::RegistryStopped,
    Fault::SpoolFull,
    Fault::JobPodDeleted,
    Fault::JobPodOutOfMemory,
    Fault::VolumeFull,
    Fault::VolumeReadOnly,
    Fault::ContainerKilled,
    Fault::RunnerPodDeleted,
];

/// How an operation must end under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// As if nothing had happened.
    Unaffected,
    /// With an error that has all these words.
    Error(&'static [&'static str]),
    /// hook was killed.
    Killed,
    /// With its container, or cancelled before that.
    Gone,
    /// With its container, or as if nothing had happened.
    GoneOrUnaffected,
}

impl Fault {
    /// Its name in the table.
    pub fn name(self) -> String {
        match self {
            Self::ApiServerStopped(seconds) => format!("API server stopped {seconds} s"),
            Self::ApiServerRestarted => "API server restarted".to_owned(),
            Self::ConnectionsReset => "connections reset".to_owned(),
            Self::HalfOpen => "half-open".to_owned(),
            Self::HalfClosed => "half-closed".to_owned(),
            Self::Stalled => "stalled 30 s".to_owned(),
            Self::Throttled => "throttled 20 s".to_owned(),
            Self::WrongAnswers => "wrong answers".to_owned(),
            Self::DaemonKilled => "daemon killed".to_owned(),
            Self::ContainerKilled => "container killed".to_owned(),
            Self::DaemonStopped => "daemon stopped 30 s".to_owned(),
            Self::DaemonHung => "daemon hung".to_owned(),
            Self::HookKilled => "hook killed".to_owned(),
            Self::StdoutBlocked => "stdout blocked 20 s".to_owned(),
            Self::KubeletRestarted => "kubelet restarted".to_owned(),
            Self::ContainerdRestarted => "containerd restarted".to_owned(),
            Self::RegistryStopped => "registry stopped".to_owned(),
            Self::SpoolFull => "spool full".to_owned(),
            Self::JobPodDeleted => "job pod deleted".to_owned(),
            Self::JobPodOutOfMemory => "job pod OOM".to_owned(),
            Self::VolumeFull => "work volume full".to_owned(),
            Self::VolumeReadOnly => "work volume read-only".to_owned(),
            Self::RunnerPodDeleted => "runner pod deleted".to_owned(),
        }
    }

    /// Why this is no fault for `operation`, if it is none.
    pub(crate) fn not_applicable(self, operation: Operation) -> Option<&'static str> {
        if operation.placement() == Placement::OwnPod {
            return None;
        }
        match self {
            Self::HalfOpen
            | Self::HalfClosed
            | Self::Stalled
            | Self::Throttled
            | Self::WrongAnswers => Some("it asks nothing of the API server"),
            Self::JobPodDeleted | Self::JobPodOutOfMemory => Some("its pod is the runner's"),
            Self::VolumeFull | Self::VolumeReadOnly => Some("its work volume is the node's disk"),
            _ => None,
        }
    }

    /// How `operation` must end.
    pub(crate) fn expected(self, operation: Operation) -> Expected {
        if self.not_applicable(operation).is_some() {
            return Expected::Unaffected;
        }
        match (self, operation) {
            (Self::HookKilled, _) => Expected::Killed,
            // It needs no longer than the runner has to live.
            (Self::RunnerPodDeleted, Operation::Cleanup) => Expected::GoneOrUnaffected,
            (Self::RunnerPodDeleted, _) => Expected::Gone,
            (Self::JobPodDeleted | Self::JobPodOutOfMemory, Operation::Cleanup) => {
                Expected::Unaffected
            }
            (Self::JobPodDeleted, _) => Expected::Error(&["deleted"]),
            (Self::JobPodOutOfMemory, _) => Expected::Error(&["OOMKilled"]),
            (Self::VolumeFull, _) => on_volume(operation, &FULL),
            (Self::VolumeReadOnly, _) => on_volume(operation, &READ_ONLY),
            _ => Expected::Unaffected,
        }
    }
}

/// Words of the errors on a volume that takes no writes: of the directory that a step needs, and of
/// the file that takes the answer to the runner.
struct OnVolume {
    directory: [&'static str; 2],
    response: [&'static str; 2],
}

const FULL: OnVolume = OnVolume {
    directory: [Operation::MISSING, "No space left on device"],
    response: ["The response file ", "No space left on device"],
};
const READ_ONLY: OnVolume = OnVolume {
    directory: [Operation::MISSING, "Read-only file system"],
    response: ["The response file ", "Read-only file system"],
};

/// A program that is under way writes nothing to the volume. After a build its step's directory is to
/// be made; a job that the runner hears nothing of is one that failed.
fn on_volume(operation: Operation, words: &'static OnVolume) -> Expected {
    match operation {
        Operation::Build => Expected::Error(&words.directory),
        Operation::Prepare | Operation::Cleanup => Expected::Error(&words.response),
        _ => Expected::Unaffected,
    }
}
