//! How each field of the template meets ours. `docs/operations.md` has the same table.

/// What becomes of a field that both may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The template's value; ours is a default of hookd.
    Replace,
    /// The template's value, with a warning where the workflow asked for another one.
    Override,
    /// The workflow's value where it has one, with a warning; else the template's.
    Keep,
    /// Objects by field, lists appended to; a single value as [`Rule::Override`].
    Merge,
    /// Entries are appended; `by`: the fields that identify entries, none: the whole entry.
    Append { by: &'static [&'static str], clash: Clash },
    /// By code of its own.
    Special,
    /// The workflow has it, or nothing: the template's is ignored with a warning.
    Ignore,
    /// Refused with this reason, unless the value is the one that hookd sets itself.
    Refuse { unless: Unless, why: &'static str },
}

/// An entry of a list that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// `TEMPLATE_INVALID`: hookd needs its own.
    Refuse,
    /// Field by field, the template's first, with a warning where they differ.
    Merge,
    /// The template's entry, with a warning.
    Replace,
    /// The workflow's entry, with a warning.
    Keep,
    /// One of both is enough.
    Same,
}

/// The value of a refused field that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unless {
    /// None does.
    Never,
    /// `false`.
    False,
    /// This text.
    Text(&'static str),
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// Holds for pods of builds too.
    pub(super) placement: bool,
}

const fn field(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, placement: false }
}

const fn placed(name: &'static str, rule: Rule) -> Field {
    Field { name, rule, placement: true }
}

const fn append(by: &'static [&'static str], clash: Clash) -> Rule {
    Rule::Append { by, clash }
}

const fn refuse(unless: Unless, why: &'static str) -> Rule {
    Rule::Refuse { unless, why }
}

const SHARED_PROCESSES: &str = "stepd answers only processes that the kubelet puts into its container, and cannot \
     distinguish them from those of other containers where the pid namespace is shared";
const STEPD_IS_PID_1: &str = "its program is stepd, which runs the job's steps";
const RUN_ONCE: &str = "a program of a workflow that may have run is never started again";

/// Fields of a PodSpec. A field that is not listed replaces ours.
pub(super) const POD: [Field; 40] = [
    field("activeDeadlineSeconds", Rule::Replace),
    placed("affinity", Rule::Special),
    field("automountServiceAccountToken", Rule::Replace),
    field("containers", Rule::Special),
    placed("dnsConfig", Rule::Merge),
    placed("dnsPolicy", Rule::Override),
    field("enableServiceLinks", Rule::Replace),
    field("ephemeralContainers", refuse(Unless::Never, "no pod can be created with any")),
    placed("hostAliases", Rule::Special),
    field("hostIPC", Rule::Replace),
    field("hostNetwork", Rule::Replace),
    field("hostPID", refuse(Unless::False, SHARED_PROCESSES)),
    field("hostUsers", Rule::Replace),
    field("hostname", Rule::Override),
    field("hostnameOverride", Rule::Override),
    placed("imagePullSecrets", append(&["name"], Clash::Same)),
    field("initContainers", append(&["name"], Clash::Refuse)),
    placed("nodeName", Rule::Special),
    placed("nodeSelector", Rule::Merge),
    field("os", Rule::Special),
    placed("overhead", Rule::Merge),
    placed("preemptionPolicy", Rule::Replace),
    placed("priority", Rule::Replace),
    placed("priorityClassName", Rule::Replace),
    field("readinessGates", append(&["conditionType"], Clash::Same)),
    field("resourceClaims", append(&["name"], Clash::Merge)),
    field("resources", Rule::Merge),
    field("restartPolicy", refuse(Unless::Text("Never"), RUN_ONCE)),
    placed("runtimeClassName", Rule::Replace),
    placed("schedulerName", Rule::Replace),
    field("schedulingGates", append(&["name"], Clash::Same)),
    field("securityContext", Rule::Special),
    field("serviceAccount", Rule::Special),
    field("serviceAccountName", Rule::Special),
    field("setHostnameAsFQDN", Rule::Replace),
    field("shareProcessNamespace", refuse(Unless::False, SHARED_PROCESSES)),
    field("terminationGracePeriodSeconds", Rule::Replace),
    placed("tolerations", append(&[], Clash::Same)),
    placed(
        "topologySpreadConstraints",
        append(&["topologyKey", "whenUnsatisfiable"], Clash::Merge),
    ),
    field("volumes", append(&["name"], Clash::Refuse)),
];

/// How a field of a `$` container meets ours.
pub(super) fn of_container(name: &str, is_service: bool, is_step: bool) -> Rule {
    match name {
        "name" => Rule::Special,
        "image" => Rule::Ignore,
        "command" | "args" | "restartPolicy" | "restartPolicyRules" if !is_service => {
            refuse(Unless::Never, STEPD_IS_PID_1)
        }
        // Steps have a directory and an environment of their own, which are part of the contract.
        "workingDir" if is_step => Rule::Keep,
        "env" if is_step => append(&["name"], Clash::Keep),
        "env" => append(&["name"], Clash::Replace),
        "envFrom" => append(&[], Clash::Same),
        "ports" => append(&["containerPort", "protocol"], Clash::Merge),
        "resizePolicy" => append(&["resourceName"], Clash::Merge),
        "volumeDevices" => append(&["devicePath"], Clash::Merge),
        "volumeMounts" | "resources" | "securityContext" => Rule::Special,
        _ => Rule::Override,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn every_field_of_a_pod_has_a_row_and_is_documented() {
        let docs = include_str!("../../../../docs/operations.md");
        let mut names: Vec<_> = POD.iter().map(|field| field.name).collect();
        for name in &names {
            assert!(docs.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POD.len());
        // A sample: the type knows them all.
        let all: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), serde_json::Value::Null)).collect();
        assert!(serde_json::from_value::<PodSpec>(all.into()).is_ok());
    }
}
