//! A Dockerfile in the subset that Kaniko builds as docker does.
//!
//! Kaniko builds some instructions into an image that differs from docker's, without a word
//! (docs/dockerfile-support.md). Here they become others whose image is docker's. What has no such others
//! is a warning or, where the image would be wrong without a trace, an error; both name the line.

mod archive;
mod arguments;
mod copy;
mod directory;
mod metadata;
mod modes;
mod mounts;
mod reached;
mod run;
mod stage;
mod staging;
mod traces;
mod user;
mod variables;
mod volume;
mod wrap;

use std::collections::{BTreeMap, BTreeSet};

use super::files::ContextFiles;
use super::{Dockerfile, DockerfileError, lines};
use crate::logs;

use stage::{Source, Writer};

/// Directory of the context in the builder's archive.
pub const CONTEXT_DIR: &str = "context";
/// Directory of what hookd adds to it.
pub const BUILDER_DIR: &str = "hookd";
/// Where Kaniko unpacks the archive.
pub const ARCHIVE_ROOT: &str = "/kaniko/buildcontext";
/// The Dockerfile there.
pub const DOCKERFILE: &str = "/kaniko/buildcontext/hookd/Dockerfile";

/// The Kaniko that builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// Google's, which ended with 1.24.0.
    Original,
    /// What goes on from it, from 1.25 to 1.27.3.
    Fork,
    /// The fork from 1.27.4 to 1.28, which expands the values of LABEL twice.
    ForkThatReadsTwice,
    /// The fork in a version that is not known, or not known here.
    SomeFork,
    /// Any of them.
    Unknown,
}

/// How often a Kaniko expands the values of LABEL where it has no cache of layers. With one, those that expand
/// them once do so twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expansion {
    Once,
    Twice,
    Unknown,
}

impl Builder {
    /// By the name and tag of its image, the only things that are known of it before it is sent a Dockerfile.
    pub fn of_image(image: &str) -> Self {
        let name = image.split('@').next().unwrap_or_default();
        let (path, tag) = match name.rsplit_once(':') {
            // A port comes before the path.
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, ""),
        };
        let is_fork = path.contains("osscontainertools/");
        let mut numbers = tag.trim_start_matches('v').split(['.', '-']);
        let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
        // A tag such as "2026.8" is a date.
        let version = number().zip(number()).filter(|(major, _)| *major < 1000);
        match (version, number()) {
            (Some((1, 27)), Some(4..)) | (Some((1, 28)), _) => Self::ForkThatReadsTwice,
            // 1.27 names all of these.
            (Some((1, 27)), None) => Self::SomeFork,
            (Some((1, 25..=27)), _) => Self::Fork,
            (Some(version), _) if version > (1, 28) => Self::SomeFork,
            (Some(_), _) if is_fork => Self::Fork,
            (None, _) if is_fork => Self::SomeFork,
            (Some(_), _) => Self::Original,
            (None, _) if path.contains("kaniko-project/") => Self::Original,
            (None, _) => Self::Unknown,
        }
    }

    /// The one that a Dockerfile is written for: one that is not known differs from docker in what the
    /// original does.
    fn written_for(self) -> Self {
        match self {
            Self::Unknown => Self::Original,
            Self::SomeFork => Self::Fork,
            known => known,
        }
    }

    fn expansion(self) -> Expansion {
        match self {
            Self::Original | Self::Fork => Expansion::Once,
            Self::ForkThatReadsTwice => Expansion::Twice,
            Self::SomeFork | Self::Unknown => Expansion::Unknown,
        }
    }
}

/// What Kaniko is to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// The Dockerfile.
    pub dockerfile: String,
    /// Files that its instructions use, beside the context.
    pub files: Vec<BuilderFile>,
    /// Patterns of what the builder leaves out of what it copies.
    pub ignored: Vec<String>,
    /// Where the image will differ from docker's.
    pub warnings: Vec<Finding>,
    /// Lines of the instructions that have become others.
    pub rewritten: Vec<usize>,
    /// A LABEL has a value that is another one where it is expanded once more.
    pub has_delicate_labels: bool,
    /// Names of build arguments that no ARG names.
    pub unused: Vec<String>,
    /// Texts that hold the value of a build argument, and what they are without it: the builder prints
    /// them, and the value may be secret.
    pub hidden: BTreeMap<String, String>,
}

/// A file that hookd adds to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderFile {
    /// Below [`BUILDER_DIR`].
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What hookd adds to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// The file at this path of the context, as a hard link.
    Link(String),
    /// The file at this path of the context, with permissions of its own.
    Copy(String),
    /// A symlink with this target.
    Symlink(String),
    /// A directory.
    Directory,
}

/// Warnings of a Dockerfile.
pub(super) const MOST_WARNINGS: usize = 100;

/// What is worth knowing of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// A sentence without its full stop.
    pub problem: String,
}

impl Lowered {
    /// What the builder gets beside the context, the Dockerfile first.
    pub fn into_files(self) -> Vec<BuilderFile> {
        // What `.dockerignore` names is not in the archive.
        let ignored = self.ignored.join("\n") + "\n";
        let own = [("Dockerfile", self.dockerfile), ("Dockerfile.dockerignore", ignored)];
        let own = own.map(|(path, text)| BuilderFile {
            path: path.to_owned(),
            mode: 0o644,
            content: Content::Bytes(text.into_bytes()),
        });
        own.into_iter().chain(self.files).collect()
    }

