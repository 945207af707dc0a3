//! What the template says of the pods that build, beside the fields of placement: the entry `$build`
//! with the volumes that it mounts, and the architecture.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;

use super::error::TemplateError;
use super::{Target, Template};
use crate::error::{CommonError, Failure};

/// Name of the entry for the container that builds.
pub(super) const ENTRY: &str = "$build";
/// Label of a node's architecture.
const ARCHITECTURE: &str = "kubernetes.io/arch";
/// ... and of its operating system.
const SYSTEM: &str = "kubernetes.io/os";
/// Fields of the entry; `name` and `image` are ignored.
const FIELDS: [&str; 7] =
    ["env", "envFrom", "image", "name", "resources", "securityContext", "volumeMounts"];
/// Where Kaniko keeps what it needs.
const KANIKO: &str = "/kaniko";

/// The Job of a build under the template.
#[derive(Debug)]
pub struct Placed {
    /// The Job.
    pub job: Job,
    /// Lines for the user.
    pub warnings: Vec<String>,
}

/// The Job of a build, with what the template says, on nodes of the architecture that is `wanted`; none is
/// hookd's own.
///
/// # Errors
/// `TEMPLATE_INVALID` when the result is no pod, or none that can build; another architecture than the
/// template's.
pub fn place(
    template: Option<&Template>,
    wanted: Option<&str>,
    mut job: Job,
) -> Result<Placed, Failure> {
    let mut warnings = Vec::new();
    let Some(spec) = &mut job.spec else { return Ok(Placed { job, warnings }) };
    let bare = std::mem::take(&mut spec.template);
    let metadata = bare.metadata.unwrap_or_default();
    let mut pod = Pod { metadata, spec: bare.spec, ..Pod::default() };
    if let Some(template) = template {
        let merged = template.merge(pod, Target::BuildPod)?;
        warnings = merged.warnings;
        pod = merged.pod;
    }
    let mut value = serde_json::to_value(pod.spec)
        .map_err(|error| CommonError::defect("The pod cannot be written as JSON", error))?;
    if let Some(template) = template {
        template.add_build_volumes(&mut value)?;
    }
    match wanted {
        Some(wanted) => choose(&mut value, wanted)?,
        None => {
            let own = architecture(std::env::consts::ARCH);
            own.into_iter().for_each(|own| pin(&mut value, own));
        }
    }
    let made = serde_json::from_value(value)
        .map_err(|source| TemplateError::InvalidResult { what: "build pod", source })?;
    spec.template = PodTemplateSpec { metadata: Some(pod.metadata), spec: made };
    Ok(Placed { job, warnings })
}

impl Template {
    /// Finds now what could not become a build's pod.
    pub(super) fn check_build(&self) -> Result<(), Failure> {
        for entry in self.build_entries() {
            let mut fields = entry.as_object().into_iter().flatten();
            let strange =
                fields.find(|(name, value)| !FIELDS.contains(&name.as_str()) && !value.is_null());
            if let Some((field, _)) = strange {
                return Err(TemplateError::BuildField { field: field.clone() }.into());
            }
            check_security(&entry["securityContext"])?;
        }
        let merged = self.merge(Target::BuildPod.bare_pod(), Target::BuildPod)?;
        let mut spec = serde_json::to_value(merged.pod.spec)
            .map_err(|error| CommonError::defect("The pod cannot be written as JSON", error))?;
        self.add_build_volumes(&mut spec)
    }

    fn build_entries(&self) -> impl Iterator<Item = &Value> {
        self.containers().filter(|entry| entry["name"] == ENTRY)
    }

    fn add_build_volumes(&self, spec: &mut Value) -> Result<(), Failure> {
        let mounts = self.build_entries().filter_map(|entry| entry["volumeMounts"].as_array());
        for mount in mounts.flatten() {
            self.add_volume(spec, mount)?;
        }
        Ok(())
    }

    /// Adds the volume of a mount of `$build`; a build has no other volume of the template.
    fn add_volume(&self, spec: &mut Value, mount: &Value) -> Result<(), Failure> {
        let name = &mount["name"];
        let path = mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/');
        if matches!(path, "" | KANIKO) || path.starts_with(&format!("{KANIKO}/")) {
            let target = mount["mountPath"].as_str().unwrap_or_default().to_owned();
            let volume = name.to_string();
            return Err(TemplateError::MountOverKaniko { volume, target }.into());
        }
        let volumes = self.spec.get("volumes").and_then(Value::as_array);
        let Some(volume) = volumes.into_iter().flatten().find(|volume| volume["name"] == *name)
        else {
            return Err(TemplateError::NoVolume { volume: name.to_string() }.into());
        };
        let mut all = spec["volumes"].as_array().cloned().unwrap_or_default();
        match all.iter().find(|present| present["name"] == *name) {
            Some(present) if present == volume => return Ok(()),
            Some(_) => {
                return Err(TemplateError::VolumeTaken { volume: name.to_string() }.into());
            }
            None => all.push(volume.clone()),
        }
        spec["volumes"] = all.into();
        Ok(())
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
        Some((field, _)) => Err(TemplateError::KanikoForbidden { field }.into()),
        None => Ok(()),
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

/// The build goes to nodes of this architecture.
fn choose(spec: &mut Value, wanted: &str) -> Result<(), Failure> {
    let chosen = &spec["nodeSelector"][ARCHITECTURE];
    if let Some(chosen) = chosen.as_str().filter(|chosen| *chosen != wanted) {
        let (chosen, wanted) = (chosen.to_owned(), wanted.to_owned());
        return Err(TemplateError::OtherArchitecture { chosen, wanted }.into());
    }
    spec["nodeSelector"][ARCHITECTURE] = wanted.into();
    spec["nodeSelector"][SYSTEM] = "linux".into();
    Ok(())
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
