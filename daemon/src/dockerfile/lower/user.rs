//! USER and WORKDIR. Kaniko takes the number of a user for its group, the fork if passwd has no such user.

use std::collections::BTreeSet;

use super::stage::Writer;
use super::{Builder, variables};
use crate::dockerfile::lines::Instruction;
use crate::dockerfile::stages::Base;

/// A directory of the builder's own image.
pub(super) const WORKSPACE: &str = "workspace";
/// Directories that all images have but empty ones.
const PRESENT: [&str; 6] = ["etc", "home", "root", "tmp", "usr", "var"];

/// Writes USER with its variables in place: Kaniko divides it before it reads them.
pub(super) fn write(writer: &mut Writer<'_>, instruction: &Instruction) {
    check(writer, instruction);
    let known = writer.scope.expand(&instruction.rest, writer.escape);
    let is_divided = instruction.rest.contains("${") && instruction.rest.contains(':');
    match known.filter(|_| instruction.keyword == "user" && is_divided) {
        Some(user) => writer.line(&format!("USER {}", variables::escaped(&user))),
        None => writer.same(instruction),
    }
}

/// Warns of what the groups of files and programs will be.
fn check(writer: &mut Writer<'_>, instruction: &Instruction) {
    let line = instruction.line;
    if instruction.keyword == "workdir" {
        let path = writer.path(&instruction.rest);
        let is_odd = writer.has_user && writer.builder == Builder::Original;
        if is_odd && !path.as_ref().is_some_and(|path| has_above(writer, path)) {
            let problem = "new directories above this one are root's, not the user's";
            writer.warn(line, problem);
        }
        if path.as_deref() == Some(WORKSPACE) {
            check_workspace(writer, line);
        }
        writer.directory = path;
        writer.directory_is_users = writer.has_user;
        return;
    }
    let user = writer.scope.expand(&instruction.rest, writer.escape);
    let user = user.unwrap_or_else(|| instruction.rest.clone());
    let (name, group) = user.split_once(':').unwrap_or((&user, ""));
    writer.has_user = !matches!(name, "root" | "0");
    if !is_used(writer, line) {
        return;
    }
    let is_number = name.parse::<u32>().is_ok_and(|number| number > 0);
    // A user's own group has its name.
    let has_other = !group.is_empty() && (group != name || is_number);
    let problem = match writer.builder {
        Builder::Original if (is_number || has_other) && user != "0:0" => {
            "programs have the user's number as their group, in place of docker's choice"
        }
        Builder::Fork | Builder::ForkThatReadsTwice if is_number && group.is_empty() => {
            "programs have the user's number as their group, and not 0, unless the image's \
             /etc/passwd has the user"
        }
        _ => return,
    };
    writer.warn(line, problem);
}

/// Warns of a directory that the builder has itself: it is in the image once something is put there.
pub(super) fn check_workspace(writer: &mut Writer<'_>, line: usize) {
    if writer.builder != Builder::Original {
        return;
    }
    let all = &writer.stages.all[writer.at].instructions;
    let mut rest = all[all.partition_point(|one| one.line <= line)..].iter();
    let has_copy = rest.any(|one| matches!(one.keyword.as_str(), "add" | "copy"));
    if !has_copy {
        let problem = "is not in the image unless a file is put there: the builder has one, too";
        writer.warn(line, format!("/{WORKSPACE} {problem}"));
    }
}

/// Whether the directory above a path is there: the root, one that images have, or one of a WORKDIR.
fn has_above(writer: &Writer<'_>, path: &str) -> bool {
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let is_made = writer.directory.as_ref().is_some_and(|made| {
        made.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    above.is_empty() || is_made || image(writer).is_some() && PRESENT.contains(&above)
}

/// The image that the stage begins with, or the stages that it begins with; none: nothing.
pub(super) fn image<'a>(writer: &Writer<'a>) -> Option<&'a str> {
    let mut base = &writer.stages.all[writer.at].base;
    while let Base::Stage(at) = base {
        base = &writer.stages.all[*at].base;
    }
    if let Base::Image(name) = base { Some(name) } else { None }
}

/// Whether a program runs, or a directory is made, as the user of a line: in its stage, or in one that
/// begins with it.
fn is_used(writer: &Writer<'_>, line: usize) -> bool {
    let (all, mut users) = (&writer.stages.all, BTreeSet::new());
    for (at, stage) in all.iter().enumerate().skip(writer.at) {
        let begins = match stage.base {
            _ if at == writer.at => stage.instructions.partition_point(|one| one.line <= line),
            Base::Stage(base) if stage.is_needed && users.contains(&base) => 0,
            _ => continue,
        };
        let rest = stage.instructions[begins..].iter();
        let mut kinds = rest.map(|one| one.keyword.as_str());
        match kinds.find(|kind| matches!(*kind, "onbuild" | "run" | "user" | "workdir")) {
            None => drop(users.insert(at)),
            Some("user") => {}
            Some(_) => return true,
        }
    }
    false
}
