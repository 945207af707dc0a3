//! What a refusal of the API server means, by the message of the plugin that refused.
//!
//! The authorizer says "User ... cannot VERB resource ...", and only that is a missing permission.
//! Every other 403 comes from admission: a few of them pass, the others stay until someone changes
//! the object or the namespace's rules.

use kube::core::Status;

use crate::error::Reason;

/// One plugin of the API server, by phrases that only it uses.
#[derive(Debug)]
pub struct Plugin {
    marks: &'static [&'static str],
    reason: Reason,
    remedy: &'static str,
}

const QUOTA: &str = "Raise the ResourceQuota of the namespace, or run fewer jobs at a time";
const AMOUNTS: &str = "Ask for amounts that the LimitRange of the namespace allows: HOOKD_BUILD_CPU, \
     HOOKD_BUILD_MEMORY and HOOKD_BUILD_EPHEMERAL_STORAGE for builds, `--cpus` and `--memory` in \
     `options:` for jobs and services, or `resources` in the hook template; or change the LimitRange";
const NO_AMOUNTS: &str = "The ResourceQuota of the namespace wants every container to name these amounts: set defaults \
     with a LimitRange, or set `resources` in the hook template (`$job`, `$<service>`, `$build`), \
     `--cpus` and `--memory` in `options:`";
const NO_QUOTA: &str = "Create a ResourceQuota in the namespace that covers what the message names: the cluster \
     does not allow its use without one";
const PRIORITY: &str =
    "Create the PriorityClass, or correct priorityClassName in the hook template";
const ACCOUNT: &str = "Create the ServiceAccount in the runner's namespace, or correct serviceAccountName in the hook \
     template";
const ACCOUNT_SECRETS: &str = "Name the Secret in the ServiceAccount, or remove the annotation \
     kubernetes.io/enforce-mountable-secrets from it";
const POD_SECURITY: &str = "Let the namespace's Pod Security level allow this pod, or change the pod by the hook template \
     or `options:` (docs/operations.md lists what each pod needs)";
const POLICY: &str = "Let the policy or webhook that the message names allow this pod, or change the pod by the hook \
     template (docs/operations.md lists what each pod needs)";
const RUNTIME_CLASS: &str =
    "Create the RuntimeClass, or correct runtimeClassName in the hook template";
const OWNER: &str = "hookd owns its objects by the runner pod: give its service account the verb that the message \
     names, or turn OwnerReferencesPermissionEnforcement off";
const TERMINATING: &str = "The namespace is being deleted; run the job in another one";
const NODES: &str = "Change nodeSelector and tolerations in the hook template, or the rules of the namespace for them";
const ANY: &str = "Let the cluster's admission allow this object, or change the pod by the hook template \
     (docs/operations.md lists what each pod needs)";

const fn denied(marks: &'static [&'static str], remedy: &'static str) -> Plugin {
    Plugin { marks, reason: Reason::AdmissionDenied, remedy }
}

/// In this order: a policy's own message may contain the phrases of the others.
const PLUGINS: [Plugin; 15] = [
    denied(&["denied the request", "denied request:", "image policy webhook backend"], POLICY),
    denied(&["violates PodSecurity", "security context constraint"], POD_SECURITY),
    Plugin {
        marks: &["exceeded quota: ", "status unknown for quota: "],
        reason: Reason::QuotaExceeded,
        remedy: QUOTA,
    },
    denied(&["failed quota: "], NO_AMOUNTS),
    denied(&["insufficient quota to "], NO_QUOTA),
    denied(&[" usage per ", " max limit to request ratio per "], AMOUNTS),
    denied(
        &[
            "no PriorityClass with name",
            "priorityClass is not permitted",
            "the integer value of priority",
            "the string value of PreemptionPolicy",
        ],
        PRIORITY,
    ),
    denied(&["because service account "], ACCOUNT_SECRETS),
    denied(&["error looking up service account ", "no service account specified"], ACCOUNT),
    denied(&["RuntimeClass", "runtimeClass"], RUNTIME_CLASS),
    denied(&["cannot set blockOwnerDeletion", "cannot set an ownerRef"], OWNER),
    denied(&["because it is being terminated"], TERMINATING),
    denied(&["pod node label selector", "pod tolerations (possibly merged"], NODES),
    denied(&["has TopologyKey "], NODES),
    denied(&[], ANY),
];
/// Plugins that answer with 500, as if the API server itself had failed.
const ANSWERS_500: [&str; 2] = [NO_QUOTA, NODES];

/// What the API server says while it starts, or while a part of it does not answer.
const PASSING: [&str; 2] =
    ["not yet ready to handle request", "there was an error enforcing limit ranges"];

/// True for what says that the account may not do this.
pub(super) fn is_missing_permission(status: &Status) -> bool {
    match status.code {
        // A ValidatingAdmissionPolicy may choose this code too.
        401 => !is_policy(&status.message),
        403 => says_who_cannot(&status.message),
        _ => false,
    }
}

