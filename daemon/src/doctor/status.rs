//! `hookd status`: what the running daemon says of itself.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use hookd_api::transport::HOOKD_SOCKET;
use hookd_api::v1::GetStatusResponse;
use serde_json::json;

use super::Output;
use crate::error::report;
use crate::rpc::client;

/// Whom is asked, and how the answer is printed.
#[derive(Args, Clone, Debug)]
pub struct StatusCommand {
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,

    /// Directory of the daemon's socket.
    #[arg(long, env = "HOOKD_SOCKET_DIR", default_value = "/run/hookd")]
    socket_dir: PathBuf,
}

/// Asks and prints; the exit code: 0 with an answer, 1 without one.
pub async fn run(command: &StatusCommand) -> u8 {
    match client::status(&command.socket_dir.join(HOOKD_SOCKET)).await {
        Ok(status) => {
            let text = match command.output {
                Output::Text => as_text(&status),
                Output::Json => as_json(&status) + "\n",
            };
            // Nothing is left to do about a closed standard output.
            let _ = io::stdout().write_all(text.as_bytes());
            0
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "hookd status: {}", report(&error));
            let _ = writeln!(io::stderr(), "hookd status: `hookd doctor` says what is wrong");
            1
        }
    }
}

fn as_json(status: &GetStatusResponse) -> String {
    json!({
        "version": status.version,
        "cluster_version": status.cluster_version,
        "namespace": status.namespace,
        "runner_pod": status.runner_pod,
        "missing_permissions": status.missing_permissions,
        "running_steps": status.running_steps,
        "tasks": status.tasks,
    })
    .to_string()
}

fn as_text(status: &GetStatusResponse) -> String {
    let list = |items: &[String]| match items {
        [] => "none".to_owned(),
        items => items.join(", "),
    };
    let cluster = match status.cluster_version.as_str() {
        "" => "not known: the API server has not answered",
        version => version,
    };
    let rows = [
        ("hookd", status.version.clone()),
        ("Kubernetes", cluster.to_owned()),
        ("namespace", status.namespace.clone()),
        ("runner pod", status.runner_pod.clone()),
        ("missing permissions", list(&status.missing_permissions)),
        ("running steps", list(&status.running_steps)),
        ("tasks", status.tasks.to_string()),
    ];
    rows.map(|(name, value)| format!("{name:19}  {value}\n")).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_table_or_json() {
        let status = GetStatusResponse {
            version: "0.1.0".to_owned(),
            namespace: "ci".to_owned(),
            runner_pod: "r".to_owned(),
            running_steps: vec!["a".to_owned(), "b".to_owned()],
            tasks: 3,
            ..GetStatusResponse::default()
        };
        let text = as_text(&status);
        assert!(text.contains("running steps        a, b\n"), "{text}");
        assert!(text.contains("missing permissions  none\n"), "{text}");
        assert!(text.contains("has not answered"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&status)).unwrap();
        assert_eq!((&json["tasks"], &json["running_steps"][1]), (&3.into(), &"b".into()));
    }

    #[tokio::test]
    async fn without_a_daemon_the_exit_code_is_1() {
        let socket_dir = tempfile::tempdir().unwrap();
        let command =
            StatusCommand { output: Output::Text, socket_dir: socket_dir.path().to_owned() };
        assert_eq!(run(&command).await, 1);
    }
}
