//! The messages are those of Kubernetes 1.36.

use super::*;
use crate::cluster::error::ClusterError;
use crate::error::Failure;

fn refused(action: &str, status: &Status) -> Failure {
    ClusterError::refused(action, status).into()
}

fn status(code: u16, message: &str) -> Status {
    Status { code, message: message.to_owned(), ..Status::default() }
}

/// Message of a plugin about a pod, its code, and what of the remedy fits.
const DENIED: [(u16, &str, &str); 26] = [
    // LimitRanger
    (403, "maximum memory usage per Container is 1Gi, but limit is 4Gi", "HOOKD_BUILD_MEMORY"),
    (403, "minimum cpu usage per Container is 1.  No request is specified", "`--cpus`"),
    (403, "maximum memory usage per Pod is 1Gi, but limit is 2147483648", "LimitRange"),
    (
        403,
        "cpu max limit to request ratio per Container is 2, but provided ratio is 20",
        "template",
    ),
    (403, "minimum memory usage per Container is 1Gi, but request is 64Mi", "`--memory`"),
    // ResourceQuota
    (
        403,
        "failed quota: compute: must specify limits.cpu for: job; limits.memory for: job",
        "`--cpus`",
    ),
    (403, "insufficient quota to consume: requests.storage", "ResourceQuota"),
    (500, "insufficient quota to match these scopes: [{PriorityClass In [high]}]", "ResourceQuota"),
    // Priority
    (403, "no PriorityClass with name ci-high was found", "priorityClassName"),
    (
        403,
        "the integer value of priority (5) must not be provided in pod spec; priority admission \
         controller computed 0 from the given PriorityClass name",
        "priorityClassName",
    ),
    (
        403,
        "pods with system-node-critical priorityClass is not permitted in ns namespace",
        "Priority",
    ),
    // ServiceAccount
    (
        403,
        "error looking up service account ns/ghost: serviceaccount \"ghost\" not found",
        "serviceAccountName",
    ),
    (
        403,
        "imagePullSecrets[0].name=\"x\" is not allowed because service account a does not reference \
         that imagePullSecret",
        "enforce-mountable-secrets",
    ),
    // PodSecurity
    (
        403,
        "violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \"job\" \
         must set securityContext.runAsNonRoot=true)",
        "Pod Security level",
    ),
    (403, "unable to validate against any security context constraint: []", "Pod Security level"),
    // RuntimeClass
    (403, "pod rejected: RuntimeClass \"gvisor\" not found", "runtimeClassName"),
    (
        403,
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        "RuntimeClass",
    ),
    (
        403,
        "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c",
        "runtimeClassName",
    ),
    // OwnerReferencesPermissionEnforcement
    (
        403,
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set \
         finalizers on: , <nil>",
        "verb that the message names",
    ),
    (403, "cannot set an ownerRef on a resource you can't delete: , <nil>", "service account"),
    // NamespaceLifecycle
    (
        403,
        "unable to create new content in namespace ns because it is being terminated",
        "being deleted",
    ),
    // PodNodeSelector, PodTolerationRestriction, LimitPodHardAntiAffinityTopology
    (
        403,
        "pod node label selector conflicts with its namespace node label selector",
        "nodeSelector",
    ),
    (
        500,
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its \
         namespace whitelist",
        "tolerations",
    ),
    // ImagePolicyWebhook, AlwaysDeny, and an unknown one
    (403, "image policy webhook backend denied one or more images: no", "policy or webhook"),
    (403, "admission control is denying all modifications", "admission"),
    (403, "tomorrow's plugin says no", "admission"),
];

// ARC#1071, ARC#1768, ARC#2612, rch#229: each of these was reported as a missing permission.
#[test]
fn every_plugin_has_its_own_message_and_remedy() {
    for (code, message, remedy) in DENIED {
        let object =
            if code == 500 { "Internal error occurred" } else { "pods \"p\" is forbidden" };
        let status = status(code, &format!("{object}: {message}"));
        let failure = refused("create Pod p", &status);
        assert_eq!(failure.reason, Reason::AdmissionDenied, "{message}");
        assert!(failure.message.contains(message), "{failure}");
        assert!(failure.remedy.contains(remedy), "{message}: {}", failure.remedy);
        assert!(!is_missing_permission(&status) && !is_passing(&status), "{message}");
    }
}

