//! One error of each kind, and one of each refusal and problem that has a remedy of its own.

use kube::core::Status;

use super::{ClusterError as E, PullProblem};
use crate::cluster::refusal;
use crate::error::Explain;
use crate::error::examples::assert_complete;

fn status(code: u16, message: &str) -> Status {
    Status { code, message: message.to_owned(), ..Status::default() }
}

fn gone() -> Box<kube::Error> {
    Box::new(kube::Error::Service("pods \"build-1-x7x2p\" not found".into()))
}

fn requests() -> Vec<E> {
    let refusals = refusal::examples();
    let refused = refusals
        .iter()
        .map(|(code, message)| E::refused("create Job ns/build-1", &status(*code, message)));
    let no_answer = kube::Error::Service("no answer within 15 s".into());
    let mut all = vec![
        E::NotConfigured { source: "the environment has no KUBERNETES_SERVICE_HOST".into() },
        E::from_request("create Job ns/build-1", no_answer),
        E::PermissionsMissing {
            namespace: "ns".into(),
            permissions: vec!["create jobs.batch".into(), "get pods/log".into()],
        },
        E::NameTaken { kind: "Job".into(), name: "build-1".into() },
        E::PodOfAnotherRunner {
            name: "runner-1-workflow".into(),
            other: "runner-2".into(),
            runner: "runner-1".into(),
        },
        E::PodOfNoRunner { name: "runner-1-workflow".into(), label: crate::names::RUNNER_LABEL },
    ];
    all.extend(refused);
    all
}

fn pods() -> Vec<E> {
    let nodes = |why: &str| format!("0/1 nodes are available: {why}.");
    let init = |container: &str, message: &str| E::InitContainerFailed {
        container: container.into(),
        exit_code: 1,
        message: message.into(),
    };
    vec![
        E::PodDeleted { name: "build-1-x7x2p".into() },
        E::Disrupted {
            name: "build-1-x7x2p".into(),
            reason: "PreemptionByScheduler".into(),
            message: "preempting to accommodate a higher priority pod".into(),
        },
        E::Evicted {
            reason: "Evicted".into(),
            message: "The node was low on resource: memory".into(),
        },
        E::PodFailed {
            name: "build-1-x7x2p".into(),
            reason: "NodeAffinity".into(),
            message: "Pod was rejected".into(),
        },
        E::PodFailed {
            name: "build-1-x7x2p".into(),
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        },
        E::ClaimNotFound { message: nodes("persistentvolumeclaim \"work\" not found") },
        E::VolumeOnOtherNode { message: nodes("1 node(s) had volume node affinity conflict") },
        init("hookd-tools", "cp: not found"),
        init(crate::names::REGISTRY_ENDPOINT, "ca.crt cannot be read"),
        init(crate::names::REGISTRY_CREDENTIALS, "BuildKit takes one user for each registry"),
        E::OomKilled { limit: Some("64Mi".into()) },
        E::OomKilled { limit: None },
    ]
}

fn containers() -> Vec<E> {
    let pull = |problem, cause: &str| E::PullFailed {
        image: "registry.example/tool:9".into(),
        cause: cause.into(),
        problem,
    };
    vec![
        E::InvalidImageName { image: "busybox:".into() },
        pull(PullProblem::BackOff, "Back-off pulling image \"registry.example/tool:9\""),
        pull(PullProblem::NotFound, "registry.example/tool:9: not found"),
        pull(PullProblem::Denied, "401 Unauthorized"),
        pull(PullProblem::Unreachable, "dial tcp 127.0.0.1:1: connect: connection refused"),
        pull(PullProblem::Other, "429 Too Many Requests"),
        E::ConfigNotSynced {
            message: "failed to sync secret cache: timed out waiting for the condition".into(),
        },
        E::ConfigUnusable { message: "secret \"x\" not found".into() },
        E::MountMissing {
            message: "MountVolume.SetUp failed for volume \"credentials\" : secret \"x\" not found"
                .into(),
        },
        E::NoImageVolumes { message: "failed to mkdir \"\": no such file or directory".into() },
        E::ProgramNotStarted { message: "exec: \"/nope\": no such file or directory".into() },
    ]
}

fn streams() -> Vec<E> {
    let pod = || "build-1-x7x2p".to_owned();
    let after = || "2026-01-01T12:00:00.123456789Z".to_owned();
    vec![
        E::LogGone { pod: pod(), source: gone() },
        E::LogUnreadable { pod: pod(), why: "the connection was reset".into() },
        E::OutputLost { after: after(), next: Some("2026-01-01T12:00:07.5Z".into()) },
        E::OutputLost { after: after(), next: None },
        E::ContextNotSent { pod: pod(), source: "the container stopped reading".into() },
    ]
}

/// At least one error of each kind.
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let all = [requests(), pods(), containers(), streams()].into_iter().flatten();
    all.map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[test]
fn the_examples_have_every_error_of_the_cluster() {
    let examples = crate::cluster::error::examples();
    assert_complete(include_str!("../error.rs"), "ClusterError", &examples);
}

#[test]
fn a_lost_pod_is_none_that_the_cluster_explains() {
    let deadline = |reason: &str| E::PodFailed {
        name: "p".into(),
        reason: reason.into(),
        message: String::new(),
    };
    assert!(E::PodDeleted { name: "p".into() }.is_pod_lost());
    assert!(E::LogGone { pod: "p".into(), source: gone() }.is_pod_lost());
    assert!(deadline("NodeLost").is_pod_lost() && !deadline("DeadlineExceeded").is_pod_lost());
    assert!(!E::NameTaken { kind: "Pod".into(), name: "p".into() }.is_pod_lost());
}
