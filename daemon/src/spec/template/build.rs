//! What the template says of the pods that build: where they go, and the entry `$build`.
//!
//! A build takes less of the template than a job: the fields that say where a pod goes, labels and
//! annotations, and of the containers only `$build`. Sidecars, volumes and the entries `$job` and
//! `$<service>` are the job's.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Map, Value, json};

use super::{Template, append, invalid};
use crate::error::Failure;
use crate::spec::build_job;
use crate::spec::names::{RUNNER_LABEL, STEP_LABEL};

/// Name of the entry for the container that builds.
pub(super) const ENTRY: &str = "$build";
/// Label of a node's architecture.
const ARCHITECTURE: &str = "kubernetes.io/arch";
/// Fields of the pod's specification that a build takes over.
const PLACEMENT: [&str; 13] = [
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "priorityClassName",
    "preemptionPolicy",
    "runtimeClassName",
    "schedulerName",
    "tolerations",
    "topologySpreadConstraints",
];
/// Where Kaniko keeps what it needs.
const KANIKO: &str = "/kaniko";

/// The Job of a build, on nodes of hookd's own architecture, with what the template says.
///
/// # Errors
/// `TEMPLATE_INVALID` when the result is no pod, or none that can build.
pub fn place(template: Option<&Template>, mut job: Job) -> Result<Job, Failure> {
    let Some(spec) = &mut job.spec else { return Ok(job) };
    let mut pod = serde_json::to_value(std::mem::take(&mut spec.template))
        .map_err(|error| Failure::internal("A pod has no JSON form").because(error))?;
    if let Some(template) = template {
        template.place_build(&mut pod)?;
    }
    if let Some(architecture) = architecture(std::env::consts::ARCH) {
        pin(&mut pod["spec"], architecture);
    }
    spec.template = serde_json::from_value(pod)
        .map_err(|error| invalid(format!("The hook template makes no valid build pod: {error}")))?;
    Ok(job)
}

impl Template {
    /// Finds now what could not become a build's pod.
    pub(super) fn check_build(&self) -> Result<(), Failure> {
        let container = json!({"name": build_job::CONTAINER});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [container]}});
        self.place_build(&mut pod)?;
        serde_json::from_value::<k8s_openapi::api::core::v1::PodTemplateSpec>(pod)
            .map(drop)
            .map_err(|error| {
                invalid(format!("The hook template makes no valid build pod: {error}"))
            })
    }

    fn place_build(&self, pod: &mut Value) -> Result<(), Failure> {
        for kind in ["labels", "annotations"] {
            let added = self.metadata.get(kind).and_then(Value::as_object);
            let ours = |name: &str| matches!(name, RUNNER_LABEL | STEP_LABEL);
            for (name, value) in added.into_iter().flatten().filter(|(name, _)| !ours(name)) {
                pod["metadata"][kind][name] = value.clone();
            }
        }
        let fields = PLACEMENT.iter().filter_map(|name| self.spec.get_key_value(*name));
        for (name, value) in fields.filter(|(_, value)| !value.is_null()) {
            match value {
                Value::Array(more) => append(&mut pod["spec"][name], more),
                _ => pod["spec"][name] = value.clone(),
            }
        }
        let containers = self.spec.get("containers").and_then(Value::as_array);
        for entry in containers.into_iter().flatten().filter(|entry| entry["name"] == ENTRY) {
            self.merge_build(&mut pod["spec"], entry)?;
        }
        Ok(())
    }

    fn merge_build(&self, spec: &mut Value, entry: &Value) -> Result<(), Failure> {
        check_security(&entry["securityContext"])?;
        let containers = spec["containers"].as_array_mut().into_iter().flatten();
        for ours in containers.filter(|ours| ours["name"] == build_job::CONTAINER) {
            for (field, value) in entry.as_object().into_iter().flatten() {
                match (field.as_str(), value) {
                    ("name" | "image", _) | (_, Value::Null) => {}
                    ("env", Value::Array(variables)) => set_variables(&mut ours["env"], variables),
                    ("envFrom" | "volumeMounts", Value::Array(more)) => {
                        append(&mut ours[field], more);
                    }
                    ("resources" | "securityContext", Value::Object(theirs)) => {
                        merge_fields(&mut ours[field], theirs);
                    }
                    _ => return Err(unknown_field(field)),
                }
            }
        }
        let mounts = entry["volumeMounts"].as_array();
        for mount in mounts.into_iter().flatten() {
            self.add_volume(spec, mount)?;
        }
        Ok(())
    }

    /// Adds the volume of a mount of `$build`; a build has no other volume of the template.
    fn add_volume(&self, spec: &mut Value, mount: &Value) -> Result<(), Failure> {
        let name = &mount["name"];
        let path = mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/');
        if matches!(path, "" | KANIKO) || path.starts_with(&format!("{KANIKO}/")) {
            return Err(invalid(format!(
                "`{ENTRY}` of the hook template mounts {name} at {:?}, where Kaniko needs its own \
                 files",
                mount["mountPath"].as_str().unwrap_or_default()
            )));
        }
        let volumes = self.spec.get("volumes").and_then(Value::as_array);
        let Some(volume) = volumes.into_iter().flatten().find(|volume| volume["name"] == *name)
        else {
            return Err(invalid(format!(
                "`{ENTRY}` of the hook template mounts {name}, which is no volume of the template"
            )));
        };
        let mut present = spec["volumes"].as_array().into_iter().flatten();
        match present.find(|present| present["name"] == *name) {
            Some(present) if present == volume => Ok(()),
            Some(_) => Err(invalid(format!(
                "`{ENTRY}` of the hook template mounts {name}, a name that a volume of the build's \
                 pod has already"
            ))),
            None => {
                append(&mut spec["volumes"], std::slice::from_ref(volume));
                Ok(())
            }
        }
    }
}