    /// Why no layer of it may be taken from a cache; none: each may. Kaniko names a layer by the
    /// instructions and the files of `COPY` before it, and not by what else it is made of.
    pub fn uncacheable(&self, builder: Builder) -> Option<&'static str> {
        if self.has_delicate_labels && builder.expansion() != Expansion::Twice {
            let why = "a LABEL has a quote, a backslash or a dollar sign in its value, which Kaniko expands once \
                       more where layers are cached";
            return Some(why);
        }
        let is_original = builder.written_for() == Builder::Original;
        let why = |line: &str| match line.split_once(' ') {
            Some(("RUN", rest)) if rest.contains(ARCHIVE_ROOT) || rest.starts_with("--mount") => {
                Some("a RUN has a mount, or a heredoc with an interpreter of its own")
            }
            Some(("COPY", rest)) if rest.contains("--from=") && is_original => {
                Some("this Kaniko does not tell apart what COPY --from copies by its names")
            }
            Some(("ADD", rest)) if rest.contains("://") || rest.contains("git@") => {
                Some("what is at the URL of an ADD may change")
            }
            _ => None,
        };
        self.dockerfile.lines().find_map(why)
    }

    /// With a last instruction, if nothing in the last stage needs the files of its base: Kaniko unpacks
    /// them only then.
    pub fn with_files_of_base(mut self, instruction: &str) -> Self {
        let (_, stage) = self.dockerfile.rsplit_once("\nFROM ").unwrap_or(("", &self.dockerfile));
        let needs_files =
            |line: &str| ["RUN ", "COPY ", "ADD "].iter().any(|one| line.starts_with(one));
        if !stage.lines().any(needs_files) {
            self.dockerfile.push_str(instruction);
            self.dockerfile.push('\n');
        }
        self
    }
}

impl Finding {
    /// As users read it.
    pub fn of(&self, dockerfile: &str) -> String {
        // The name is the job's and may hold anything.
        let [name, problem] =
            [dockerfile, self.problem.as_str()].map(|text| text.replace(logs::is_hidden, "?"));
        format!("{name}:{}: warning: {problem}", self.line)
    }
}

impl From<Finding> for DockerfileError {
    fn from(finding: Finding) -> Self {
        Self::new(finding.line, finding.problem)
    }
}

/// Writes the Dockerfile anew for Kaniko.
///
/// # Errors
/// What docker refuses, and what Kaniko would build wrongly without a trace.
pub(super) fn lower(
    dockerfile: &Dockerfile,
    files: &dyn ContextFiles,
    builder: Builder,
) -> Result<Lowered, DockerfileError> {
    let Dockerfile { parsed, stages, .. } = dockerfile;
    check_syntax(parsed)?;
    let mut lowered = Lowered::default();
    let (expansion, builder) = (builder.expansion(), builder.written_for());
    let source = Source { stages, escape: parsed.escape, files, builder, expansion };
    let mut writer = Writer::new(source, &mut lowered);
    for (at, stage) in stages.all.iter().enumerate().filter(|(_, stage)| stage.is_needed) {
        writer.stage(at, stage)?;
    }
    lowered.unused = unused(dockerfile);
    Ok(lowered)
}

/// The builder reads the Dockerfile itself, without a frontend that is pulled.
pub(super) fn check_syntax(parsed: &lines::Parsed) -> Result<(), DockerfileError> {
    let Some(syntax) = &parsed.syntax else { return Ok(()) };
    frontend(&syntax.value).map_err(|problem| DockerfileError::new(syntax.line, problem))
}

/// The build arguments that no ARG names, docker's own ones aside.
pub(super) fn unused(dockerfile: &Dockerfile) -> Vec<String> {
    let Dockerfile { parsed, stages, .. } = dockerfile;
    let needed = stages.all.iter().filter(|stage| stage.is_needed);
    let instructions = stages.global.iter().chain(needed.flat_map(|stage| &stage.instructions));
    let arguments = instructions.filter(|instruction| instruction.keyword == "arg");
    let named: BTreeSet<String> =
        arguments.flat_map(|one| variables::names(one, parsed.escape)).collect();
    let predefined: BTreeSet<_> = stages.options.predefined().map(|(name, _)| name).collect();
    let given = stages.options.arguments.keys();
    let is_used = |name: &&String| {
        named.contains(*name) || predefined.contains(name) || stages.value(name).is_some()
    };
    given.filter(|name| !is_used(name)).cloned().collect()
}

/// Docker's own, which is the same as no syntax.
fn frontend(syntax: &str) -> Result<(), String> {
    let image = syntax.split_whitespace().next().unwrap_or_default();
    // A mirror's, too; a port comes before the path.
    let name = image.split('@').next().unwrap_or_default();
    let mut path = name.rsplit('/');
    let base = path.next().and_then(|last| last.split(':').next()).unwrap_or_default();
    if matches!(base, "dockerfile" | "dockerfile-upstream") && path.next() == Some("docker") {
        return Ok(());
    }
    Err(format!("the syntax {image} is not supported: hookd reads docker/dockerfile only"))
}

#[cfg(test)]
mod tests;
