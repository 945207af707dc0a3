//! Containers of a job that cannot be started, or are lost.

use std::io;
use std::time::Duration;

use crate::cluster::access::{self, Permission};
use crate::error::{Explain, Reason};

/// Why a placement fails that the rooms below have done their part for.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The pod of an earlier job is still there.
    #[error("Pod {pod} of an earlier job was not deleted within {} s", .timeout.as_secs())]
    PodStays {
        /// Name of the pod.
        pod: String,
        /// How long hookd waited.
        timeout: Duration,
    },

    /// The agent ended in the job container before it had answered.
    #[error("stepd ended with exit code {exit_code} in container {container} of pod {pod}")]
    AgentEnded {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Its exit code.
        exit_code: i32,
    },

    /// The container runs, and its agent does not listen.
    #[error("The agent in container {container} of pod {pod} does not listen")]
    NoSocket {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
    },

    /// No registry says which program an image has, which stepd is to start.
    #[error(
        "The program of image {image} cannot be determined: its registry does not answer hookd"
    )]
    ImageUnknown {
        /// The image.
        image: String,
    },

    /// An image with neither ENTRYPOINT nor CMD.
    #[error("Image {image} names no program")]
    NoProgram {
        /// The image.
        image: String,
    },

    /// A container step reached its time limit.
    #[error("The step ran longer than {} s, and was ended", .limit.as_secs())]
    StepLate {
        /// The limit.
        limit: Duration,
    },

    /// Containers of an earlier job, or of a step, run on although they were to end.
    #[error("Containers of an earlier job still run in pod {pod}: {containers}")]
    ContainersStay {
        /// Name of the pod.
        pod: String,
        /// Their names.
        containers: String,
    },

    /// A container that was planned is in no pod.
    #[error("Container {container} of the job was not planned")]
    NotPlanned {
        /// The container.
        container: String,
    },

    /// The agent does not answer, though its container runs.
    #[error("The agent in pod {pod} did not answer within {} s", .timeout.as_secs())]
    AgentSilent {
        /// Name of the pod.
        pod: String,
        /// The runner's namespace.
        namespace: String,
        /// How long hookd waited.
        timeout: Duration,
    },

    /// The Job that ran the step is not there any more.
    #[error("Job {job} of this step is gone")]
    JobGone {
        /// Name of the Job.
        job: String,
    },

    /// The Job waits for the kubelet to start its program, and hookd would have stepd do it; or the
    /// reverse.
    #[error(
        "Job {job} was created by an earlier hookd process that knew more, or less, about the step's \
         image, so that this process cannot start its program"
    )]
    LauncherChanged {
        /// Name of the Job.
        job: String,
    },

    /// The client's cursor has an image without a program, for a step that stepd is to start.
    #[error("The program of image {image} is not known any more")]
    ProgramUnknown {
        /// The image.
        image: String,
    },

    /// The services of a job publish too many ports.
    #[error("The services of the job publish more than {limit} ports")]
    TooManyPorts {
        /// How many may be published.
        limit: usize,
    },

    /// Two services publish the same port of the runner.
    #[error(
        "Port {port} is published by both service {first} (its port {first_port}) and service \
         {second} (its port {second_port})"
    )]
    PortTwice {
        /// The port of the runner.
        port: u16,
        /// The one service.
        first: String,
        /// Its own port.
        first_port: u16,
        /// The other service.
        second: String,
        /// Its own port.
        second_port: u16,
    },

    /// hookd cannot listen at a published port.
    #[error(
        "Port {port} on localhost of the runner cannot lead to port {service_port} of service \
         {service}: {}: {source}", port_problem(.source)
    )]
    PortUnavailable {
        /// The port of the runner.
        port: u16,
        /// The service.
        service: String,
        /// Its own port.
        service_port: u16,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn port_problem(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "something in the runner pod listens there already",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege in the runner pod (net.ipv4.ip_unprivileged_port_start)"
        }
        _ => "the kernel of the runner pod refuses it",
    }
}

impl Explain for PlacementError {
    fn reason(&self) -> Reason {
        match self {
            Self::PodStays { .. } | Self::ContainersStay { .. } | Self::StepLate { .. } => {
                Reason::DeadlineExceeded
            }
            Self::AgentEnded { .. }
            | Self::NoSocket { .. }
            | Self::NoProgram { .. }
            | Self::PortUnavailable { .. } => Reason::StartFailed,
            Self::ImageUnknown { .. } => Reason::RegistryUnreachable,
            Self::AgentSilent { .. } => Reason::ApiUnreachable,
            Self::JobGone { .. } | Self::LauncherChanged { .. } => Reason::StepLost,
            Self::ProgramUnknown { .. } | Self::NotPlanned { .. } => Reason::Internal,
            Self::TooManyPorts { .. } | Self::PortTwice { .. } => Reason::InvalidInput,
        }
    }

