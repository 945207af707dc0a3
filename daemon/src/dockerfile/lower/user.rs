//! USER and WORKDIR. Kaniko takes the number of a user for its group, the fork if passwd has no such user.

use super::stage::Writer;
use super::{Builder, variables};
use crate::dockerfile::lines::Instruction;

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
        writer.directory = writer.path(&instruction.rest);
        writer.directory_is_users = writer.has_user;
        if writer.has_user && writer.builder == Builder::Original {
            let problem = "new directories above this one are root's, not the user's";
            writer.warn(line, problem);
        }
        return;
    }
    let user = writer.scope.expand(&instruction.rest, writer.escape);
    let user = user.unwrap_or_else(|| instruction.rest.clone());
    let (name, group) = user.split_once(':').unwrap_or((&user, ""));
    writer.has_user = !matches!(name, "root" | "0");
    let is_number = name.parse::<u32>().is_ok_and(|number| number > 0);
    let problem = match writer.builder {
        Builder::Original if (is_number || !group.is_empty()) && user != "0:0" => {
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
