//! All error messages in one place, `docs/error-messages.md`, which a reviewer reads from top to
//! bottom.

use std::fmt::Write as _;
use std::path::Path;

use tonic::Code;

use super::status;
use crate::error::{Explain, report};

const LIST: &str = "../docs/error-messages.md";
const UPDATE: &str = "UPDATE_ERRORS=1 cargo test -p hookd --lib error_list";
const HEAD: &str = "\
# Error messages

Every error of hookd, by the part of the daemon that reports it, with examples in place of names and
numbers. Each entry has the reason and the gRPC code, the error's name in the code, the message, and
what to do about it. [errors.md](errors.md) describes the reasons.

A test compares this list with the code; CONTRIBUTING.md says how to update it.
";

/// The rooms that report errors, from the bottom up.
fn rooms() -> Vec<(&'static str, Vec<Box<dyn Explain>>)> {
    vec![
        ("error", crate::error::examples::common()),
        ("blocking", crate::blocking::examples()),
        ("cluster", crate::cluster::error::examples()),
        ("registry", crate::registry::error::examples()),
        ("session", crate::session::error::examples()),
        ("runner", crate::runner::error::examples()),
        ("objects", crate::objects::error::examples()),
        ("objects::template", crate::objects::template::error::examples()),
        ("policy", crate::policy::error::examples()),
        ("stepd", crate::stepd::error::examples()),
        ("work_volume", crate::work_volume::error::examples()),
        ("workload", crate::workload::error::examples()),
        ("build", crate::build::error::examples()),
        ("hooks", crate::hooks::error::examples()),
        ("placement", crate::placement::error::examples()),
        ("placement::runner_pod", crate::placement::runner_pod::error::examples()),
        (
            "placement::runner_pod::pull_secret",
            crate::placement::runner_pod::pull_secret::error::examples(),
        ),
        ("rpc", super::error::examples()),
    ]
}

fn list() -> String {
    let mut list = HEAD.to_owned();
    for (room, examples) in rooms() {
        write!(list, "\n## `{room}`\n").unwrap();
        for error in examples {
            let (reason, help) = (error.reason(), error.help());
            let (code, message) = (code_name(status::code(reason)), report(&*error));
            // Some messages of the cluster are sentences already.
            let message = message.trim_end_matches('.');
            let name = format!("{error:?}");
            let name = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or("");
            write!(list, "\n`{reason}`, `{code}` ({name}):\n\n    {message}.\n    {help}.\n")
                .unwrap();
        }
    }
    list
}

/// The name of a code in gRPC's own documents.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[test]
fn the_list_of_error_messages_is_that_of_the_code() {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(LIST);
    let list = list();
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap();
    let differing = list.lines().zip(known.lines()).find(|(line, known)| line != known);
    assert!(
        list == known,
        "{} differs from the code, at first in {differing:?}; read what changes, and update it with \
         `{UPDATE}`",
        path.display()
    );
}

#[test]
fn every_documented_reason_has_a_message() {
    let list = list();
    let reasons = include_str!("../../../docs/errors.md").lines();
    let reasons: Vec<_> = reasons.filter_map(|line| line.strip_prefix("## ")).collect();
    let missing: Vec<_> = reasons
        .iter()
        .filter(|reason| reason.starts_with('`') && !list.contains(&format!("\n{reason}, ")))
        .collect();
    assert!(reasons.len() > 25 && missing.is_empty(), "{missing:?}");
}
