//! One error of each kind.

use super::SpecError as E;
use crate::error::Explain;
use crate::error::examples::assert_complete;

fn sizes() -> Vec<E> {
    let (size, limit) = (131_073, 131_072);
    vec![
        E::ArgumentTooLarge { number: 1, size, limit },
        E::VariableTooLarge { name: "EVENT".into(), size, limit },
        E::ProgramTooLarge { size: 2_097_153, limit: 2_097_152 },
        E::EnvironmentTooLarge { size: 1_000_001, limit: 1_000_000 },
        E::TooManyVariables { number: 2049, limit: 2048 },
        E::TextTooLong { field: "image", size: 5000, limit: 4096 },
        E::TooManyEntries { field: "port_mappings", number: 300, limit: 256 },
        E::InvalidVariableName { name: "A=B".into() },
        E::VariableWithNul { name: "EVENT".into() },
        E::TooManyImages { number: 900 },
    ]
}

fn containers() -> Vec<E> {
    let container = || "redis".to_owned();
    let option =
        || E::InvalidOption { option: "--memory lots".into(), problem: "is no size".into() };
    vec![
        E::NoSource,
        E::TwoSources { image: "alpine:3".into(), dockerfile: "/w/a/Dockerfile".into() },
        E::NoImage { container: container() },
        E::NoProgram,
        option(),
        E::InContainer { container: container(), source: option().into() },
        E::OptionDenied {
            container: container(),
            option: "--privileged".into(),
            setting: "HOOKD_ALLOW_PRIVILEGED=true".into(),
        },
        E::InvalidPort { mapping: "http".into() },
        E::PortTaken {
            port: 6379,
            protocol: "TCP".into(),
            one: container(),
            other: "redis-1".into(),
        },
        E::VolumeRefused {
            container: container(),
            volume: "./data:/data".into(),
            problem: "its target \"data\" is no absolute path in the container".into(),
        },
        E::OutsideWorkDir {
            path: "/etc".into(),
            target: "/host".into(),
            work_dir: "/home/runner/_work".into(),
        },
        E::NotInRunnerPod { field: "runtimeClassName".into() },
        E::NoSpareVolume { container: "db".into(), target: "/data".into(), number: 4 },
        E::NoClaim { work_dir: "/home/runner/_work".into() },
        E::NoHookdImage,
        E::NoBuildkitCertificate { address: "tcp://buildkitd.buildkit:1234".into() },
    ]
}

/// At least one error of each kind.
pub(crate) fn examples() -> Vec<Box<dyn Explain>> {
    let all = sizes().into_iter().chain(containers());
    all.map(|error| Box::new(error) as Box<dyn Explain>).collect()
}

#[test]
fn the_examples_have_every_error_of_a_spec() {
    let examples = crate::objects::error::examples();
    assert_complete(include_str!("../error.rs"), "SpecError", &examples);
}

#[test]
fn an_error_in_a_container_keeps_reason_and_remedy() {
    let denied = E::OptionDenied {
        container: "redis".into(),
        option: "--privileged".into(),
        setting: "HOOKD_ALLOW_PRIVILEGED=true".into(),
    };
    let (reason, help, text) = (denied.reason(), denied.help(), denied.to_string());
    let wrapped = E::InContainer { container: "redis".into(), source: denied.into() };
    assert_eq!((wrapped.reason(), wrapped.help()), (reason, help));
    let failure = crate::error::Failure::from(wrapped);
    assert_eq!(crate::error::report(&failure), format!("Container redis: {text}"));
}
