//! The administrator's template for pods of jobs (`ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE`).
//!
//! It merges by the rules of the reference hooks: labels and annotations are added; volumes are
//! appended, and so are containers whose name does not begin with `$`; every other field of the spec
//! replaces ours. The container `$job` changes the job container and those of container steps, and
//! `$<service>` that service: `name` and `image` are ignored, `env`, `volumeMounts` and `ports` are
//! appended, all else replaces.
//!
//! Two fields differ, since ours are needed: `initContainers` are appended, and `command` and `args`
//! of `$job` are ignored. What build pods take of it, [`build`] says.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use crate::error::{Failure, Reason};
use crate::spec::names::{RUNNER_LABEL, STEP_LABEL};
use crate::spec::services::JOB;
use crate::spec::step_job;

pub mod build;

/// A template that was read.
#[derive(Clone, Debug, Default)]
pub struct Template {
    metadata: Map<String, Value>,
    spec: Map<String, Value>,
}

/// The kind of pod that is merged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A job's.
    JobPod,
    /// A container step's.
    StepPod,
}

impl Target {
    /// The container that `$job` changes.
    fn job(self) -> &'static str {
        match self {
            Self::JobPod => JOB,
            Self::StepPod => step_job::CONTAINER,
        }
    }
}

/// Lists of a container that are appended to.
const APPENDED: [&str; 3] = ["env", "volumeMounts", "ports"];

impl Template {
    /// Reads a template; `file` is its name for messages.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` with the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let value: Value = serde_yaml_ng::from_str(text)
            .map_err(|error| invalid(format!("The hook template {file} is not YAML: {error}")))?;
        let part = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(fields)) => Ok(fields.clone()),
            Some(_) => Err(invalid(format!("`{name}` of the hook template {file} is no object"))),
        };
        if !value.is_object() {
            return Err(invalid(format!("The hook template {file} is no object")));
        }
        let template = Self { metadata: part("metadata")?, spec: part("spec")? };
        // What cannot become a pod is to be told at once, not in the middle of a job.
        let merged = template.merge(Pod::default(), Target::JobPod);
        merged.and_then(|_| template.check_build()).map_err(|failure| {
            Failure::new(failure.reason, format!("{failure} (in {file})"), failure.remedy)
        })?;
        Ok(template)
    }

    /// The pod with what the template adds and replaces.
    ///
    /// # Errors
    /// `TEMPLATE_INVALID` when the result is no pod.
    pub fn merge(&self, pod: Pod, target: Target) -> Result<Pod, Failure> {
        let mut value = serde_json::to_value(pod)
            .map_err(|error| Failure::internal("A pod has no JSON form").because(error))?;
        self.merge_metadata(&mut value);
        self.merge_spec(&mut value, target);
        serde_json::from_value(value)
            .map_err(|error| invalid(format!("The hook template makes no valid pod: {error}")))
    }

    fn merge_metadata(&self, pod: &mut Value) {
        for kind in ["labels", "annotations"] {
            let Some(Value::Object(added)) = self.metadata.get(kind) else { continue };
            let ours = |name: &str| matches!(name, RUNNER_LABEL | STEP_LABEL);
            for (name, value) in added.iter().filter(|(name, _)| !ours(name)) {
                pod["metadata"][kind][name] = value.clone();
            }
        }
    }

    fn merge_spec(&self, pod: &mut Value, target: Target) {
        for (name, value) in &self.spec {
            match (name.as_str(), value) {
                (list @ ("volumes" | "initContainers"), Value::Array(more)) => {
                    append(&mut pod["spec"][list], more);
                }
                ("containers", Value::Array(containers)) => {
                    merge_containers(pod, containers, target);
                }
                _ => pod["spec"][name] = value.clone(),
            }
        }
        // Without it the kubelet changes the owner of every file of the work volume at every start.
        let security = &mut pod["spec"]["securityContext"];
        if security["fsGroup"].is_number() && security["fsGroupChangePolicy"].is_null() {
            security["fsGroupChangePolicy"] = "OnRootMismatch".into();
        }
        if security.as_object().is_some_and(|fields| fields.values().all(Value::is_null)) {
            *security = Value::Null;
        }
    }
}

fn merge_containers(pod: &mut Value, containers: &[Value], target: Target) {
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default();
        if name == build::ENTRY {
            continue;
        }
        let Some(ours) = name.strip_prefix('$') else {
            append(&mut pod["spec"]["containers"], std::slice::from_ref(container));
            continue;
        };
        let is_job = ours == JOB;
        let ours = if is_job { target.job() } else { ours };
        let found = pod["spec"]["containers"].as_array_mut().into_iter().flatten();
        for target in found.filter(|target| target["name"] == ours) {
            merge_container(target, container, is_job);
        }
    }
}

fn merge_container(ours: &mut Value, theirs: &Value, is_job: bool) {
    for (field, value) in theirs.as_object().into_iter().flatten() {
        match (field.as_str(), value) {
            ("name" | "image", _) => {}
            // The program there is stepd, or the step's own.
            ("command" | "args", _) if is_job => {}
            (list, Value::Array(more)) if APPENDED.contains(&list) => append(&mut ours[list], more),
            _ => ours[field] = value.clone(),
        }
    }
}

