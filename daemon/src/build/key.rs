//! What an image is made of, as one text: builds of the same key make the same image.
//!
//! The key is a hash of the context, of what its base images are, and of the builder as the settings and
//! the template make it; see `registry/built_tags.rs` for the tag.

use std::fmt::{self, Write};

use k8s_openapi::api::batch::v1::Job;
use sha2::{Digest, Sha256};

use super::context::ContextDigest;
use crate::error::{CommonError, Failure};
use crate::objects::build_job;
use crate::registry::base_images::ResolvedImage;

/// Changes with what goes into a key.
const VERSION: &str = "hookd build 3";
/// The same for what the layers of builds have in common.
const LAYERS: &str = "hookd layers 1";
/// Digits of a label.
const LABEL: usize = 40;
/// Digits that people read.
const SHORT: usize = 12;

/// The key of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildKey {
    hex: String,
    context: ContextDigest,
}

/// What goes into a key.
#[derive(Clone, Copy, Debug)]
pub struct Ingredients<'a> {
    /// The context, with the Dockerfile that the builder reads.
    pub context: &'a ContextDigest,
    /// The images that the Dockerfile names.
    pub bases: &'a [ResolvedImage],
    /// The Job that builds it: its names and the image's tag do not count.
    pub job: &'a Job,
}

impl BuildKey {
    /// The key of these.
    ///
    /// # Errors
    /// The Job cannot be written as JSON.
    pub fn new(ingredients: &Ingredients<'_>) -> Result<Self, Failure> {
        let Ingredients { context, bases, job } = ingredients;
        let mut hash = Sha256::new();
        // Each with its length: none can be taken for the end of one and the begin of another.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(VERSION.as_bytes());
        add(context.as_bytes());
        add(&(bases.len() as u64).to_be_bytes());
        for base in *bases {
            add(base.reference.to_string().as_bytes());
            add(base.digest.as_bytes());
        }
        add(&builder(job)?);
        Ok(Self { hex: hex(hash), context: (*context).clone() })
    }

    /// What builds have in common whose layers Kaniko may take for each other's: the names of the files in
    /// their contexts (a hash), and the builder.
    ///
    /// # Errors
    /// The Job cannot be written as JSON.
    pub fn of_layers(names: &[u8; 32], job: &Job) -> Result<String, Failure> {
        Ok(hex(Sha256::new().chain_update(LAYERS).chain_update(names).chain_update(builder(job)?)))
    }

    /// All its digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Digits that fit a label and a name.
    pub fn label(&self) -> &str {
        &self.hex[..LABEL]
    }

    /// The context that was looked at.
    pub fn context(&self) -> &ContextDigest {
        &self.context
    }
}

fn hex(hash: Sha256) -> String {
    let mut hex = String::new();
    for byte in hash.finalize() {
        // To a string it cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Its first digits.
impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex[..SHORT])
    }
}

/// The first digits of a hash.
pub(super) fn short(hash: &[u8]) -> String {
    hash.iter().take(SHORT / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// What of the Job decides about the image: not its names, and not what it may use.
pub(super) fn builder(job: &Job) -> Result<Vec<u8>, Failure> {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let parts = spec.map(|spec| {
        let mut container = spec.containers.first().cloned().unwrap_or_default();
        container.resources = None;
        if let Some(arguments) = &mut container.args {
            arguments.retain(|argument| !build_job::is_destination(argument));
        }
        (container, &spec.volumes, &spec.node_selector, &spec.affinity, &spec.runtime_class_name)
    });
    serde_json::to_vec(&parts)
        .map_err(|error| CommonError::defect("The builder cannot be written as JSON", error).into())
}

#[cfg(test)]
mod tests;
