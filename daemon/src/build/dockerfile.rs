//! The images that a Dockerfile names, found before it is built.
//!
//! The rules are those of docker's own parser, as far as they decide which image is pulled. What
//! these rules do not determine is an error with its line. The text is hostile input: its size, the
//! number of images and the length of each value are bounded.

mod expand;
mod lines;

use std::collections::BTreeMap;

use crate::registry::reference::{NamedImage, Reference};

use expand::Expander;
use lines::Instruction;

/// Bytes that a Dockerfile may have.
pub const LIMIT: u64 = 1 << 20;
/// Images that a Dockerfile may name.
const MOST_IMAGES: usize = 128;
/// Docker's name of the empty image.
const SCRATCH: &str = "scratch";

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
        Self { line, problem: problem.into() }
    }
}

/// The images that FROM, `COPY --from` and `RUN --mount=from=` name, each once.
///
/// # Errors
/// A name that cannot be determined, and a text that exceeds a limit.
pub fn images(text: &[u8]) -> Result<Vec<NamedImage>, DockerfileError> {
    let text = String::from_utf8_lossy(text);
    let parsed = lines::parse(&text)?;
    let mut found = Found { escape: parsed.escape, ..Found::default() };
    for instruction in &parsed.instructions {
        found.read(instruction)?;
    }
    Ok(found.images)
}

/// The Dockerfile with `instruction` in its last stage, if nothing in that stage needs the files of its
/// base; none: something does. Kaniko unpacks them only then.
pub fn with_files_of_base(text: &[u8], instruction: &str) -> Option<Vec<u8>> {
    let readable = String::from_utf8_lossy(text);
    let parsed = lines::parse(&readable).ok()?;
    let from = parsed.instructions.iter().rposition(|one| one.keyword == "from")?;
    let needs_files = |one: &Instruction| matches!(one.keyword.as_str(), "add" | "copy" | "run");
    if parsed.instructions[from..].iter().any(needs_files) {
        return None;
    }
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    if parsed.is_open && from + 1 == parsed.instructions.len() {
        // FROM itself goes on to the end of the file.
        let is_open = |line: &&[u8]| {
            let line = line.trim_ascii();
            !line.is_empty() && !line.starts_with(b"#")
        };
        let last = lines.iter().rposition(is_open)?;
        lines.truncate(last + 1);
        let line = lines[last].trim_ascii_end();
        lines[last] = &line[..line.len().saturating_sub(1)];
        lines.push(instruction.as_bytes());
        return Some(lines.join(&b'\n'));
    }
    // At the end, where it changes no line's number, unless the end would take it for its own.
    let at = if parsed.is_open { parsed.instructions[from].last_line } else { lines.len() };
    lines.insert(at, instruction.as_bytes());
    Some(lines.join(&b'\n'))
}

#[derive(Default)]
struct Found {
    escape: char,
    /// Arguments before the first FROM.
    arguments: BTreeMap<String, String>,
    stages: Vec<String>,
    /// FROM was seen.
    in_stage: bool,
    images: Vec<NamedImage>,
}

impl Found {
    fn read(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        match instruction.keyword.as_str() {
            "arg" if !self.in_stage => self.argument(instruction),
            "from" => self.from(instruction),
            "copy" | "run" => self.references(instruction),
            "onbuild" => match instruction.trigger(self.escape) {
                Some(trigger) => self.references(&trigger),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn argument(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        for word in lines::words(&instruction.rest, self.escape) {
            let Some((name, value)) = word.split_once('=') else { continue };
            let value = self.expanded(value, instruction.line)?;
            self.arguments.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn from(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        self.in_stage = true;
        let line = instruction.line;
        let words: Vec<_> = instruction.rest.split_whitespace().collect();
        let (name, alias) = match words[..] {
            [name] => (name, String::new()),
            [name, keyword, alias] if keyword.eq_ignore_ascii_case("as") => {
                (name, alias.to_ascii_lowercase())
            }
            _ => {
                let problem = "FROM requires an image, and AS with a name if the stage has one";
                return Err(DockerfileError::new(line, problem));
            }
        };
        let base = self.expanded(name, line)?;
        if base.is_empty() {
            let problem = format!("FROM {name} names no image: its arguments have no value");
            return Err(DockerfileError::new(line, problem));
        }
        let known = self.stages.contains(&base.to_ascii_lowercase());
        self.stages.push(alias);
        if known || base == SCRATCH { Ok(()) } else { self.add(&base, line) }
    }

    /// Of COPY and RUN.
    fn references(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        for flag in &instruction.flags {
            let Some((name, value)) = flag.split_once('=') else { continue };
            match (instruction.keyword.as_str(), name) {
                ("copy", "--from") => self.reference(value, instruction.line)?,
                ("run", "--mount") => {
                    let fields = value.split(',').filter_map(|field| field.split_once('='));
                    for (_, value) in fields.filter(|(name, _)| name.trim() == "from") {
                        self.reference(value.trim_matches('"'), instruction.line)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn reference(&mut self, name: &str, line: usize) -> Result<(), DockerfileError> {
        if name.contains('$') {
            let problem = format!(
                "the image {name} cannot be determined: docker does not expand arguments here; name \
                 a stage, and expand the argument in its FROM"
            );
            return Err(DockerfileError::new(line, problem));
        }
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let is_stage = self.stages.contains(&name.to_ascii_lowercase());
        if name.is_empty() || is_number || is_stage || name == SCRATCH {
            return Ok(());
        }
        self.add(name, line)
    }

    fn add(&mut self, name: &str, line: usize) -> Result<(), DockerfileError> {
        let reference: Reference = name
            .parse()
            .map_err(|_| DockerfileError::new(line, format!("{name:?} is not an image name")))?;
        if self.images.iter().any(|image| image.reference == reference) {
            return Ok(());
        }
        if self.images.len() == MOST_IMAGES {
            let problem = format!("the Dockerfile names more than {MOST_IMAGES} images");
            return Err(DockerfileError::new(line, problem));
        }
        self.images.push(NamedImage { line, reference });
        Ok(())
    }

    fn expanded(&self, text: &str, line: usize) -> Result<String, DockerfileError> {
        let value = |name: &str| {
            self.arguments.get(name).cloned().or_else(|| platform(name).map(str::to_owned))
        };
        let expander = Expander { value: &value, escape: self.escape };
        let problem = |error| format!("the value of {text:?} cannot be determined: {error}");
        expander.expand(text).map_err(|error| DockerfileError::new(line, problem(error)))
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
