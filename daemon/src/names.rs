//! Names and labels of the objects that hookd makes. A name derives from the step's id alone, so
//! that a create whose outcome is unknown can be repeated: it finds its own object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

use crate::ids::StepId;

pub mod origin;

/// On every object: the runner pod that it belongs to. ARC deletes pods and Secrets by it.
pub const RUNNER_LABEL: &str = "runner-pod";
/// On every object: the step that it belongs to.
pub const STEP_LABEL: &str = "hookd.dev/step";
/// On every object: what it is for, so that policies can distinguish pods.
pub const COMPONENT_LABEL: &str = "hookd.dev/component";
/// The Job controller's own label on a Job's pods.
pub const JOB_LABEL: &str = "batch.kubernetes.io/job-name";
/// Label of a Job's pod: the uid of the Job.
pub const JOB_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// Label of a build's Job: the call that made it, and no other that repeats it.
pub const CALL_LABEL: &str = "hookd.dev/call";
/// Label of a build's Job: the begin of its key, if others may follow it.
pub const BUILD_KEY_LABEL: &str = "hookd.dev/build-key";
/// Name of the job container in a job's pod.
pub const JOB_CONTAINER: &str = "job";
/// Name of the container in the pod of a container step.
pub const STEP_CONTAINER: &str = "step";
/// Start of the names of job containers in the runner pod.
const JOB_PREFIX: &str = "job-";
/// Start of the names of services in the runner pod.
const SERVICE_PREFIX: &str = "service-";
/// Name of Kaniko's container in a build's pod.
pub const BUILD_CONTAINER: &str = "kaniko";
/// Name of the container beside Kaniko that alone has the registry's credentials.
pub const REGISTRY_ENDPOINT: &str = "registry-endpoint";
/// Name of the container that writes the credentials of a build whose builder asks registries itself.
pub const REGISTRY_CREDENTIALS: &str = "registry-credentials";
/// Directory of the work directory that the runner downloads actions to.
pub const ACTIONS_DIR: &str = "_actions";
/// Annotation of a job's pod: the containers of its services, comma-separated.
pub const SERVICES_ANNOTATION: &str = "hookd.dev/services";

/// The longest name that also fits a label, which a Job's name must.
const MAX_LEN: usize = 63;
/// Containers that may take the place of one that was left unstarted.
pub const MOST_AGAIN: usize = 2;
/// Digits of the hash in a name that is cut.
const HASH_LEN: usize = 8;

/// Name of the Job and of the Secret of a container step.
pub fn step(runner: &str, step: &StepId) -> String {
    named(runner, &format!("step-{step}"))
}

/// Name of the job container that this step starts in the runner pod.
pub fn job_container(step: &StepId) -> String {
    format!("{JOB_PREFIX}{step}")
}

/// Name of the container of a step in the runner pod; each attempt at building its image there has its own.
pub fn step_container(step: &StepId, attempt: u32) -> String {
    match attempt {
        0 => format!("{STEP_CONTAINER}-{step}"),
        attempt => format!("{STEP_CONTAINER}{attempt}-{step}"),
    }
}

/// The step of a container in the runner pod, if it is one of a container step.
pub fn step_of_container(container: &str) -> Option<&str> {
    let (attempt, step) = container.strip_prefix(STEP_CONTAINER)?.split_once('-')?;
    attempt.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x').then_some(step)
}

/// Name of a container that takes the place of one that the kubelet has left unstarted.
pub fn again(container: &str) -> String {
    container.replacen('-', "x-", 1)
}

/// Name of a service's container that this step starts in the runner pod.
pub fn service_container(service: &str, step: &StepId) -> String {
    let room = MAX_LEN - SERVICE_PREFIX.len() - HASH_LEN - 1 - MOST_AGAIN;
    let service: String = service.chars().take(room).collect();
    format!("{SERVICE_PREFIX}{}-{}", service.trim_end_matches('-'), hash(step.as_str()))
}

/// True for the container of a container step.
pub fn is_of_step(container: &str) -> bool {
    container == STEP_CONTAINER || step_of_container(container).is_some()
}

/// Name of the Job of a build; each attempt has its own.
pub fn build(runner: &str, step: &StepId, attempt: u32) -> String {
    match attempt {
        0 => named(runner, &format!("build-{step}")),
        attempt => named(runner, &format!("build-{attempt}-{step}")),
    }
}

/// Name of the Lease of those who build the image with this key.
pub fn build_lease(key: &str) -> String {
    format!("hookd-build-{key}")
}

/// Name of a job's pod: a runner has one job. Of the reference hooks, for whom it is known.
pub fn job_pod(runner: &str) -> String {
    named(runner, "workflow")
}

/// Name of the Secret with the environment of a job's services.
pub fn services_secret(runner: &str, step: &StepId) -> String {
    named(runner, &format!("services-{step}"))
}

