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
mod options;
mod pattern;
mod scope;
mod stages;

use crate::logs;
use crate::registry::reference::{NamedImage, Reference};

pub use files::{ContextFiles, Entry};
use lines::Parsed;
pub use lower::{
    ARCHIVE_ROOT, BUILDER_DIR, Builder, BuilderFile, CONTEXT_DIR, Content, DOCKERFILE, Finding,
    Lowered,
};
pub use options::{BuildOptions, InvalidPlatform, Platform};
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
        Self { line, problem: problem.into().replace(logs::is_hidden, "?") }
    }
}

/// A Dockerfile, read for one build.
#[derive(Debug)]
pub struct Dockerfile {
    text: String,
    parsed: Parsed,
    stages: Stages,
}

impl Dockerfile {
    /// Reads the text.
    ///
    /// # Errors
    /// What docker refuses, a text that exceeds a limit, and a target that it does not have.
    pub fn read(text: &[u8], options: &BuildOptions) -> Result<Self, DockerfileError> {
        let text = String::from_utf8_lossy(text).into_owned();
        let parsed = lines::parse(&text)?;
        let stages = Stages::of(&parsed, options)?;
        Ok(Self { text, parsed, stages })
    }

    /// The images that FROM, `COPY --from` and `RUN --mount=from=` name, each once. Those of stages that
    /// the target does not need are not among them: docker does not build these.
    ///
    /// # Errors
    /// A name that cannot be determined, and more images than hookd takes.
    pub fn images(&self) -> Result<Vec<NamedImage>, DockerfileError> {
        images_of(&self.stages, self.parsed.escape)
    }

    /// Writes the Dockerfile anew for Kaniko.
    ///
    /// # Errors
    /// What docker refuses, and what Kaniko would build wrongly without a trace.
    pub fn lower(
        &self,
        files: &dyn ContextFiles,
        builder: Builder,
    ) -> Result<Lowered, DockerfileError> {
        lower::lower(self, files, builder)
    }

    /// The Dockerfile for BuildKit: as it is. One that is `shared` with other builds keeps layers for them.
    ///
    /// # Errors
    /// A syntax that is no Dockerfile's.
    pub fn as_written(
        &self,
        files: &dyn ContextFiles,
        shared: bool,
    ) -> Result<Lowered, DockerfileError> {
        if shared { as_written::shared(self, files) } else { as_written::as_written(self, files) }
    }
}

/// The images of a Dockerfile without options, as [`Dockerfile::images`].
///
/// # Errors
/// As [`Dockerfile::read`] and [`Dockerfile::images`].
pub fn images(text: &[u8]) -> Result<Vec<NamedImage>, DockerfileError> {
    Dockerfile::read(text, &BuildOptions::default())?.images()
}

/// A Dockerfile without options, as [`Dockerfile::lower`].
///
/// # Errors
/// As [`Dockerfile::read`] and [`Dockerfile::lower`].
pub fn lower(
    text: &[u8],
    files: &dyn ContextFiles,
    builder: Builder,
) -> Result<Lowered, DockerfileError> {
    Dockerfile::read(text, &BuildOptions::default())?.lower(files, builder)
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
            // Of the last stage the image keeps it, for builds that begin with that image.
            let trigger = instruction.trigger(escape).filter(|_| at + 1 == stages.all.len());
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
        if reference.repository.contains(|letter: char| letter.is_ascii_uppercase()) {
            let problem = format!("{name:?} is not an image name: it must be lower case");
            return Err(DockerfileError::new(line, problem));
        }
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

#[cfg(test)]
mod tests;
