//! The administrator's policy for what workflows may ask for (`HOOKD_POLICY`): one file, read anew by each
//! call of a hook. docs/policy.md describes it.
//!
//! A rule that the file does not name says nothing. What a rule refuses stays refused whatever the settings
//! allow, and the other way round: the stricter one holds. `file.rs` has the shape of the file; the other
//! parts are pure functions from a rule and what is asked for to what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Failure;
use crate::names;
use crate::objects::container::{ContainerStep, Source};
use crate::objects::job_pod::JobSpec;
use crate::registry::reference::NamedImage;
use crate::session::annotation::{self, Annotation};
use crate::session::events::Session;
use crate::session::warnings::Warnings;

mod builds;
pub mod error;
mod file;
mod images;
mod options;
mod paths;
mod read;
mod volumes;

#[cfg(test)]
mod tests;

use error::PolicyError;
use file::{Mode, PolicyFile};
use images::Use;

/// Head of the annotations in `mode: audit`.
const TITLE: &str = "Policy (audit)";

/// Tells the job's user, once, what the policy would have refused.
///
/// # Errors
/// When the client is gone.
pub async fn say(
    audited: &[String],
    given: &Warnings,
    session: &mut Session,
) -> Result<(), Failure> {
    let annotations = audited.iter().map(|text| Annotation { title: TITLE, place: None, text });
    annotation::warn(annotations, given, session).await
}

/// A policy that was read.
#[derive(Debug)]
pub struct Policy {
    rules: PolicyFile,
}

impl Policy {
    /// Reads the file.
    ///
    /// # Errors
    /// `POLICY_INVALID` with the file, and with the line or the key of what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        read::file(path).map(|rules| Self { rules })
    }

    /// Judges what a call asks for by what the rules refuse of it. In `mode: audit` it is allowed: a text for
    /// the user of each refusal, for [`say`].
    ///
    /// # Errors
    /// `POLICY_DENIED`: the first refusal.
    pub fn judge(&self, refused: Vec<PolicyError>) -> Result<Vec<String>, PolicyError> {
        let mut refused = refused.into_iter();
        if self.rules.mode == Mode::Enforce {
            return refused.next().map_or(Ok(Vec::new()), Err);
        }
        let would = |error: PolicyError| {
            let text = error.would_be();
            // Each time: what the user reads once the administrator counts.
            tracing::warn!(rule = error.rule(), mode = "audit", "{text}");
            text
        };
        Ok(refused.map(would).collect())
    }

    /// What the rules refuse of a job.
    pub fn of_job(&self, spec: &JobSpec) -> Vec<PolicyError> {
        let uses = spec.container.iter().map(|job| (Use::Jobs, job));
        let uses = uses.chain(spec.services.iter().map(|service| (Use::Services, service)));
        let refused = uses.flat_map(|(used, part)| {
            let place = format!("Container {}", part.name);
            let image = images::check(&self.rules.images, used, &place, &part.spec.image);
            let options = options::check(&self.rules.options, &part.name, &part.options);
            let volumes = volumes::check(&self.rules.volumes, &part.name, part.user_volumes());
            image.into_iter().chain(options).chain(volumes)
        });
        refused.collect()
    }

    /// What the rules refuse of a container step. `event` is the workflow's, if what says so is believed.
    /// The images of a Dockerfile are not known yet.
    pub fn of_container_step(&self, spec: &ContainerStep, event: Option<&str>) -> Vec<PolicyError> {
        let name = names::STEP_CONTAINER;
        let mut refused = match &spec.source {
            Source::Image(image) => {
                images::check(&self.rules.images, Use::Steps, "The container step", image)
            }
            Source::Dockerfile(_) => self.of_build(event),
        };
        refused.extend(options::check(&self.rules.options, name, &spec.options));
        refused.extend(volumes::check(&self.rules.volumes, name, &spec.volumes));
        refused
    }

    /// What the rules refuse of a build by an event that is believed; none: it is not known.
    pub fn of_build(&self, event: Option<&str>) -> Vec<PolicyError> {
        builds::check(&self.rules.builds, event).into_iter().collect()
    }

    /// True if no build may begin by an event that is believed; none: it is not known.
    pub fn refuses_builds_of(&self, event: Option<&str>) -> bool {
        self.rules.mode == Mode::Enforce && !self.of_build(event).is_empty()
    }

    /// What the rules refuse of the images that a Dockerfile names.
    pub fn of_base_images(&self, dockerfile: &Path, named: &[NamedImage]) -> Vec<PolicyError> {
        let check = |image: &NamedImage| {
            let place = format!("Line {} of {}", image.line, dockerfile.display());
            images::check_name(&self.rules.images, Use::Builds, &place, &image.reference)
        };
        named.iter().flat_map(check).collect()
    }

    /// The template for pods of a runner with these labels, if a rule names one.
    pub fn template(&self, labels: &BTreeMap<String, String>) -> Option<PathBuf> {
        let is_of = |rule: &&file::TemplateRule| {
            rule.runner_labels.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        self.rules.templates.iter().find(is_of).map(|rule| rule.file.clone())
    }
}