/// Name of a Secret with credentials for a job's images, counted from 0.
pub fn pull_secret(runner: &str, step: &StepId, index: usize) -> String {
    match index {
        0 => named(runner, &format!("pull-{step}")),
        index => named(runner, &format!("pull-{index}-{step}")),
    }
}

/// `<runner>-<suffix>`. A runner's part that does not fit is cut, and a hash of the whole follows
/// it: runners of one scale set differ at their names' end only.
fn named(runner: &str, suffix: &str) -> String {
    let room = MAX_LEN - suffix.len() - 1;
    if runner.len() <= room {
        return format!("{runner}-{suffix}");
    }
    let prefix: String = runner.chars().take(room.saturating_sub(HASH_LEN + 1)).collect();
    format!("{}-{}-{suffix}", prefix.trim_end_matches(['-', '.']), hash(runner))
}

/// The first digits of the SHA-256 of a text.
pub fn hash(text: &str) -> String {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(text).into();
    format!("{:0HASH_LEN$x}", u32::from_be_bytes([a, b, c, d]))
}

/// True for a name in a domain name (RFC 1123), in small letters.
pub fn is_label(label: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (label.bytes().next(), label.bytes().last());
    first.is_some_and(letter)
        && last.is_some_and(letter)
        && label.len() <= 63
        && label.bytes().all(|byte| letter(byte) || byte == b'-')
}

/// True for an object of this runner.
pub fn is_of(object: &ObjectMeta, runner: &str) -> bool {
    let labels = object.labels.as_ref();
    labels.and_then(|labels| labels.get(RUNNER_LABEL)).is_some_and(|of| of == runner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_fit_63_characters_and_keep_the_step_whole() {
        let id: StepId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        for name in [step(&"r".repeat(250), &id), build(&"r".repeat(250), &id, 12)] {
            assert!(name.len() <= 63 && name.ends_with(id.as_str()), "{name}");
        }
        let short: StepId = "ab12".parse().unwrap();
        assert_eq!(step("my-runner", &short), "my-runner-step-ab12");
        assert_eq!(build("my-runner", &short, 0), "my-runner-build-ab12");
        assert_eq!(build("my-runner", &short, 2), "my-runner-build-2-ab12");
    }

    #[test]
    fn a_cut_runner_name_does_not_end_with_a_dash() {
        let id: StepId = "x".repeat(40).parse().unwrap();
        let runner = format!("{}-{}", "r".repeat(7), "s".repeat(30));
        assert!(!step(&runner, &id).contains("--"), "{}", step(&runner, &id));
    }

    #[test]
    fn long_names_that_differ_at_their_end_stay_different() {
        let id: StepId = "x".repeat(40).parse().unwrap();
        let names = |end: &str| {
            let runner = format!("{}-7k2xq-runner-{end}", "s".repeat(44));
            [job_pod(&runner), step(&runner, &id), services_secret(&runner, &id)]
        };
        let (some, others) = (names("m9d4t"), names("x2b8c"));
        for (one, other) in some.iter().zip(&others) {
            assert_ne!(one, other);
            assert!(one.len() <= 63 && one.starts_with("ssss") && !one.contains("--"), "{one}");
        }
        assert!(some[0].ends_with("-workflow"), "{}", some[0]);
        assert_eq!(some, names("m9d4t"), "a name is found again");
    }

    #[test]
    fn a_jobs_pod_has_the_reference_hooks_name_if_that_fits() {
        for runner in ["arc-7k2xq-runner-m9d4t", &"r".repeat(54)] {
            assert_eq!(job_pod(runner), format!("{runner}-workflow"));
        }
    }

    #[test]
    fn containers_of_the_runner_pod_are_told_apart_by_their_names() {
        let id: StepId = "x".repeat(40).parse().unwrap();
        let service = service_container(&"s".repeat(60), &id);
        for name in [&service, &job_container(&id), &step_container(&id, 2)] {
            let name = &again(&again(name));
            assert!(is_label(name), "{name}");
        }
        for attempt in 0..3 {
            let name = step_container(&id, attempt);
            assert_eq!(step_of_container(&name), Some(id.as_str()));
            assert_eq!(step_of_container(&again(&name)), Some(id.as_str()));
        }
        assert!(is_of_step(&step_container(&id, 1)) && is_of_step(STEP_CONTAINER));
        assert!(!is_of_step(&service_container("step", &id)) && !is_of_step(&job_container(&id)));
    }

    #[test]
    fn an_object_is_its_runners_by_its_label_alone() {
        let labelled = |runner: &str| ObjectMeta {
            labels: Some(BTreeMap::from([(RUNNER_LABEL.to_owned(), runner.to_owned())])),
            ..ObjectMeta::default()
        };
        assert!(is_of(&labelled("r"), "r"));
        assert!(!is_of(&labelled("r2"), "r") && !is_of(&ObjectMeta::default(), "r"));
    }
}
