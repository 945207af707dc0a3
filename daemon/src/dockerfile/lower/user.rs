//! USER and WORKDIR. Kaniko takes the number of a user for its group, the fork if passwd has no such user.

use super::Builder;
use super::stage::Writer;
use crate::dockerfile::lines::Instruction;

/// Warns of what the groups of files and programs will be.
pub(super) fn check(writer: &mut Writer<'_>, instruction: &Instruction) {
    let line = instruction.line;
    if instruction.keyword == "workdir" {
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
