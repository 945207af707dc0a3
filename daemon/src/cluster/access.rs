//! What hookd must be allowed to do, and one request at start that shows what it is not.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, ResourceRule, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::retry::Retry;
use crate::error::Failure;

/// One thing that an account may do in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty for that of pods.
    pub group: &'static str,
    /// Kind of object, or a part of it such as `pods/exec`.
    pub resource: &'static str,
    /// What is done with it.
    pub verb: &'static str,
}

/// An API group, a resource in it, and verbs.
pub type Rule = (&'static str, &'static str, &'static [&'static str]);

/// What hookd must be able to ask of the API in the runner's namespace for jobs in the runner pod;
/// deploy/rbac.yaml grants the same.
pub const IN_RUNNER_POD: [Rule; 3] = [
    ("", "pods", &["get", "list", "watch"]),
    ("", "pods/log", &["get"]),
    ("", "pods/ephemeralcontainers", &["patch"]),
];

/// As [`IN_RUNNER_POD`], for jobs in pods of their own and for builds; deploy/rbac-own-pod.yaml grants the same.
pub const REQUIRED: [Rule; 6] = [
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/log", &["get"]),
    ("", "pods/exec", &["get", "create"]),
    ("", "pods/attach", &["get", "create"]),
    ("batch", "jobs", &["get", "list", "create", "delete"]),
    ("", "secrets", &["get", "create", "delete"]),
];

/// What hookd can do without; deploy/rbac-own-pod.yaml grants it too.
pub const OPTIONAL: [Rule; 3] = [
    ("", "events", &["list", "watch"]),
    ("", "persistentvolumeclaims", &["get"]),
    ("coordination.k8s.io", "leases", &["get", "create", "delete"]),
];

/// What hookd must be allowed to do: jobs in the runner pod need little, but builds for a registry are Jobs.
pub fn required(in_runner_pod: bool, has_registry: bool) -> Vec<Rule> {
    match (in_runner_pod, has_registry) {
        (true, false) => IN_RUNNER_POD.to_vec(),
        (true, true) => IN_RUNNER_POD.into_iter().chain(REQUIRED).collect(),
        (false, _) => REQUIRED.to_vec(),
    }
}

/// Whether the account may do this with the object of that name; none: with all of its kind.
///
/// # Errors
/// When the API server does not answer.
pub async fn may(
    cluster: &Cluster,
    retry: &Retry,
    permission: Permission,
    name: Option<&str>,
) -> Result<bool, Failure> {
    let (resource, part) = match permission.resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (permission.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(permission.group.to_owned()),
        name: name.map(str::to_owned),
        namespace: Some(cluster.namespace.clone()),
        resource: Some(resource.to_owned()),
        subresource: part,
        verb: Some(permission.verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let params = PostParams::default();
    let answer = retry.run("review its own permissions", || api.create(&params, &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// What the account may do.
#[derive(Debug)]
pub struct Granted(Option<Vec<ResourceRule>>);

/// Asks once what this account may do.
///
/// # Errors
/// When the API server does not answer.
pub async fn granted(cluster: &Cluster, retry: &Retry) -> Result<Granted, Failure> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(cluster.namespace.clone()) },
        ..SelfSubjectRulesReview::default()
    };
    let api: Api<SelfSubjectRulesReview> = Api::all(cluster.client.clone());
    let params = PostParams::default();
    let answer = retry.run("review its own permissions", || api.create(&params, &review)).await?;
    let Some(status) = answer.status else { return Ok(Granted(None)) };
    if status.incomplete {
        // An authorizer that cannot list its rules (a webhook): each call will fail by itself.
        tracing::warn!("the API server cannot list hookd's permissions; they are not checked");
        return Ok(Granted(None));
    }
    Ok(Granted(Some(status.resource_rules)))
}

impl Granted {
    /// Whether the API server could list the rules.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// The permissions among `required` that are not granted; none where it is not known.
    pub fn lacks(&self, required: impl IntoIterator<Item = Rule>) -> Vec<Permission> {
        self.0.as_deref().map(|rules| lacking(rules, required)).unwrap_or_default()
    }
}

/// The required permissions that no rule grants.
fn lacking(rules: &[ResourceRule], required: impl IntoIterator<Item = Rule>) -> Vec<Permission> {
    let any = |list: Option<&Vec<String>>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|item| item == "*" || item == wanted))
    };
    let granted = |wanted: &Permission| {
        rules.iter().any(|rule| {
            rule.resource_names.as_ref().is_none_or(Vec::is_empty)
                && any(rule.api_groups.as_ref(), wanted.group)
                && any(rule.resources.as_ref(), wanted.resource)
                && any(Some(&rule.verbs), wanted.verb)
        })
    };
    each(required).filter(|permission| !granted(permission)).collect()
}

