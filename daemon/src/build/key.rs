//! What an image is made of, as one text: builds of the same key make the same image.
//!
//! The key is a hash of the context, of what its base images are, and of the builder as the settings and
//! the template make it. The image's tag in the repository of built images consists of it and of the time
//! until which the image is used.

use std::fmt::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use sha2::{Digest, Sha256};

use super::context::ContextDigest;
use crate::error::{CommonError, Failure};
use crate::registry::base_images::ResolvedImage;

/// Changes with what goes into a key.
const VERSION: &str = "hookd build 1";
/// No id of a step has an underscore: no caller can have its own build pushed under the tag of a key.
const TAG_PREFIX: &str = "key_";
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
    /// The context, its Dockerfile included.
    pub context: &'a ContextDigest,
    /// Name of the Dockerfile in the context.
    pub dockerfile: &'a str,
    /// The images that the Dockerfile names.
    pub bases: &'a [ResolvedImage],
    /// The Job that would build it, but for its name and tag.
    pub job: &'a Job,
}

impl BuildKey {
    /// The key of these.
    ///
    /// # Errors
    /// The Job cannot be written as JSON.
    pub fn new(ingredients: &Ingredients<'_>) -> Result<Self, Failure> {
        let Ingredients { context, dockerfile, bases, job } = ingredients;
        let mut hash = Sha256::new();
        // Each with its length: none can be taken for the end of one and the begin of another.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(VERSION.as_bytes());
        add(context.as_bytes());
        add(dockerfile.as_bytes());
        add(&(bases.len() as u64).to_be_bytes());
        for base in *bases {
            add(base.reference.to_string().as_bytes());
            add(base.digest.as_bytes());
        }
        add(&builder(job)?);
        let mut hex = String::new();
        for byte in hash.finalize() {
            // To a string it cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(Self { hex, context: (*context).clone() })
    }

    /// The tag of the image at this time, which names its own end: from then on it is another.
    pub fn tag(&self, now: Timestamp, max_age: Duration) -> String {
        let age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX).max(1);
        // Not all keys at the same time.
        let digits = self.hex.get(..8).unwrap_or_default();
        let offset = i64::from_str_radix(digits, 16).unwrap_or_default() % age;
        let end = (now.as_second() + offset)
            .div_euclid(age)
            .saturating_add(1)
            .saturating_mul(age)
            .saturating_sub(offset);
        format!("{TAG_PREFIX}{}_{end}", self.hex)
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

/// The end that the tag of a key names; none: it is no such tag.
pub fn end_of(tag: &str) -> Option<Timestamp> {
    let (_, end) = tag.strip_prefix(TAG_PREFIX)?.split_once('_')?;
    Timestamp::from_second(end.parse().ok()?).ok()
}

/// Its first digits.
impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex[..SHORT])
    }
}

/// What of the Job decides about the image: not its names, and not what it may use.
fn builder(job: &Job) -> Result<Vec<u8>, Failure> {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let parts = spec.map(|spec| {
        let mut container = spec.containers.first().cloned().unwrap_or_default();
        container.resources = None;
        (container, &spec.volumes, &spec.node_selector, &spec.affinity, &spec.runtime_class_name)
    });
    serde_json::to_vec(&parts)
        .map_err(|error| CommonError::defect("The builder cannot be written as JSON", error).into())
}

#[cfg(test)]
mod tests;
