//! Labels and annotations that say for which job an object is there: costs are counted, and objects found, by
//! them. All values are the workflow's own: hookd decides nothing by them.

use std::collections::BTreeMap;

use hookd_api::v1::JobContext;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::names;

/// On every object: the job that it was made for. The annotation of the same name has the value as it is.
const NAMES: [&str; 5] = [
    "hookd.dev/repository",
    "hookd.dev/workflow",
    "hookd.dev/run-id",
    "hookd.dev/run-attempt",
    "hookd.dev/job",
];
/// Letters that the value of a label may have.
const LABEL: usize = 63;
/// Characters of the value of an annotation.
const ANNOTATION: usize = 256;

/// The job that objects are made for. A value that is not known is left out.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Origin {
    /// Of objects that are made for this job.
    pub fn of(job: &JobContext) -> Self {
        let JobContext { repository, workflow, run_id, run_attempt, job, .. } = job;
        let mut origin = Self::default();
        let values = [repository, workflow, run_id, run_attempt, job];
        for (name, value) in NAMES.iter().zip(values) {
            if !value.is_empty() {
                origin.labels.insert((*name).to_owned(), lowered(value));
                origin.annotations.insert((*name).to_owned(), shown(value));
            }
        }
        origin
    }

    /// Writes them into the metadata of an object, in place of what it has under these names.
    pub fn mark(&self, metadata: &mut ObjectMeta) {
        metadata.labels.get_or_insert_default().extend(self.labels.clone());
        metadata.annotations.get_or_insert_default().extend(self.annotations.clone());
    }

    /// As [`Origin::mark`], of a Job and its pod.
    pub fn mark_job(&self, job: &mut Job) {
        self.mark(&mut job.metadata);
        if let Some(spec) = &mut job.spec {
            self.mark(spec.template.metadata.get_or_insert_default());
        }
    }
}

/// True of a label that says for which job an object was made.
pub fn is_label(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The value as a label may have it: `/` and spaces become dots. What else is lost leaves a hash of the whole
/// behind, so that two values do not become one. Those of names with dots do: no owner of a repository has any.
fn lowered(value: &str) -> String {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let dotted: String = value.chars().map(|c| if "/ ".contains(c) { '.' } else { c }).collect();
    let kept: String = dotted.chars().filter(|letter| is_letter(*letter)).collect();
    let ends = ['-', '_', '.'];
    let kept = kept.trim_matches(ends);
    if kept == dotted && kept.len() <= LABEL {
        return kept.to_owned();
    }
    let hash = names::hash(value);
    // All of it is ASCII.
    let cut = &kept[..kept.len().min(LABEL - hash.len() - 1)];
    match cut.trim_end_matches(ends) {
        "" => hash,
        cut => format!("{cut}-{hash}"),
    }
}

/// The value itself, bounded, and without what speaks to terminals.
fn shown(value: &str) -> String {
    value.chars().filter(|letter| !letter.is_control()).take(ANNOTATION).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodTemplateSpec;

    use super::*;

    fn is_valid(label: &str) -> bool {
        let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        label.len() <= 63
            && end(label.bytes().next())
            && end(label.bytes().last())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    }

    #[test]
    fn a_value_is_lowered_to_what_a_label_may_have() {
        for (value, label) in [
            ("octo/demo", "octo.demo"),
            ("CI", "CI"),
            ("Build and test", "Build.and.test"),
            ("9000000001", "9000000001"),
            ("build_it-2", "build_it-2"),
            (".github/workflows/ci.yaml", "github.workflows.ci.yaml-944291df"),
            ("Build & test", "Build..test-9ac5c9ad"),
            ("build_", "build-cf7d1087"),
            ("\u{30c6}\u{30b9}\u{30c8}", "8a535a3f"),
            ("\n", "01ba4719"),
        ] {
            assert_eq!(lowered(value), label, "{value:?}");
        }
    }

    #[test]
    fn any_value_becomes_a_valid_label_of_its_own() {
        let long = "x".repeat(63);
        let values = [
            long.clone(),
            format!("{long}a"),
            format!("{long}b"),
            format!("{}-{}", "y".repeat(53), "z".repeat(40)),
            "-".repeat(200),
            "\u{e9}".repeat(100_000),
            "a=b,c in (d)".to_owned(),
            "ab=cd".to_owned(),
            "abc=d".to_owned(),
        ];
        let labels: std::collections::BTreeSet<_> =
            values.iter().map(|value| lowered(value)).collect();
        assert!(labels.iter().all(|label| is_valid(label)), "{labels:?}");
        assert_eq!(labels.len(), values.len());
        assert!(labels.contains(&long));
    }

    fn marked(repository: &str) -> Job {
        let job = JobContext {
            repository: repository.to_owned(),
            workflow: "Build and test".to_owned(),
            run_id: "9000000001".to_owned(),
            run_attempt: String::new(),
            job: "build".to_owned(),
            ..JobContext::default()
        };
        let mut marked: Job = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "j", "labels": {"runner-pod": "r", "hookd.dev/job": "other"}},
            "spec": {"template": {"metadata": {"annotations": {"a": "b"}}}},
        }))
        .unwrap();
        Origin::of(&job).mark_job(&mut marked);
        marked
    }

    #[test]
    fn a_job_and_its_pod_have_the_same_labels() {
        insta::assert_yaml_snapshot!(marked("octo/demo"));
    }

    #[test]
    fn an_annotation_has_the_true_value_within_bounds() {
        let value = |repository: &str| {
            let PodTemplateSpec { metadata, .. } = marked(repository).spec.unwrap().template;
            metadata.unwrap().annotations.unwrap()["hookd.dev/repository"].clone()
        };
        assert_eq!(value("a \u{30c6}/\"b\"\n\u{1b}[31m\u{9b}"), "a \u{30c6}/\"b\"[31m");
        assert_eq!(value(&"\u{e9}".repeat(1000)), "\u{e9}".repeat(256));
    }

    #[test]
    fn what_is_not_known_marks_nothing() {
        let mut metadata = ObjectMeta::default();
        Origin::of(&JobContext::default()).mark(&mut metadata);
        assert_eq!(metadata.labels.unwrap_or_default().len(), 0);
        assert_eq!(metadata.annotations.unwrap_or_default().len(), 0);
    }
}