/// True for a 403 that another attempt may cure soon.
pub(super) fn is_passing(status: &Status) -> bool {
    status.code == 403
        && !is_policy(&status.message)
        && PASSING.iter().any(|mark| status.message.contains(mark))
}

/// True for a refusal that comes with the code of an overloaded or failing server: a webhook chooses
/// the code of its denial, and some plugins have none of their own.
pub(super) fn is_final(status: &Status) -> bool {
    let remedy = plugin(&status.message).remedy;
    remedy == POLICY || (status.code == 500 && ANSWERS_500.contains(&remedy))
}

/// The authorizer's message: `User "u" cannot VERB resource "r" ...`, or a path in place of it. They
/// stand behind the object's name; a policy's own message could hold them too.
fn says_who_cannot(message: &str) -> bool {
    let message = message.split_once("forbidden: ").map_or(message, |(_, message)| message);
    let Some((_, verb)) =
        message.strip_prefix("User \"").and_then(|who| who.split_once(" cannot "))
    else {
        return false;
    };
    let mut parts = verb.splitn(3, ' ');
    let (_, what, name) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    matches!(what, Some("resource" | "path")) && name.starts_with('"')
}

fn is_policy(message: &str) -> bool {
    plugin(message).remedy == POLICY
}

fn plugin(message: &str) -> &'static Plugin {
    let is_it = |plugin: &&Plugin| {
        plugin.marks.is_empty() || plugin.marks.iter().any(|mark| message.contains(mark))
    };
    PLUGINS.iter().find(is_it).unwrap_or(&PLUGINS[PLUGINS.len() - 1])
}

/// What refused a request, or why the API server could not do it.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// The service account may not do it.
    MissingPermission,
    /// An admission plugin does not allow the object.
    Admission(&'static Plugin),
    /// The object is invalid or too large.
    InvalidObject,
    /// A webhook that must allow the object does not answer.
    SilentWebhook,
    /// The API server failed.
    ServerFailed,
}

impl Refusal {
    /// What a status means.
    pub fn of(status: &Status) -> Self {
        if is_missing_permission(status) {
            return Self::MissingPermission;
        }
        let plugin = plugin(&status.message);
        match status.code {
            403 => Self::Admission(plugin),
            _ if is_final(status) => Self::Admission(plugin),
            400 | 413 | 422 => Self::InvalidObject,
            500.. if status.message.contains("failed calling webhook") => Self::SilentWebhook,
            _ => Self::ServerFailed,
        }
    }

    /// The kind of failure.
    pub fn reason(self) -> Reason {
        match self {
            Self::MissingPermission => Reason::PermissionMissing,
            Self::Admission(plugin) => plugin.reason,
            Self::InvalidObject => Reason::InvalidInput,
            Self::SilentWebhook => Reason::AdmissionDenied,
            Self::ServerFailed => Reason::ApiUnreachable,
        }
    }

    /// What the user can do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::MissingPermission => {
                "Apply deploy/rbac.yaml in the runner's namespace, or deploy/rbac-own-pod.yaml where jobs \
                 or builds have pods of their own, and bind its Role to the sidecar's service account"
            }
            Self::Admission(plugin) => plugin.remedy,
            Self::InvalidObject => {
                "Change the value that the message names, in the workflow's `options:`, in the hook \
                 template or in hookd's settings; if it is none of these, report it"
            }
            Self::SilentWebhook => {
                "Check the Service of the webhook that the message names: it does not answer, and \
                 nothing can be created without it"
            }
            Self::ServerFailed => "Check the API server's log; run the job again",
        }
    }

    /// True if Pod Security, a policy or a webhook refused, which look at what a pod may do.
    pub fn is_for_security(self) -> bool {
        matches!(self, Self::Admission(plugin) if [POD_SECURITY, POLICY].contains(&plugin.remedy))
    }

    /// True if a quota is used up.
    pub fn is_quota_exceeded(self) -> bool {
        matches!(self, Self::Admission(plugin) if plugin.remedy == QUOTA)
    }

    /// True if waiting does not cure it: a quota has room again when other pods end, and a
    /// permission may come while an API server starts.
    pub fn is_final(self) -> bool {
        match self {
            Self::Admission(_) => !self.is_quota_exceeded(),
            Self::InvalidObject | Self::SilentWebhook => true,
            Self::MissingPermission | Self::ServerFailed => false,
        }
    }
}

/// The refusal that an event of a Job reports whose pod was refused; none if the message is not that
/// of a refusal.
pub(super) fn of_event(message: &str) -> Option<Status> {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    let code = if message.contains(" is forbidden: ") || message.contains("denied the request") {
        403
    } else if message.contains(" is invalid: ") {
        422
    } else {
        return None;
    };
    let status = Status { code, message: message.to_owned(), ..Status::default() };
    (!is_passing(&status)).then_some(status)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use tests::examples;
