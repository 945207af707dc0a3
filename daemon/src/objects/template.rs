//! The administrator's template for pods of jobs (`ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE`).
//!
//! The template adds to what hookd needs and never replaces it silently. `rules.rs` has one row
//! for each field: lists are appended to, maps and objects are merged by field, single values are the
//! template's, with a warning where the workflow asked for another one, and what hookd cannot work
//! without is refused with the name of the field. Null and empty values count as absent.
//!
//! The container `$job` changes the job container and those of container steps, `$<service>` that
//! service, `$build` the container of a build; every other container is added. What else build pods
//! take of it, [`build`] says.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use crate::error::{CommonError, Failure};
use crate::names;
use crate::runner::HookTemplate;

pub mod build;
mod container;
pub mod error;
mod pod;
mod read;
mod rules;
mod values;

use container::Kind;
use error::TemplateError;

/// A template that was read.
#[derive(Clone, Debug, Default)]
pub struct Template {
    metadata: Map<String, Value>,
    spec: Map<String, Value>,
    warnings: Vec<String>,
}

/// The kind of pod that is merged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A job's.
    JobPod,
    /// A container step's.
    StepPod,
    /// A build's: only labels, annotations, the fields of placement and the container `$build` hold
    /// for it, since no program of the workflow runs in it but RUN.
    BuildPod,
}

/// A pod with what the template adds.
#[derive(Debug)]
pub struct Merged {
    /// The pod.
    pub pod: Pod,
    /// Lines for the user: where the template overrides what the workflow asked for.
    pub warnings: Vec<String>,
}

impl Target {
    /// The container of hookd's own that changes by a `$` name, and that name.
    fn main(self) -> (&'static str, &'static str, Kind) {
        match self {
            Self::JobPod => (names::JOB_CONTAINER, names::JOB_CONTAINER, Kind::Job),
            Self::StepPod => (names::JOB_CONTAINER, names::STEP_CONTAINER, Kind::Step),
            Self::BuildPod => (BUILD, names::BUILD_CONTAINER, Kind::Build),
        }
    }
}

/// The name, without `$`, by which a template changes the container of a build.
const BUILD: &str = "build";

impl Template {
    /// Reads the template, if there is one.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` when it cannot be read, and as [`Template::parse`].
    pub fn of(source: &HookTemplate) -> Result<Option<Self>, Failure> {
        Ok(match source {
            HookTemplate::None => None,
            HookTemplate::File(path) => Some(Self::read(path)?),
            HookTemplate::OutOfReach(warning) => Some(Self::unreachable(warning.clone())),
        })
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        Self::parse(&path.display().to_string(), &read::text(path)?)
    }

    /// Reads a template; `file` is its name for messages. An empty file is an empty template.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` with the file and the path of the field: what is no YAML, has a wrong type,
    /// or sets what hookd cannot work without.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let template = read::template(file, text)?;
        let in_file = |source| TemplateError::InFile { file: file.to_owned(), source };
        template.check_build().map_err(in_file)?;
        // What cannot become a pod is reported at once, not in the middle of a job.
        for target in [Target::JobPod, Target::StepPod] {
            template.merge(target.bare_pod(), target).map_err(in_file)?;
        }
        Ok(template)
    }

    /// An empty template with one warning: of a template that cannot be reached.
    fn unreachable(warning: String) -> Self {
        Self { warnings: vec![warning], ..Self::default() }
    }

    /// Lines for the user: fields that hookd does not know or ignores.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Names of the variables that the template sets in the job container: they win over the
    /// workflow's, which do not stand in the pod.
    pub fn job_variables(&self) -> BTreeSet<&str> {
        let entries = self
            .containers()
            .filter(|entry| entry["name"] == format!("${}", names::JOB_CONTAINER).as_str());
        let variables = entries.flat_map(|entry| entry["env"].as_array().into_iter().flatten());
        variables.filter_map(|variable| variable["name"].as_str()).collect()
    }

    /// The pod with what the template adds and overrides.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` with the field that hookd's own needs or the result's type forbid.
    pub fn merge(&self, pod: Pod, target: Target) -> Result<Merged, Failure> {
        let mut value = serde_json::to_value(pod)
            .map_err(|error| CommonError::defect("A pod has no JSON form", error))?;
        let mut warnings = Vec::new();
        pod::merge_metadata(&mut value, &self.metadata)?;
        pod::merge_spec(&mut value, &self.spec, target, &mut warnings)?;
        self.merge_containers(&mut value, target, &mut warnings)?;
        if target != Target::BuildPod {
            pod::let_pod_security_rule(&mut value, &self.spec, &mut warnings);
        }
        let pod = serde_json::from_value(value)
            .map_err(|source| TemplateError::InvalidResult { what: "pod", source })?;
        Ok(Merged { pod, warnings })
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        self.spec.get("containers").and_then(Value::as_array).into_iter().flatten()
    }

    fn merge_containers(
        &self,
        pod: &mut Value,
        target: Target,
        warnings: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let (main, own_name, kind) = target.main();
        let own: Vec<String> = container::names(&pod["spec"]["containers"]);
        for theirs in self.containers() {
            let name = theirs["name"].as_str().unwrap_or_default();
            let Some(wanted) = name.strip_prefix('$') else {
                if target != Target::BuildPod {
                    container::add(pod, theirs, &own)?;
                }
                continue;
            };
            let is_main = wanted == main;
            let found = pod["spec"]["containers"].as_array_mut().into_iter().flatten();
            for ours in found {
                let own_name_of = ours["name"].as_str().unwrap_or_default();
                let kind = match (is_main, own_name_of == own_name) {
                    (true, true) => kind,
                    (false, false) if is_service(own_name_of, wanted, &own) => Kind::Service,
                    _ => continue,
                };
                container::merge(ours, theirs, kind, warnings)?;
            }
        }
        Ok(())
    }
}

impl Target {
    /// The least that a template is merged with.
    fn bare_pod(self) -> Pod {
        let (_, name, _) = self.main();
        let mut pod = Pod::default();
        let container =
            k8s_openapi::api::core::v1::Container { name: name.to_owned(), ..Default::default() };
        pod.spec.get_or_insert_default().containers = vec![container];
        pod
    }
}

/// True for the service of this name, and for each of several of one image: those are numbered.
fn is_service(name: &str, wanted: &str, own: &[String]) -> bool {
    let number = name.strip_prefix(wanted).and_then(|rest| rest.strip_prefix('-'));
    let numbered = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let is_ours = own.iter().any(|one| one == name);
    is_ours && wanted != names::JOB_CONTAINER && wanted != BUILD && (name == wanted || numbered)
}

#[cfg(test)]
mod tests;
