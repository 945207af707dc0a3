//! The sources of the programs and the documents, read for tests on themselves: `tests/architecture.rs`,
//! `tests/words.rs`, `tests/links.rs`, `tests/documents.rs` and `tests/release.rs`. Tests that run shell lines of
//! the documents take them from here, too.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the code must fail")]

use std::fs;
use std::path::{Path, PathBuf};

pub mod blocks;

/// A source file of one of the programs.
pub struct Source {
    /// Below the directory that was read.
    pub path: PathBuf,
    /// Its text, parsed.
    pub syntax: syn::File,
}

/// The root of the repository. Checkouts share their build directory: the path is that of the run, not
/// of the build.
pub fn repository() -> PathBuf {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    package.ancestors().find(|path| path.join("Cargo.lock").exists()).unwrap().to_owned()
}

/// The sources below a directory of the repository, in order.
pub fn sources(directory: &str) -> Vec<Source> {
    let root = repository().join(directory);
    let (mut found, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            // What Dockerfiles are tested with is no source of ours.
            if path.ends_with("parity/contexts") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let syntax = syn::parse_file(&text).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().into(), syntax });
            }
        }
    }
    assert!(found.len() > 3, "{directory} has no sources");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Files of a directory below the repository's root, down to `depth`.
pub fn files(directory: &str, ends: &[&str], depth: usize) -> Vec<PathBuf> {
    let root = repository().join(directory);
    let (mut found, mut open) = (Vec::new(), vec![(root, depth)]);
    while let Some((next, depth)) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && depth > 1 {
                open.push((path, depth - 1));
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{directory} has no {ends:?}");
    found.sort();
    found
}

/// True for `#[cfg(test)]`.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string());
        attribute.path().is_ident("cfg") && tokens.is_ok_and(|tokens| tokens == "test")
    })
}

/// True for a source, by its path below its program, that is compiled for tests only.
pub fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap();
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    in_tests
        || name == "tests"
        || name == "fake"
        || name == "contract"
        || matches!(name.to_str(), Some("coverage" | "examples"))
}
