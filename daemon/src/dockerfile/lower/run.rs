//! RUN: heredocs and mounts, which Kaniko does not build as docker does.

use super::mounts::{self, Mount};
use super::stage::Writer;
use super::{ARCHIVE_ROOT, BUILDER_DIR, Builder, BuilderFile, Content, traces, user};
use crate::dockerfile::DockerfileError;
use crate::dockerfile::heredoc;
use crate::dockerfile::lines::Instruction;
use crate::dockerfile::stages::Base;

/// Said of a directory that is the builder's own.
pub(super) const NOT_IN_IMAGE: &str =
    "what is below /kaniko, the builder's directory, is not in the image";

/// Said of a file that the builder takes for one that the runtime mounts.
pub(super) const NO_TABLE: &str = "a change of /etc/mtab is not in the image";

/// Whether a text has a path, or what is below it.
fn names(text: &str, path: &str) -> bool {
    let goes_on = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    text.match_indices(path).any(|(at, _)| {
        !text[..at].ends_with(goes_on) && !text[at + path.len()..].starts_with(goes_on)
    })
}

/// Writes a RUN.
pub(super) fn write(writer: &mut Writer<'_>, run: &Instruction) -> Result<(), DockerfileError> {
    let mut mounts = Vec::new();
    for flag in &run.flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match (name, value) {
            ("--mount", _) => mounts.extend(Mount::read(writer, value, run.line)?),
            ("--network", "default") | ("--security", "sandbox") => {}
            ("--network", "none") => {
                writer.warn(run.line, "--network=none has no effect: the command has a network");
            }
            ("--network" | "--security" | "--device", _) => {
                let problem = format!("{flag} is not supported: a build has no such rights");
                return Err(DockerfileError::new(run.line, problem));
            }
            _ => {
                let problem = format!("unknown flag {name} of RUN");
                return Err(DockerfileError::new(run.line, problem));
            }
        }
    }
    check_paths(writer, run);
    if run.json().is_some_and(|program| program.is_empty()) {
        return Err(DockerfileError::new(run.line, "RUN [] names no program"));
    }
    let is_plain = is_plain(run) && has_path(&writer.shell);
    if mounts.is_empty() && run.heredocs.is_empty() && is_plain {
        writer.line(&format!("RUN {}", run.rest));
        return Ok(());
    }
    let is_empty = writer.stages.all[writer.at].base == Base::Scratch;
    if !mounts.is_empty() && is_empty && writer.is_first(run) {
        let problem = "a mount needs /bin/sh in the image, and there is none yet";
        return Err(DockerfileError::new(run.line, problem));
    }
    let program = program(writer, run);
    if mounts.is_empty() {
        writer.program("", &program);
        return Ok(());
    }
    mounts::check(writer, run.line, &mounts);
    // The fork has mounts of its own, as root has them.
    if writer.builder != Builder::Original && mounts.iter().all(Mount::is_of_the_fork) {
        let mounts = run.flags.iter().filter(|flag| flag.starts_with("--mount"));
        let flags: String = mounts.map(|flag| format!("{flag} ")).collect();
        if run.heredocs.is_empty() {
            writer.line(&format!("RUN {flags}{}", run.rest));
        } else {
            writer.program(&flags, &program);
        }
        return Ok(());
    }
    mounts::check_user(writer, run.line, &mounts)?;
    mounts::write(writer, &mounts, program);
    Ok(())
}

/// Warns of paths that are the builder's.
fn check_paths(writer: &mut Writer<'_>, run: &Instruction) {
    let heredocs = run.heredocs.iter().map(|heredoc| &heredoc.text);
    for text in [&run.rest].into_iter().chain(heredocs) {
        if names(text, "/kaniko") {
            writer.warn(run.line, NOT_IN_IMAGE);
        }
        if names(text, "/etc/mtab") {
            writer.warn(run.line, NO_TABLE);
        }
        if traces::makes(text, user::WORKSPACE) {
            user::check_workspace(writer, run.line);
        }
    }
}

/// Kaniko reads it as docker reads the Dockerfile, whose escape character may be another.
fn is_plain(run: &Instruction) -> bool {
    !run.rest.ends_with('\\') || run.rest.ends_with("\\\\")
}

/// Kaniko looks for a shell by its name among its own programs, and for that of a list where docker does.
fn has_path(shell: &[String]) -> bool {
    shell.first().is_none_or(|program| program.contains('/'))
}

/// The program that docker runs, with its arguments.
fn program(writer: &mut Writer<'_>, run: &Instruction) -> Vec<String> {
    if run.heredocs.is_empty()
        && let Some(program) = run.json()
    {
        return program;
    }
    let text = match (heredoc::alone(&run.rest), run.heredocs.first()) {
        (Some(_), Some(heredoc)) => {
            let content = heredoc.content();
            if content.starts_with("#!") {
                return script(writer, &heredoc.name, content);
            }
            content
        }
        _ => {
            let more = |text: String, heredoc: &heredoc::Heredoc| {
                format!("{text}\n{}{}", heredoc.text, heredoc.name)
            };
            run.heredocs.iter().fold(run.rest.clone(), more)
        }
    };
    let mut program = writer.shell.clone();
    program.push(text);
    program
}

/// A heredoc that names its interpreter is a program of its own.
fn script(writer: &mut Writer<'_>, name: &str, content: String) -> Vec<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name: String = name.chars().filter(|letter| plain(*letter)).collect();
    let path = format!("run-{}/{name}", writer.number());
    let program = format!("{ARCHIVE_ROOT}/{BUILDER_DIR}/{path}");
    writer.add_file(BuilderFile {
        path,
        mode: 0o755,
        content: Content::Bytes(content.into_bytes()),
    });
    vec![program]
}