#[test]
fn a_webhook_or_policy_denies_by_whatever_code_it_chooses() {
    for (code, message) in [
        (403, "admission webhook \"validate.kyverno.svc-fail\" denied the request: no"),
        (400, "admission webhook \"w\" denied the request without explanation"),
        (500, "admission webhook \"w\" denied the request: exceeded quota: mine"),
        (
            429,
            "admission webhook \"w\" denied the request: User \"u\" cannot create resource \"pods\"",
        ),
        (
            422,
            "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'b' denied \
             request: failed expression: has(object.spec)",
        ),
        (401, "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'limits' denied request: no"),
    ] {
        let status = status(code, message);
        let failure = refused("create Pod p", &status);
        assert_eq!(failure.reason, Reason::AdmissionDenied, "{message}");
        assert!(failure.remedy.contains("policy or webhook"), "{}", failure.remedy);
        assert!(is_final(&status), "{message}");
    }
    let silent = "Internal error occurred: failed calling webhook \"w\": failed to call webhook: Post \
                  \"https://w.ns.svc:443/v?timeout=10s\": no endpoints available for service \"w\"";
    let failure = refused("create Pod p", &status(500, silent));
    assert_eq!(failure.reason, Reason::AdmissionDenied);
    assert!(failure.remedy.contains("does not answer") && !is_final(&status(500, silent)));
}

#[test]
fn only_who_cannot_do_what_is_a_missing_permission() {
    let account = "User \"system:serviceaccount:ns:hookd\" cannot";
    for message in [
        format!(
            "jobs.batch is forbidden: {account} create resource \"jobs\" in API group \"batch\" in \
                 the namespace \"ns\""
        ),
        format!(
            "pods \"p\" is forbidden: {account} get resource \"pods/log\" in API group \"\" in the \
                 namespace \"ns\": RBAC: role.rbac.authorization.k8s.io \"hookd\" not found"
        ),
        format!("forbidden: {account} get path \"/version\""),
        format!(
            "pods is forbidden: {account} list resource \"pods\" in API group \"\" at the cluster \
                 scope: requires one of [\"container.pods.list\"] permission(s)."
        ),
    ] {
        let failure = refused("create Job j", &status(403, &message));
        assert_eq!(failure.reason, Reason::PermissionMissing, "{message}");
        assert!(failure.remedy.contains("deploy/rbac-own-pod.yaml"));
    }
    assert!(is_missing_permission(&status(401, "Unauthorized")));
    assert!(!is_missing_permission(&status(403, "You cannot create resource \"pods\" here")));
    assert!(!is_missing_permission(&status(404, &format!("{account} get resource \"pods\""))));
}

#[test]
fn a_quota_that_is_used_up_or_not_counted_yet_can_be_waited_for() {
    for message in [
        "pods \"p\" is forbidden: exceeded quota: compute, requested: limits.cpu=2, used: \
         limits.cpu=63, limited: limits.cpu=64",
        "pods \"p\" is forbidden: status unknown for quota: compute, resources: limits.cpu",
    ] {
        let failure = refused("create Pod p", &status(403, message));
        assert_eq!(failure.reason, Reason::QuotaExceeded, "{message}");
    }
}

#[test]
fn an_api_server_whose_admission_is_not_ready_is_asked_again() {
    let limits =
        "unable to create pods at this time because there was an error enforcing limit ranges";
    for message in ["not yet ready to handle request", limits] {
        assert!(
            is_passing(&status(403, &format!("pods \"p\" is forbidden: {message}"))),
            "{message}"
        );
    }
    let named = "admission webhook \"w\" denied the request: not yet ready to handle request";
    assert!(!is_passing(&status(403, named)));
}