/// Kaniko unpacks base images onto its own root, as root.
fn check_security(context: &Value) -> Result<(), Failure> {
    let user = context["runAsUser"].as_i64().unwrap_or_default();
    let broken = [
        ("runAsNonRoot", context["runAsNonRoot"] == true),
        ("runAsUser", user != 0),
        ("readOnlyRootFilesystem", context["readOnlyRootFilesystem"] == true),
    ];
    match broken.iter().find(|(_, broken)| *broken) {
        Some((field, _)) => Err(invalid(format!(
            "`securityContext.{field}` of `{ENTRY}` in the hook template keeps Kaniko from working: it \
             writes base images onto its own root as root"
        ))),
        None => Ok(()),
    }
}

fn unknown_field(field: &str) -> Failure {
    invalid(format!(
        "`{field}` of `{ENTRY}` in the hook template cannot be used: it takes env, envFrom, resources, \
         securityContext and volumeMounts"
    ))
}

/// Later variables of the same name replace earlier ones.
fn set_variables(ours: &mut Value, theirs: &[Value]) {
    if let Value::Array(ours) = ours {
        ours.retain(|one| !theirs.iter().any(|other| other["name"] == one["name"]));
    }
    append(ours, theirs);
}

/// Sets the fields, and those of objects within them.
fn merge_fields(ours: &mut Value, theirs: &Map<String, Value>) {
    for (name, value) in theirs.iter().filter(|(_, value)| !value.is_null()) {
        match value {
            Value::Object(fields) => merge_fields(&mut ours[name], fields),
            _ => ours[name] = value.clone(),
        }
    }
}

/// An image that one architecture's node builds does not run on another's: the build goes where the
/// runner could, unless the template chooses an architecture itself.
fn pin(spec: &mut Value, architecture: &str) {
    let chosen = |value: &Value| value.to_string().contains(&format!("{ARCHITECTURE}\""));
    if !chosen(&spec["nodeSelector"]) && !chosen(&spec["affinity"]) {
        spec["nodeSelector"][ARCHITECTURE] = architecture.into();
    }
}

/// What Kubernetes calls an architecture that Rust names so.
fn architecture(name: &str) -> Option<&'static str> {
    match name {
        "x86_64" => Some("amd64"),
        "x86" => Some("386"),
        "aarch64" => Some("arm64"),
        "arm" => Some("arm"),
        "powerpc64" => Some("ppc64le"),
        "riscv64" => Some("riscv64"),
        "s390x" => Some("s390x"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
