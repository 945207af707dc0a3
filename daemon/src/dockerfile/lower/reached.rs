//! The files of the context that docker's builder has: those that its instructions name.
//!
//! A pattern that matches nothing copies nothing. Where nothing of its directory is named docker does not have
//! the directory either, and fails.

use std::collections::BTreeSet;

use super::stage::Writer;
use super::staging;
use crate::dockerfile::DockerfileError;
use crate::dockerfile::files::{self, Entry};
use crate::dockerfile::lines::Instruction;

/// Paths that are kept; of more it is taken for granted that docker has all files.
const MOST: usize = 10_000;

/// Checks a pattern that matches nothing.
///
/// # Errors
/// Docker fails.
pub(super) fn check(
    writer: &mut Writer<'_>,
    line: usize,
    pattern: &str,
) -> Result<(), DockerfileError> {
    let path = files::clean(pattern);
    let parts: Vec<_> = path.split('/').take_while(|part| !files::is_pattern(part)).collect();
    let directory = parts.join("/");
    if directory.is_empty() {
        return Ok(());
    }
    let found = files::resolve(writer.files, &directory);
    let found = found.and_then(|path| writer.files.entry(&path));
    if writer.reached.is_none() {
        writer.reached = Some(paths(writer));
    }
    let has = |reached: &BTreeSet<String>| {
        let mut above = directory.match_indices('/').map(|(at, _)| &directory[..at]);
        let below = format!("{directory}/");
        reached.contains("")
            || reached.contains(&directory)
            || above.any(|path| reached.contains(path))
            || reached.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below))
    };
    let is_there = matches!(found, Some(Entry::Directory(_)));
    if is_there && writer.reached.as_ref().is_some_and(has) {
        return Ok(());
    }
    Err(staging::not_found(line, pattern))
}

/// The paths that the instructions of all stages name, the root if one of them is not known.
fn paths(writer: &Writer<'_>) -> BTreeSet<String> {
    let needed = writer.stages.all.iter().filter(|stage| stage.is_needed);
    let mut paths = BTreeSet::new();
    for source in needed.flat_map(|stage| &stage.instructions).flat_map(sources) {
        let is_known = !source.contains(['$', '\\', '"', '\'']) && paths.len() < MOST;
        if !is_known {
            paths.insert(String::new());
        } else if files::is_pattern(&source) {
            let found = files::glob(writer.files, &source);
            paths.extend(found.unwrap_or_else(|| vec![String::new()]));
        } else {
            paths.insert(files::clean(&source));
        }
    }
    paths
}

/// What an instruction names of the context.
fn sources(instruction: &Instruction) -> Vec<String> {
    match instruction.keyword.as_str() {
        "add" | "copy" if !instruction.flags.iter().any(|flag| flag.starts_with("--from=")) => {
            let split = || instruction.rest.split_whitespace().map(str::to_owned).collect();
            let mut words = instruction.json().unwrap_or_else(split);
            words.pop();
            words.retain(|word| !word.starts_with("<<") && !word.contains("://"));
            words
        }
        "run" => {
            let mounts = instruction.flags.iter().filter_map(|flag| flag.strip_prefix("--mount="));
            let is_of_context = |mount: &&str| {
                let kind = mount.split(',').find_map(|field| field.strip_prefix("type="));
                kind.is_none_or(|kind| kind == "bind") && !mount.contains("from=")
            };
            let source = |mount: &str| {
                let mut fields = mount.split(',').filter_map(|field| field.split_once('='));
                let source = fields.find(|(name, _)| matches!(*name, "source" | "src"));
                source.map_or_else(|| "/".to_owned(), |(_, path)| path.to_owned())
            };
            mounts.filter(is_of_context).map(source).collect()
        }
        _ => Vec::new(),
    }
}