/// The permissions of rules.
pub fn each(rules: impl IntoIterator<Item = Rule>) -> impl Iterator<Item = Permission> {
    rules.into_iter().flat_map(|(group, resource, verbs)| {
        verbs.iter().map(move |verb| Permission { group, resource, verb })
    })
}

/// "create jobs.batch"
pub fn describe(permission: &Permission) -> String {
    let Permission { group, resource, verb } = permission;
    if group.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {resource}.{group}")
    }
}

/// The failure of a call while permissions are missing.
pub fn failure(namespace: &str, missing: &[Permission]) -> Failure {
    let permissions = missing.iter().map(describe).collect();
    ClusterError::PermissionsMissing { namespace: namespace.to_owned(), permissions }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    mod reviews;

    fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> ResourceRule {
        let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        ResourceRule {
            api_groups: Some(own(&[group])),
            resources: Some(own(resources)),
            verbs: own(verbs),
            resource_names: None,
        }
    }

    #[test]
    fn each_missing_verb_is_named() {
        let mut rules: Vec<_> = REQUIRED
            .iter()
            .map(|(group, resource, verbs)| rule(group, &[resource], verbs))
            .collect();
        assert_eq!(lacking(&rules, REQUIRED), []);
        rules[4] = rule("batch", &["jobs"], &["get", "list", "delete"]);
        let create = Permission { group: "batch", resource: "jobs", verb: "create" };
        assert_eq!(lacking(&rules, REQUIRED), [create]);
        assert!(failure("ns", &lacking(&rules, REQUIRED)).message.contains("create jobs.batch"));
    }

    #[test]
    fn a_rule_for_named_objects_only_does_not_count() {
        let mut all = rule("*", &["*"], &["*"]);
        assert_eq!(lacking(std::slice::from_ref(&all), REQUIRED), []);
        all.resource_names = Some(vec!["one".into()]);
        assert!(!lacking(&[all], REQUIRED).is_empty());
    }

    #[test]
    fn the_roles_that_we_ship_grant_exactly_what_is_asked_for() {
        let own = REQUIRED.into_iter().chain(OPTIONAL);
        let [events, ..] = OPTIONAL;
        let runner = IN_RUNNER_POD.into_iter().chain([events]);
        for (yaml, asked) in [
            (include_str!("../../../deploy/rbac-own-pod.yaml"), own.collect::<Vec<_>>()),
            (include_str!("../../../deploy/rbac.yaml"), runner.collect()),
        ] {
            let role = yaml.split("---\n").find(|document| document.contains("kind: Role\n"));
            let role: k8s_openapi::api::rbac::v1::Role =
                crate::yaml::parse(role.unwrap().as_bytes()).unwrap();
            let mut granted: Vec<_> = role.rules.iter().flatten().flat_map(granted_by).collect();
            let asked = asked.into_iter().flat_map(|(group, resource, verbs)| {
                verbs.iter().map(move |verb| [group, resource, *verb].map(str::to_owned))
            });
            let mut required: Vec<_> = asked.collect();
            granted.sort();
            required.sort();
            assert_eq!(granted, required);
        }
    }

    fn granted_by(rule: &k8s_openapi::api::rbac::v1::PolicyRule) -> Vec<[String; 3]> {
        let mut all = Vec::new();
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let triple = |verb: &String| [group.clone(), resource.clone(), verb.clone()];
                all.extend(rule.verbs.iter().map(triple));
            }
        }
        all
    }
}