fn append(list: &mut Value, more: &[Value]) {
    match list {
        Value::Array(list) => list.extend_from_slice(more),
        none => *none = Value::Array(more.to_vec()),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(
        Reason::TemplateInvalid,
        message,
        "Correct the file that ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE names: it has the shape of a \
         PodTemplateSpec",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(template: &str) -> Value {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"runner-pod": "r"}},
            "spec": {
                "volumes": [{"name": "work"}],
                "nodeName": "ours",
                "containers": [
                    {"name": "job", "image": "i", "env": [{"name": "A", "value": "1"}],
                     "volumeMounts": [{"name": "work", "mountPath": "/__w"}]},
                    {"name": "redis", "image": "redis:7"}],
            },
        }))
        .unwrap();
        let template = Template::parse("t.yaml", template).unwrap();
        serde_json::to_value(template.merge(pod, Target::JobPod).unwrap()).unwrap()
    }

    #[test]
    fn labels_and_annotations_are_added_and_ours_stay() {
        let pod =
            merged("metadata:\n  labels: {team: a, runner-pod: stolen}\n  annotations: {x: y}");
        assert_eq!(pod["metadata"]["labels"], json!({"runner-pod": "r", "team": "a"}));
        assert_eq!(pod["metadata"]["annotations"], json!({"x": "y"}));
    }

    #[test]
    fn the_job_container_is_changed_but_for_name_and_image() {
        let pod = merged(
            "spec:\n  containers:\n  - name: $job\n    image: other\n    env: [{name: B, value: '2'}]\n    \
             volumeMounts: [{name: cache, mountPath: /cache}]\n    resources: {limits: {cpu: '2'}}",
        );
        let job = &pod["spec"]["containers"][0];
        assert_eq!((job["name"].as_str(), job["image"].as_str()), (Some("job"), Some("i")));
        assert_eq!(job["env"].as_array().unwrap().len(), 2);
        assert_eq!(job["volumeMounts"].as_array().unwrap().len(), 2);
        assert_eq!(job["resources"]["limits"]["cpu"], "2");
        // One container's mounts are not another's.
        assert_eq!(pod["spec"]["containers"][1].get("volumeMounts"), None);
    }

    #[test]
    fn the_program_of_a_job_container_is_not_the_templates() {
        let template = "spec:\n  initContainers: [{name: first}]\n  containers:\n  \
                        - {name: $job, command: [x], args: [y], workingDir: /w}";
        let job = &merged(template)["spec"]["containers"][0];
        assert_eq!((job.get("command"), job.get("args")), (None, None));
        assert_eq!(job["workingDir"], "/w");
    }

    #[test]
    fn a_container_step_is_changed_as_the_job_container_is() {
        let template = "spec:\n  containers: [{name: $job, workingDir: /w}, {name: proxy}]";
        let template = Template::parse("t.yaml", template).unwrap();
        let pod = json!({"spec": {
            "initContainers": [{"name": "ours"}],
            "containers": [{"name": "step", "command": ["c"]}]}});
        let pod = serde_json::from_value(pod).unwrap();
        let pod = serde_json::to_value(template.merge(pod, Target::StepPod).unwrap()).unwrap();
        let step = json!({"name": "step", "command": ["c"], "workingDir": "/w"});
        assert_eq!(pod["spec"]["containers"], json!([step, {"name": "proxy"}]));
    }

    #[test]
    fn other_containers_and_volumes_are_appended_and_other_fields_replace() {
        let pod = merged(
            "spec:\n  nodeName: theirs\n  volumes: [{name: cache, emptyDir: {}}]\n  containers:\n  \
             - {name: proxy, image: p}\n  - {name: $redis, command: [x]}\n  - {name: $none, command: [y]}",
        );
        let names: Vec<_> =
            pod["spec"]["containers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        assert_eq!(names, ["job", "redis", "proxy"]);
        assert_eq!(pod["spec"]["containers"][1]["command"], json!(["x"]));
        assert_eq!(pod["spec"]["nodeName"], "theirs");
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_fs_group_does_not_touch_every_file() {
        let pod = merged("spec: {securityContext: {fsGroup: 1001}}");
        assert_eq!(pod["spec"]["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
        let pod = merged("spec: {securityContext: {fsGroup: 1001, fsGroupChangePolicy: Always}}");
        assert_eq!(pod["spec"]["securityContext"]["fsGroupChangePolicy"], "Always");
    }

    #[test]
    fn what_is_no_template_is_told_with_its_file() {
        for text in
            ["[a]", "spec: text", "spec: {containers: [{name: 1}]}", ": :", "spec: {volumes: {}}"]
        {
            let error = Template::parse("/t/x.yaml", text).unwrap_err();
            assert_eq!(error.reason, Reason::TemplateInvalid, "{text}");
            assert!(error.message.contains("/t/x.yaml"), "{error}");
        }
    }
}
