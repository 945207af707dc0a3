//! Each error of a context once, for the list of all messages.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::ContextError;
use crate::error::Explain;

const DIRECTORY: &str = "/home/runner/_work/_actions/o/action/v1";

fn directory() -> PathBuf {
    DIRECTORY.into()
}

fn file(name: &str) -> PathBuf {
    directory().join(name)
}

/// Each error once.
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let all = opening().into_iter().chain(limits()).chain(reading());
    all.map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

fn opening() -> Vec<ContextError> {
    vec![
        ContextError::Outside {
            path: "/opt/action/Dockerfile".into(),
            roots: vec!["/home/runner/_work".into()],
        },
        ContextError::Escapes {
            path: file("Dockerfile"),
            link: file("Dockerfile"),
            target: "/etc/passwd".into(),
        },
        ContextError::Root { root: "/home/runner/_work".into(), source: Errno::NOENT.into() },
        ContextError::DirectoryMissing { path: directory() },
        ContextError::NotFound { path: file("Dockerfile") },
        ContextError::IsDirectory { path: file("Dockerfile") },
        ContextError::NotRegular { path: file("Dockerfile"), kind: "named pipe" },
        ContextError::NameNotUtf8 { path: file("Dockerfile") },
        ContextError::NoOpenat2 { source: Errno::NOSYS.into() },
    ]
}

fn limits() -> Vec<ContextError> {
    let ignore = || file(".dockerignore");
    vec![
        ContextError::InvalidRule { path: ignore(), line: 2, rule: "[a-".to_owned() },
        ContextError::TooLarge { path: directory(), limit: 10 << 30 },
        ContextError::FileTooLarge { path: file("Dockerfile"), limit: 1 << 20 },
        ContextError::TooManyRules { path: ignore(), limit: 10_000 },
        ContextError::RuleTooLong { path: ignore(), line: 3, limit: 4096 },
        ContextError::PathTooLong { path: "a/very/deep".into(), limit: 4096 },
        ContextError::TimedOut { path: directory(), seconds: 600 },
    ]
}

fn reading() -> Vec<ContextError> {
    vec![
        ContextError::Unreadable { path: file("key.pem"), source: Errno::ACCESS.into() },
        ContextError::SpecialFile { path: "run/socket".into(), kind: "socket" },
        ContextError::Changed { path: file("log") },
        ContextError::Cancelled,
        ContextError::Read { path: file("data"), source: Errno::IO.into() },
        ContextError::Output { source: io::ErrorKind::BrokenPipe.into() },
    ]
}

#[test]
fn the_examples_have_every_error_of_a_context() {
    let source = include_str!("../error.rs");
    crate::error::examples::assert_complete(source, "ContextError", &examples());
}
