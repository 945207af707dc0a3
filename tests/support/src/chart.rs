//! The chart in deploy/chart, as its users install it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::cluster::{repository, run};

/// Name of the releases.
const RELEASE: &str = "hookd";

/// helm, which `.ci/chart` compiles the first time.
fn helm() -> &'static PathBuf {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let mut script = Command::new(repository(".ci/chart"));
        // Not within the time that other programs have: this may compile for some minutes.
        let ran = script.arg("--helm").stderr(Stdio::inherit()).output().unwrap();
        assert!(ran.status.success(), ".ci/chart --helm: {}", ran.status);
        String::from_utf8(ran.stdout).unwrap().trim().into()
    })
}

/// Runs a command of helm on the chart in `namespace`, with further arguments; what it prints.
///
/// # Errors
/// What it printed on standard error.
pub fn try_helm(command: &str, namespace: &str, arguments: &[String]) -> Result<String, String> {
    let mut helm = Command::new(helm());
    helm.args([command, RELEASE]).arg(repository("deploy/chart/hookd"));
    run(helm.args(["--namespace", namespace]).args(arguments), None)
}

/// As [`try_helm`], with values as `--set` takes them.
///
/// # Errors
/// What it printed on standard error.
pub fn try_chart(command: &str, namespace: &str, values: &[&str]) -> Result<String, String> {
    let arguments = values.iter().map(|value| format!("--set={value}"));
    try_helm(command, namespace, &arguments.collect::<Vec<_>>())
}

/// As [`try_chart`], which must succeed.
pub fn chart(command: &str, namespace: &str, values: &[&str]) -> String {
    let ran = try_chart(command, namespace, values);
    ran.unwrap_or_else(|error| panic!("helm {command} with {values:?}: {error}"))
}

/// Goes back to a revision of the release.
pub fn rollback(namespace: &str, revision: usize) {
    let mut helm = Command::new(helm());
    helm.args(["rollback", RELEASE, &revision.to_string(), "--namespace", namespace]);
    run(&mut helm, None).unwrap_or_else(|error| panic!("helm rollback: {error}"));
}
