//! What changed since a Dockerfile was built last: text for people, from a note in the registry.
//!
//! Any build of the Dockerfile writes the note, so that hookd trusts nothing in it: it names only
//! files and images that this build has, and no image is found by it.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use super::context::ContextSummary;
use super::key::{self, Ingredients};
use crate::dockerfile::{BUILDER_DIR, CONTEXT_DIR};
use crate::error::Failure;
use crate::logs;
use crate::names;
use crate::objects::build_job;

/// Changes of one kind that are named.
const NAMED: usize = 3;
/// Letters of a name.
const LONGEST: usize = 80;

/// What an image was made of, short enough for a note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeOf {
    /// Hash of the context.
    context: String,
    /// Hashes of its first entries, by their paths in the archive.
    entries: BTreeMap<String, String>,
    /// There are no others.
    has_all: bool,
    /// Digests of base images, by their names.
    bases: BTreeMap<String, String>,
    /// Hashes of the builder's image, of its arguments, and of all settings.
    builder: String,
    arguments: String,
    settings: String,
}

impl MadeOf {
    /// What this build is made of.
    ///
    /// # Errors
    /// The Job cannot be written as JSON.
    pub(super) fn new(
        ingredients: &Ingredients<'_>,
        context: &ContextSummary,
    ) -> Result<Self, Failure> {
        let entries = context.entries.iter().map(|entry| {
            let digits: String = entry.digest.iter().map(|byte| format!("{byte:02x}")).collect();
            (entry.path.clone(), digits)
        });
        let bases = ingredients.bases.iter();
        let bases = bases.map(|base| (base.reference.to_string(), base.digest.clone()));
        let container = first_container(ingredients.job);
        let (image, arguments) = container.unwrap_or_default();
        let settings = key::builder(ingredients.job)?;
        Ok(Self {
            context: key::short(ingredients.context.as_bytes()),
            entries: entries.collect(),
            has_all: context.has_all_entries,
            bases: bases.collect(),
            builder: names::hash(&image),
            arguments: names::hash(&arguments.join("\n")),
            settings: names::hash(&String::from_utf8_lossy(&settings)),
        })
    }

    /// What differs from what was built before, in a few words.
    pub(super) fn since(&self, before: &Self, dockerfile: &Path) -> String {
        let mut changes = Vec::new();
        if self.context != before.context {
            changes = self.files_since(before, dockerfile);
            if changes.is_empty() {
                changes.push("the context".to_owned());
            }
        }
        let is_other = |name: &&String| before.bases.get(*name) != self.bases.get(*name);
        let bases =
            self.bases.keys().filter(is_other).map(|name| format!("base image {}", shown(name)));
        changes.extend(few(bases.collect(), "base images"));
        if self.builder != before.builder {
            changes.push("the builder's image".to_owned());
        }
        if self.arguments != before.arguments {
            changes.push("the builder's arguments".to_owned());
        }
        if changes.is_empty() && self.settings != before.settings {
            changes.push("the builder's settings".to_owned());
        }
        if changes.is_empty() {
            return "nothing has changed, but its last image is not used any more".to_owned();
        }
        format!("since its last build changed: {}", changes.join(", "))
    }

    /// The Dockerfile and the context's files that differ.
    fn files_since(&self, before: &Self, dockerfile: &Path) -> Vec<String> {
        let (mut is_dockerfile, mut files) = (false, Vec::new());
        for (path, digest) in &self.entries {
            if before.entries.get(path) == Some(digest) {
                continue;
            }
            match path.split_once('/') {
                Some((CONTEXT_DIR, name)) if dockerfile.file_name() == Some(name.as_ref()) => {
                    is_dockerfile = true;
                }
                // Where not all are known, one that is missing there may have been there.
                Some((CONTEXT_DIR, _)) if !before.has_all && !before.entries.contains_key(path) => {
                }
                Some((CONTEXT_DIR, name)) if !name.is_empty() => files.push(shown(name)),
                Some((BUILDER_DIR, name)) if !name.is_empty() => is_dockerfile = true,
                _ => {}
            }
        }
        let is_of_context = |path: &str| path.starts_with(CONTEXT_DIR) && !path.ends_with('/');
        let gone = before.entries.keys().filter(|path| !self.entries.contains_key(*path));
        let gone = gone.filter(|path| is_of_context(path)).count();
        let mut changes: Vec<_> =
            is_dockerfile.then(|| "the Dockerfile".to_owned()).into_iter().collect();
        changes.extend(few(files, "files"));
        // Their names are what another build wrote.
        if gone > 0 && self.has_all {
            changes.push(format!("{gone} files less"));
        }
        changes
    }
}

fn first_container(job: &Job) -> Option<(String, Vec<String>)> {
    let spec = job.spec.as_ref()?.template.spec.as_ref()?;
    let container = spec.containers.first()?;
    let arguments = container.args.iter().flatten();
    let arguments = arguments.filter(|argument| !build_job::is_destination(argument)).cloned();
    Some((container.image.clone().unwrap_or_default(), arguments.collect()))
}

/// The first of them, and how many more there are.
fn few(mut names: Vec<String>, what: &str) -> Vec<String> {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more {what}"));
    }
    names
}

/// A name comes from a repository and may hold anything.
fn shown(name: &str) -> String {
    let letters = name.chars().map(|letter| if logs::is_hidden(letter) { '?' } else { letter });
    letters.take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
