//! One error of each kind.

use super::TemplateError as E;
use crate::error::Explain;
use crate::error::examples::assert_complete;

fn file() -> String {
    "/etc/hookd/template.yaml".to_owned()
}

fn wrong_type() -> serde_json::Error {
    serde_json::from_str::<u8>("\"two\"").unwrap_err()
}

fn reading() -> Vec<E> {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let field = || E::BuildField { field: "ports".into() };
    vec![
        E::Unreadable { file: file(), source: missing },
        E::TooLong { file: file(), limit: 1_048_576 },
        E::NotYaml { file: file(), source: "unclosed bracket at line 2".into() },
        E::NoObject { file: file() },
        E::PartNoObject { part: "spec".into(), file: file() },
        E::WrongType { path: "spec.priority".into(), file: file(), source: wrong_type() },
        E::Missing { path: "spec.containers[0].name".into(), file: file() },
        E::InvalidResult { what: "pod", source: wrong_type() },
        field(),
        E::InFile { file: file(), source: field().into() },
    ]
}

fn merging() -> Vec<E> {
    let volume = || "\"cache\"".to_owned();
    vec![
        E::OwnMetadata { kind: "labels", name: "hookd.dev/runner".into() },
        E::Forbidden { path: "spec.hostPID".into(), why: "stepd must be PID 1".into() },
        E::OtherNode { node: "node-2".into(), own: "node-1".into() },
        E::OwnContainer { name: "job".into() },
        E::OwnMount { path: "spec.containers[$job].volumeMounts".into(), target: "/__w".into() },
        E::OwnEntry { path: "spec.volumes".into(), key: "work".into() },
        E::DoubleEntry { path: "spec.volumes".into(), key: "cache".into() },
        E::MountOverKaniko { volume: volume(), target: "/kaniko/cache".into() },
        E::NoVolume { volume: volume() },
        E::VolumeTaken { volume: volume() },
        E::KanikoForbidden { field: "runAsNonRoot" },
        E::OtherArchitecture { chosen: "amd64".into(), wanted: "arm64".into() },
    ]
}

/// At least one error of each kind.
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let all = reading().into_iter().chain(merging());
    all.map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[test]
fn the_examples_have_every_error_of_a_template() {
    let examples = crate::objects::template::error::examples();
    assert_complete(include_str!("../error.rs"), "TemplateError", &examples);
}
