//! Directories as sources of COPY: docker leaves the mode and the owner of a target that is there as they
//! are, and gives a new one its defaults. The original Kaniko gives it those of the source.
//!
//! It leaves out what `.dockerignore` names, also a directory that it copies, but for what is in it. Each
//! such source has a path of its own, through a link, so that no other instruction loses it.

use super::copy::{Flags, may_be_new};
use super::stage::Writer;
use super::{BUILDER_DIR, Builder, BuilderFile, CONTEXT_DIR, Content, variables};
use super::{staging, traces};
use crate::dockerfile::files::{self, Entry};
use crate::dockerfile::lines::Instruction;

/// The mode of new directories.
const NEW: u32 = 0o755;
/// Directories that images have with other modes or owners.
const ODD: [&str; 3] = ["root", "tmp", "var/tmp"];

impl Writer<'_> {
    /// The path below the root that a target or a WORKDIR names; none: it is not known.
    pub(super) fn path(&self, text: &str) -> Option<String> {
        let path = self.scope.expand(text, self.escape)?;
        if path.starts_with('/') {
            return Some(files::clean(&path));
        }
        let directory = self.directory.as_ref()?;
        Some(files::clean(&format!("{directory}/{path}")))
    }
}

/// The word for a directory of the context whose target keeps its own mode and owner; none: its word may
/// stay, or must.
pub(super) fn word(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    path: &str,
) -> Option<String> {
    let Some(Entry::Directory(mode)) = writer.files.entry(path) else { return None };
    if writer.builder != Builder::Original {
        warn_of_owner(writer, copy, flags);
        return None;
    }
    if flags.has_mode || !is_kept(writer, flags, path) || !is_plain(path) {
        warn(writer, copy, flags, mode);
        return None;
    }
    let link = format!("up-{}", writer.number());
    let place = format!("{link}/{CONTEXT_DIR}/{path}");
    let place = place.trim_end_matches('/');
    let content = Content::Symlink("..".to_owned());
    writer.add_file(BuilderFile { path: link, mode: 0o777, content });
    writer.ignore([format!("**/{place}"), format!("!**/{place}/*")]);
    Some(variables::escaped(&format!("../{BUILDER_DIR}/{place}")))
}

/// Warns of symlinks in what is copied: the builder gives them no owner.
pub(super) fn check_symlinks(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    paths: &[String],
) {
    let has_symlink = |path: &String| {
        let path = files::resolve(writer.files, path);
        path.is_some_and(|path| contains_symlink(writer, &path))
    };
    let mut paths = paths.iter().filter(|_| flags.has_owner);
    if let Some(path) = paths.find(|path| has_symlink(path)).cloned() {
        let problem = "are root's: --chown has no effect on them";
        writer.warn(copy.line, format!("symlinks in /{path} {problem}"));
    }
}

fn contains_symlink(writer: &Writer<'_>, path: &str) -> bool {
    let spend = |steps: usize| writer.search.set(writer.search.get().saturating_sub(steps));
    spend(1);
    if writer.search.get() == 0 || path.matches('/').count() > staging::DEEPEST {
        return false;
    }
    match writer.files.entry(path) {
        Some(Entry::Symlink(_)) => true,
        Some(Entry::Directory(_)) => {
            let names = writer.files.names(path).unwrap_or_default();
            // All of them are in memory until the last one is looked at.
            spend(names.len());
            names.iter().any(|name| contains_symlink(writer, &files::below(path, name)))
        }
        Some(Entry::File(_)) | None => false,
    }
}

/// Whether the target is right without the directory itself: what comes first in it makes the target, if
/// there is none.
fn is_kept(writer: &Writer<'_>, flags: &Flags, path: &str) -> bool {
    let names = writer.files.names(path).unwrap_or_default();
    let first = names.iter().find_map(|name| writer.files.entry(&files::below(path, name)));
    let is_there = flags.target.is_some() && flags.target == writer.directory;
    match first {
        None => false,
        Some(Entry::File(_)) => true,
        Some(Entry::Symlink(_)) => is_there || !flags.has_owner,
        Some(Entry::Directory(mode)) => is_there || !flags.has_owner && mode == NEW,
    }
}

/// A word of `.dockerignore` means nothing but itself.
fn is_plain(path: &str) -> bool {
    !path.contains(['*', '?', '[', ']', '\\', '!'])
        && !path.contains(char::is_control)
        && path == path.trim()
}

fn warn(writer: &mut Writer<'_>, copy: &Instruction, flags: &Flags, mode: u32) {
    let target = flags.target.clone().unwrap_or_default();
    let is_there = Some(&target) == writer.directory.as_ref() || ODD.contains(&target.as_str());
    if flags.has_owner {
        let problem =
            "has the owner of --chown also if it is there, and new directories above it do not";
        writer.warn(copy.line, format!("/{target} {problem}"));
    } else if flags.has_mode && is_there {
        writer.warn(copy.line, format!("/{target} has the mode of --chmod also if it is there"));
    } else if !flags.has_mode && mode != NEW {
        writer.warn(copy.line, format!("/{target} has the mode of its source"));
    }
}

/// The fork gives a target its owner also if it is there.
fn warn_of_owner(writer: &mut Writer<'_>, copy: &Instruction, flags: &Flags) {
    let Some(target) = flags.target.clone().filter(|_| flags.has_owner) else { return };
    let is_made = Some(&target) == writer.directory.as_ref() && !writer.directory_is_users;
    let is_there = is_made
        || ODD.contains(&target.as_str())
        || traces::names(writer, writer.at, &target, copy.line);
    if is_there {
        writer.warn(copy.line, format!("/{target} has the owner of --chown, though it is there"));
    }
}

/// Warns of directories of other stages, and of their targets, that are known to have modes and owners of
/// their own.
pub(super) fn check_copied(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    from: &str,
    sources: &[String],
) {
    if writer.builder != Builder::Original {
        return;
    }
    let sources: Vec<_> = sources.iter().map(|source| files::clean(source)).collect();
    let is_file = |source: &String| {
        let name = source.rsplit('/').next().unwrap_or_default();
        files::is_pattern(source) || name.trim_start_matches('.').contains('.')
    };
    let sources: Vec<_> = sources.iter().filter(|source| !is_file(source)).collect();
    let Some(target) = flags.target.clone().filter(|_| !sources.is_empty()) else { return };
    let is_odd = |path: &str| {
        let home = path.strip_prefix("home/");
        ODD.contains(&path) || home.is_some_and(|name| !name.contains('/'))
    };
    let is_made = Some(&target) == writer.directory.as_ref();
    let is_other = is_made && flags.has_owner != writer.directory_is_users;
    if is_other || is_odd(&target) || traces::names(writer, writer.at, &target, copy.line) {
        let problem = "gets the mode of its source and the owner of what is copied, if it is there";
        writer.warn(copy.line, format!("/{target} {problem}"));
    }
    let above = target.rsplit_once('/').map_or("", |(above, _)| above);
    // Who adds a user makes its home, too.
    let is_new = flags.has_owner && !is_odd(above) && may_be_new(writer, above);
    if is_new && !traces::mentions(writer, writer.at, above, copy.line) {
        let problem = "are root's: --chown has no effect on them";
        writer.warn(copy.line, format!("new directories above /{target} {problem}"));
    }
    let stage = writer.stages.find(from, writer.at);
    for source in sources {
        let is_named = stage.is_some_and(|stage| traces::names(writer, stage, source, copy.line));
        if is_odd(source) || is_named {
            let problem =
                format!("/{target} has the mode and the owner of /{source}, if it is new");
            writer.warn(copy.line, problem);
        }
    }
}
