//! Dockerfiles: the images that they name, and what Kaniko is to build in their place.
//!
//! The rules are those of docker's own parser, as far as they decide which image is pulled. What
//! these rules do not determine is an error with its line. The text is hostile input: its size, the
//! number of images and the length of each value are bounded.

mod as_written;
mod expand;
mod files;
mod heredoc;
mod lines;
mod lower;
mod scope;
mod stages;

use crate::registry::reference::{NamedImage, Reference};

pub use as_written::as_written;
pub use files::{ContextFiles, Entry};
pub use lower::{
    ARCHIVE_ROOT, BUILDER_DIR, Builder, BuilderFile, CONTEXT_DIR, Content, DOCKERFILE, Finding,
    Lowered, lower,
};
use stages::{Base, Stages};

/// Bytes that a Dockerfile may have.
pub const LIMIT: u64 = 1 << 20;
/// Images that a Dockerfile may name.
const MOST_IMAGES: usize = 128;
/// Docker's name of the empty image.
const SCRATCH: &str = "scratch";
/// Docker's name of the build context, as the source of a mount.
const CONTEXT: &str = "context";

/// A Dockerfile whose images cannot be determined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct DockerfileError {
    /// Line of the instruction.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl DockerfileError {
    fn new(line: usize, problem: impl Into<String>) -> Self {
        // It quotes the Dockerfile, and ends up in logs.
        Self { line, problem: problem.into().replace(char::is_control, "?") }
    }
}

/// The images that FROM, `COPY --from` and `RUN --mount=from=` name, each once. Those of stages that the
/// last one does not need are not among them: docker does not build these.
///
/// # Errors
/// A name that cannot be determined, and a text that exceeds a limit.
pub fn images(text: &[u8]) -> Result<Vec<NamedImage>, DockerfileError> {
    let parsed = lines::parse(&String::from_utf8_lossy(text))?;
    images_of(&Stages::of(&parsed)?, parsed.escape)
}

fn images_of(stages: &Stages, escape: char) -> Result<Vec<NamedImage>, DockerfileError> {
    let mut images = Images::default();
    for (at, stage) in stages.all.iter().enumerate().filter(|(_, stage)| stage.is_needed) {
        if let Base::Image(name) = &stage.base {
            if name.is_empty() {
                let from = &stage.from.rest;
                let problem = format!("FROM {from} names no image: its arguments have no value");
                return Err(DockerfileError::new(stage.from.line, problem));
            }
            images.add(name, stage.from.line)?;
        }
        for instruction in &stage.instructions {
            let trigger = instruction.trigger(escape);
            for name in stages::sources(trigger.as_ref().unwrap_or(instruction)) {
                let is_stage = stages.find(&name, at).is_some();
                // A stage's number, or docker's name of the context.
                let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
                if !is_stage && !is_number && name != SCRATCH && name != CONTEXT {
                    images.reference(&name, instruction.line)?;
                }
            }
        }
    }
    Ok(images.0)
}

/// Images, each once.
#[derive(Default)]
struct Images(Vec<NamedImage>);

impl Images {
    /// Of COPY and RUN.
    fn reference(&mut self, name: &str, line: usize) -> Result<(), DockerfileError> {
        if name.contains('$') {
            let problem = format!(
                "the image {name} cannot be determined: docker does not expand arguments here; name \
                 a stage, and expand the argument in its FROM"
            );
            return Err(DockerfileError::new(line, problem));
        }
        self.add(name, line)
    }

    fn add(&mut self, name: &str, line: usize) -> Result<(), DockerfileError> {
        let reference: Reference = name
            .parse()
            .map_err(|_| DockerfileError::new(line, format!("{name:?} is not an image name")))?;
        if self.0.iter().any(|image| image.reference == reference) {
            return Ok(());
        }
        if self.0.len() == MOST_IMAGES {
            let problem = format!("the Dockerfile names more than {MOST_IMAGES} images");
            return Err(DockerfileError::new(line, problem));
        }
        self.0.push(NamedImage { line, reference });
        Ok(())
    }
}

/// The arguments that docker predefines; the builder builds for its own platform.
fn platform(name: &str) -> Option<&'static str> {
    let (platform, architecture) = match std::env::consts::ARCH {
        "x86_64" => ("linux/amd64", "amd64"),
        "aarch64" => ("linux/arm64", "arm64"),
        other => ("linux", other),
    };
    match name {
        "TARGETPLATFORM" | "BUILDPLATFORM" => Some(platform),
        "TARGETOS" | "BUILDOS" => Some("linux"),
        "TARGETARCH" | "BUILDARCH" => Some(architecture),
        "TARGETVARIANT" | "BUILDVARIANT" => Some(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
