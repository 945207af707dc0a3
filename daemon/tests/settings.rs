//! The daemon with settings that cannot be used: it warns, takes the defaults and goes on.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in test functions, not in helpers")]

use std::process::Command;

/// What `hookd daemon` says outside a cluster, and its exit code.
fn daemon(variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hookd"))
        .arg("daemon")
        .env_clear()
        .env("HOME", directory.path())
        .env("ACTIONS_RUNNER_POD_NAME", "r")
        .env("HOOKD_SOCKET_DIR", directory.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_setting_that_cannot_be_used_is_named_and_ends_nothing() {
    for (name, values) in [
        ("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", &["", "abc", "0", "-1", "5s"][..]),
        ("HOOKD_STEP_TIMEOUT_SECONDS", &["", "99999999999999999999", "18446744073709551615"]),
        ("HOOKD_API_TIMEOUT_SECONDS", &["1.5"]),
        ("HOOKD_HOLD_MAX_SECONDS", &["", "-1", "5m"]),
        ("HOOKD_SUMMARY", &["perhaps"]),
        ("HOOKD_BUILD_CONTEXT_LIMIT_BYTES", &["", "2Gi", "0"]),
        ("HOOKD_BUILD_CPU", &["", "many"]),
        ("HOOKD_BUILD_MEMORY", &["4GB"]),
        ("HOOKD_BUILD_USER_NAMESPACE", &["", "perhaps"]),
        ("HOOKD_AGENT_INJECTION", &["", "magic"]),
        ("HOOKD_CONTAINER_STEP_LAUNCHER", &["", "both"]),
        ("HOOKD_ALLOWED_UIDS", &["", "1001,abc"]),
        ("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", &["0", "70000", "http"]),
    ] {
        for value in values {
            let (said, code) = daemon(&[(name, value)]);
            let warned = said.lines().any(|line| line.contains("WARN") && line.contains(name));
            assert!(warned, "{name}={value:?}: {said}");
            // It went on to look for a cluster, of which there is none.
            assert!(said.contains("No access to a Kubernetes API is configured"), "{said}");
            assert_eq!(code, Some(1), "{name}={value:?}: {said}");
        }
    }
}

#[test]
fn a_setting_that_can_be_used_says_nothing() {
    let (said, _) = daemon(&[
        ("ACTIONS_RUNNER_PREPARE_JOB_TIMEOUT_SECONDS", " 45 "),
        ("HOOKD_HOLD_MAX_SECONDS", " 0 "),
        ("HOOKD_SUMMARY", "on"),
        ("HOOKD_BUILD_USER_NAMESPACE", "yes"),
        ("HOOKD_AGENT_INJECTION", "Init-Container"),
        ("ACTIONS_RUNNER_CONTAINER_HOOKS_REGISTRY_PORT", ""),
    ]);
    assert!(!said.contains("WARN") && said.contains("No access"), "{said}");
}