#[test]
fn an_invalid_object_names_where_to_change_it() {
    for (code, message) in [
        (
            422,
            "Pod \"p\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2Gi\"",
        ),
        (
            400,
            "Pod in version \"v1\" cannot be handled as a Pod: quantities must match the regular",
        ),
        (413, "Request entity too large: limit is 3145728"),
    ] {
        assert_eq!(
            refused("create Pod p", &status(code, message)).reason,
            Reason::InvalidInput,
            "{message}"
        );
    }
}

#[test]
fn an_event_of_a_job_says_why_it_has_no_pod() {
    let of = |message: &str| {
        let status = of_event(&format!("Error creating: {message}"))?;
        Some(refused("create the step's pod", &status))
    };
    for (code, message, remedy) in DENIED.iter().filter(|(code, ..)| *code == 403) {
        let failure = of(&format!("pods \"p-\" is forbidden: {message}")).unwrap();
        assert_eq!(failure.reason, Reason::AdmissionDenied, "{code} {message}");
        assert!(failure.remedy.contains(remedy), "{message}");
    }
    let quota = of("pods \"p-\" is forbidden: exceeded quota: q, requested: pods=1").unwrap();
    assert_eq!(quota.reason, Reason::QuotaExceeded);
    let webhook = of("admission webhook \"w\" denied the request: no").unwrap();
    assert_eq!(webhook.reason, Reason::AdmissionDenied);
    let invalid =
        of("Pod \"p-x\" is invalid: spec.volumes[0].name: Duplicate value: \"work\"").unwrap();
    assert_eq!(invalid.reason, Reason::InvalidInput);
    for passing in [
        "pods \"p-\" is forbidden: not yet ready to handle request",
        "etcdserver: request timed out",
        "Internal error occurred: failed calling webhook \"w\": connection refused",
    ] {
        assert!(of(passing).is_none(), "{passing}");
    }
}

/// Code and message of each refusal that has a remedy of its own.
pub(in crate::cluster) fn examples() -> Vec<(u16, String)> {
    let pod = |code: u16, message: &str| {
        let what =
            if code == 500 { "Internal error occurred" } else { "pods \"build-1-\" is forbidden" };
        (code, format!("{what}: {message}"))
    };
    let quota = "exceeded quota: compute, requested: pods=1, used: pods=9, limited: pods=9";
    let mut all: Vec<_> = DENIED.iter().map(|(code, message, _)| pod(*code, message)).collect();
    let webhook = "admission webhook \"validate.example\" denied the request: no";
    all.extend([pod(403, quota), (403, webhook.to_owned())]);
    let mut seen = Vec::new();
    all.retain(|(_, message)| {
        let remedy = plugin(message).remedy;
        let is_new = !seen.contains(&remedy);
        seen.push(remedy);
        is_new
    });
    let account = "User \"system:serviceaccount:ns:hookd\" cannot create resource \"jobs\" in API group \
                   \"batch\" in the namespace \"ns\"";
    all.extend([
        (403, format!("jobs.batch is forbidden: {account}")),
        (422, "Job.batch \"build-1\" is invalid: spec.template.spec: Required value".to_owned()),
        (
            500,
            "Internal error occurred: failed calling webhook \"w\": no endpoints available"
                .to_owned(),
        ),
        (503, "etcdserver: leader changed".to_owned()),
    ]);
    all
}

#[test]
fn the_examples_have_the_remedy_of_every_plugin() {
    let shown: Vec<_> = examples()
        .iter()
        .map(|(code, message)| Refusal::of(&status(*code, message)).help())
        .collect();
    for plugin in &PLUGINS {
        assert!(shown.contains(&plugin.remedy), "{:?}", plugin.marks);
    }
}

#[test]
fn only_a_quota_of_all_plugins_has_room_again() {
    for plugin in &PLUGINS {
        let refusal = Refusal::Admission(plugin);
        let is_quota = plugin.reason == Reason::QuotaExceeded;
        assert_eq!((refusal.is_quota_exceeded(), refusal.is_final()), (is_quota, !is_quota));
    }
    assert!(!Refusal::ServerFailed.is_final() && !Refusal::MissingPermission.is_final());
}