    fn help(&self) -> String {
        let help = match self {
            Self::PodStays { .. } => {
                "Check the kubelet logs on its node; once the pod is gone, run the job again"
            }
            Self::AgentEnded { .. } => {
                "Check the log of that container; its image must be made for this platform"
            }
            Self::AgentSilent { namespace, .. } => {
                let exec = Permission { group: "", resource: "pods/exec", verb: "create" };
                return format!(
                    "Check that hookd's service account may {} in namespace {namespace}, and check the \
                     kubelet of the pod's node",
                    access::describe(&exec)
                );
            }
            Self::JobGone { .. } => {
                "Check the cluster's audit log for who deleted it; run the job again"
            }
            Self::LauncherChanged { .. } => {
                "Check whether the image's registry answers hookd; run the job again"
            }
            Self::ContainersStay { .. } => {
                "Delete the runner pod: a job left a program there that keeps stepd from ending its \
                 container"
            }
            Self::NoSocket { .. } => {
                "Check the log of the container, and that its user can write to the volume at \
                 /__hookd_run; run the job again"
            }
            Self::ImageUnknown { .. } => {
                "Check the image's name, that hookd reaches its registry (HOOKD_REGISTRY_MAP, \
                 HOOKD_INSECURE_REGISTRIES) and may read the Secrets of `imagePullSecrets`, or set \
                 HOOKD_JOB_PLACEMENT=own-pod"
            }
            Self::NoProgram { .. } => "Set `entrypoint` in the workflow or the action",
            Self::StepLate { .. } => {
                "Raise HOOKD_STEP_TIMEOUT_SECONDS if the step needs longer; run the job again"
            }
            Self::ProgramUnknown { .. } | Self::NotPlanned { .. } => {
                "This is a defect of hookd: please report it"
            }
            Self::TooManyPorts { .. } => {
                "Publish fewer ports, or run the job in a `container:`, which reaches all of them"
            }
            Self::PortTwice { .. } => "Write another port before the colon for one of them",
            Self::PortUnavailable { .. } => {
                "Write another port before the colon in `ports:`, or only the service's own port and \
                 use ${{ job.services.<id>.ports['<port>'] }}"
            }
        };
        help.to_owned()
    }
}

/// Each error once, for the list of all messages.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let (pod, job) = (|| "runner-1-workflow".to_owned(), || "runner-1-step-1a2b".to_owned());
    let unavailable = |port, kind: io::ErrorKind| PlacementError::PortUnavailable {
        port,
        service: "redis".into(),
        service_port: 6379,
        source: kind.into(),
    };
    let all = vec![
        PlacementError::PodStays { pod: pod(), timeout: Duration::from_secs(600) },
        PlacementError::AgentEnded { pod: pod(), container: "job".into(), exit_code: 126 },
        PlacementError::NoSocket { pod: "runner-1".into(), container: "job-1a2b".into() },
        PlacementError::ImageUnknown { image: "registry.example/tool:1".into() },
        PlacementError::NoProgram { image: "registry.example/tool@sha256:0123".into() },
        PlacementError::ContainersStay { pod: "runner-1".into(), containers: "step-1a2b".into() },
        PlacementError::StepLate { limit: Duration::from_secs(3600) },
        PlacementError::NotPlanned { container: "db".into() },
        PlacementError::AgentSilent {
            pod: pod(),
            namespace: "runners".into(),
            timeout: Duration::from_secs(300),
        },
        PlacementError::JobGone { job: job() },
        PlacementError::LauncherChanged { job: job() },
        PlacementError::ProgramUnknown { image: "registry.example/tool@sha256:0123".into() },
        PlacementError::TooManyPorts { limit: 256 },
        PlacementError::PortTwice {
            port: 8080,
            first: "web".into(),
            first_port: 80,
            second: "api".into(),
            second_port: 8000,
        },
        unavailable(6379, io::ErrorKind::AddrInUse),
        unavailable(79, io::ErrorKind::PermissionDenied),
        unavailable(6379, io::ErrorKind::AddrNotAvailable),
    ];
    all.into_iter().map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[cfg(test)]
mod tests {
    use crate::error::examples::assert_complete;

    #[test]
    fn the_examples_have_every_error_of_a_placement() {
        assert_complete(include_str!("error.rs"), "PlacementError", &super::examples());
    }
}
