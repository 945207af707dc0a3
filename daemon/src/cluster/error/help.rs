//! What the user can do about each error of the cluster.

use super::{ClusterError, PullProblem, REGISTRY_CREDENTIALS, REGISTRY_ENDPOINT};

/// The remedy.
pub(super) fn of(error: &ClusterError) -> &'static str {
    use ClusterError as E;
    match error {
        E::Refused { refusal, .. } => refusal.help(),
        E::PullFailed { problem, .. } => pull(*problem),
        E::InitContainerFailed { container, .. } if container == REGISTRY_ENDPOINT => {
            "Check ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET and HOOKD_REGISTRY_CA_CONFIGMAP: the \
             container is hookd's own, and reads what they name"
        }
        E::InitContainerFailed { container, .. } if container == REGISTRY_CREDENTIALS => {
            "Check ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET: the container is hookd's own, and writes \
             what a buildkitd elsewhere gets of it"
        }
        E::InitContainerFailed { .. } => {
            "Correct it in the hook template; `hookd-tools` is hookd's own and needs /bin/sh and cp in \
             the runner's image"
        }
        E::NotConfigured { .. } => {
            "Mount a service-account token into the sidecar (deploy/runner-pod.yaml shows how)"
        }
        E::NoAnswer { .. } => "Check the API server and the network between it and the runner pod",
        E::PermissionsMissing { .. } => {
            "Apply deploy/rbac.yaml in that namespace, or deploy/rbac-own-pod.yaml where jobs or builds \
             have pods of their own, and bind its Role to the sidecar's service account; hookd looks \
             again at the next call"
        }
        E::NameTaken { .. } | E::PodOfAnotherRunner { .. } | E::PodOfNoRunner { .. } => {
            "Delete it if it is a leftover; run the job again"
        }
        _ => pod(error),
    }
}

/// What the user can do about a pod.
fn pod(error: &ClusterError) -> &'static str {
    use ClusterError as E;
    match error {
        E::PodDeleted { .. } => {
            "Check the cluster's audit log for who deleted it (a node drain, a preemption, a person); \
             run the job again"
        }
        E::Disrupted { .. } => {
            "Run the job again; keep drains, taints and pods of higher priority away from runners' nodes"
        }
        E::Evicted { .. } => {
            "Give the step's resources or its node more room, and run the job again"
        }
        E::PodFailed { .. } => "Check the node's kubelet; run the job again",
        E::ClaimNotFound { .. } => {
            "Set ACTIONS_RUNNER_CLAIM_NAME to the claim of the runner's work directory, or create it"
        }
        E::VolumeOnOtherNode { .. } => {
            "The work volume exists on another node only: use a ReadWriteMany claim, or let runner \
             and step share a node"
        }
        _ => container(error),
    }
}

/// What the user can do about a container, or what comes out of it.
fn container(error: &ClusterError) -> &'static str {
    use ClusterError as E;
    match error {
        E::InvalidImageName { .. } => {
            "Correct the image in the workflow or in the action's action.yml"
        }
        E::ConfigNotSynced { .. } => {
            "Check that the kubelet of the pod's node reaches the API server; run the job again"
        }
        E::ConfigUnusable { .. } => "Create the object that the message names, or correct its name",
        E::MountMissing { .. } => {
            "Create the object that the message names in the runner's namespace, or correct its name: \
             ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_SECRET names the Secret that builds mount, the hook \
             template those of its volumes"
        }
        E::NoImageVolumes { .. } => {
            "Use containerd 2.1 or CRI-O 1.33 or later on the nodes, or set HOOKD_AGENT_INJECTION=init-container"
        }
        E::ProgramNotStarted { .. } => {
            "Check the entrypoint: it must exist in the image, be executable, and be made for this \
             platform"
        }
        E::OomKilled { limit: None } => {
            "Run it on a node with more memory, or let the program use less"
        }
        E::OomKilled { .. } => {
            "Raise the limit (HOOKD_BUILD_MEMORY for builds), or let the program use less"
        }
        E::LogGone { .. } => {
            "Check the cluster's audit log for who deleted the pod; run the job again"
        }
        E::LogUnreadable { .. } | E::ContextNotSent { .. } => {
            "Check the API server and the kubelet of the pod's node; run the job again"
        }
        E::OutputLost { .. } => {
            "Run the job again; let the program print less than 10 MiB in 10 s, or raise the kubelet's \
             containerLogMaxSize"
        }
        // The arms of `of` and `pod`.
        _ => "This is a defect of hookd: please report it",
    }
}

fn pull(problem: PullProblem) -> &'static str {
    match problem {
        PullProblem::BackOff => "See the pod's events for the registry's answer",
        PullProblem::NotFound => "Check the image's name and tag for a misspelling",
        PullProblem::Denied => {
            "Check the name, and give the runner pod an imagePullSecret that may read it"
        }
        PullProblem::Unreachable => {
            "Check that the registry runs and that the node can reach it; localhost:<node port> \
             needs kube-proxy in iptables mode on IPv4, otherwise set \
             ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PULL_HOST"
        }
        PullProblem::Other => "Check the registry and the node's container runtime",
    }
}
