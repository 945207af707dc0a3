//! The two ends of `hook`: the process and the hookd that it calls.

pub(crate) mod hookd;
pub(crate) mod process;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use hookd::FakeHookd;
use process::{Hook, HookCommand};

/// No condition of these tests takes this long unless it never comes true.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// `future`'s output; panics with `what` if it takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(LONG, future).await;
    done.unwrap_or_else(|_| panic!("waited {LONG:?} in vain for {what}"))
}

/// A directory for one test: socket and response file lie in it.
pub(crate) struct Place(TempDir);

impl Place {
    /// A fresh directory.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A fresh directory on the file system of the build.
    pub(crate) fn beside_the_build() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    /// Path of the socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.path().join("hookd.sock")
    }

    /// Path of the response file.
    pub(crate) fn response_file(&self) -> PathBuf {
        self.0.path().join("response.json")
    }

    /// A hookd on this socket.
    pub(crate) async fn hookd(&self) -> FakeHookd {
        FakeHookd::start(&self.socket()).await
    }

    /// A hook for this socket, not started yet.
    pub(crate) fn command(&self) -> HookCommand {
        HookCommand::new().env("HOOKD_SOCKET", self.socket())
    }

    /// A hook that runs a container step, for this socket.
    pub(crate) fn step(&self) -> Hook {
        self.command().start(&self.step_input())
    }

    /// The input of a container step.
    pub(crate) fn step_input(&self) -> Value {
        self.input("run_container_step", json!({"image": "alpine:3.20"}))
    }

    /// The input of `command`, with a response file here.
    pub(crate) fn input(&self, command: &str, args: Value) -> Value {
        json!({
            "command": command,
            "responseFile": self.response_file(),
            "args": args,
            "state": null,
        })
    }
}

/// A fixture of the runner's input.
pub(crate) fn fixture(name: &str) -> Value {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = format!("{package}/../tests/fixtures/{name}.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
