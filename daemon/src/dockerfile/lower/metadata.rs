//! EXPOSE, HEALTHCHECK and ONBUILD.

use std::collections::BTreeSet;

use super::stage::Writer;
use crate::dockerfile::DockerfileError;
use crate::dockerfile::lines::Instruction;

/// Ports that one word may name.
const MOST_PORTS: u32 = 20_000;

/// Writes EXPOSE with each port by itself, and its protocol in lower case.
///
/// # Errors
/// A word that is no port.
pub(super) fn expose(
    writer: &mut Writer<'_>,
    instruction: &Instruction,
) -> Result<(), DockerfileError> {
    let mut all = BTreeSet::new();
    for word in instruction.rest.split_whitespace() {
        let Some(known) = writer.scope.expand(word, writer.escape) else {
            writer.same(instruction);
            return Ok(());
        };
        for word in known.split_whitespace() {
            let ports = ports(word);
            let is_too_much = all.len() > MOST_PORTS as usize;
            let problem = || format!("{word:?} is no port that hookd reads");
            let ports = ports.filter(|_| !is_too_much);
            all.extend(ports.ok_or_else(|| DockerfileError::new(instruction.line, problem()))?);
        }
    }
    if all.is_empty() {
        writer.same(instruction);
    } else {
        writer.line(&format!("EXPOSE {}", all.into_iter().collect::<Vec<_>>().join(" ")));
    }
    Ok(())
}

/// `8000-8001/TCP` is two ports; none: it has variables, or is no port.
fn ports(word: &str) -> Option<Vec<String>> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    // Docker leaves out the port of the host.
    let ports = ports.rsplit(':').next()?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    if last < first || last - first > MOST_PORTS || protocol.contains('$') {
        return None;
    }
    let protocol = protocol.to_ascii_lowercase();
    Some((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Writes ONBUILD, whose instruction Kaniko keeps as it stands. Stages that begin with this one have it as their
/// own instruction.
pub(super) fn onbuild(writer: &mut Writer<'_>, instruction: &Instruction) {
    if writer.at + 1 < writer.stages.all.len() {
        return;
    }
    let trigger = instruction.trigger(writer.escape);
    let is_rewritten = |one: &Instruction| {
        !one.heredocs.is_empty() || one.flags.iter().any(|flag| flag.starts_with("--mount"))
    };
    if trigger.as_ref().is_some_and(is_rewritten) {
        writer.warn(instruction.line, "heredocs and mounts have no effect in ONBUILD");
    }
    writer.same(instruction);
}

/// Writes HEALTHCHECK. Kaniko does not know how often a starting container is checked.
pub(super) fn healthcheck(writer: &mut Writer<'_>, instruction: &Instruction) {
    let is_interval = |flag: &String| flag.starts_with("--start-interval=");
    if instruction.flags.iter().any(is_interval) {
        writer.warn(instruction.line, "--start-interval is not in the image");
    }
    writer.same(instruction);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_each_of_its_ports() {
        let written = |word| ports(word).unwrap_or_default().join(" ");
        for (word, expected) in [
            ("80", "80/tcp"),
            ("9000/UDP", "9000/udp"),
            ("80-82/Tcp", "80/tcp 81/tcp 82/tcp"),
            ("8080:80", "80/tcp"),
            ("$P/tcp", ""),
            ("1-99999999", ""),
            ("82-80", ""),
            ("x", ""),
        ] {
            assert_eq!(written(word), expected, "{word}");
        }
    }
}
