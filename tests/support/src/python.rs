//! A Python with grpcio, and the example client in it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

use crate::cluster::{repository, run};
use crate::runner::RunnerPod;

/// The Python, made once a machine.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
        let folder = cache.join("hookd/python");
        let python = folder.join("bin/python");
        let packages = repository("examples/python/requirements.txt");
        let packages = std::fs::read_to_string(packages).unwrap();
        let packages: Vec<_> = packages.lines().collect();
        let mark = folder.join(packages.join("_"));
        if !mark.exists() {
            let made =
                run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), None);
            made.expect("python3 with venv makes an environment");
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            let installed = run(Command::new(&python).args(pip).args(&packages), None);
            installed.expect("pip installs grpcio");
            std::fs::write(mark, "").unwrap();
        }
        python
    })
}

/// Runs examples/python/client.py on the socket of `runner` as this user and group.
pub fn client(runner: &RunnerPod, user: (u32, u32), arguments: &[&str]) -> Value {
    try_client(runner, user, arguments)
        .unwrap_or_else(|error| panic!("client.py {arguments:?}: {error}"))
}

/// Runs examples/python/build.py on the socket of `runner` as this user and group.
pub fn build(runner: &RunnerPod, (uid, gid): (u32, u32), arguments: &[&str]) -> Output {
    let mut command = Command::new(python());
    command
        .arg(repository("examples/python/build.py"))
        .args(["--socket", "hookd.sock", "--user", &format!("{uid}:{gid}")])
        .args(arguments)
        .current_dir(runner.socket_directory());
    command.output().unwrap()
}

/// As [`client`], of a hookd that may not answer.
///
/// # Errors
/// What the client says.
pub fn try_client(
    runner: &RunnerPod,
    (uid, gid): (u32, u32),
    arguments: &[&str],
) -> Result<Value, String> {
    let printed = run(
        Command::new(python())
            .arg(repository("examples/python/client.py"))
            .args(["--socket", "hookd.sock", "--user", &format!("{uid}:{gid}")])
            .args(arguments)
            .current_dir(runner.socket_directory()),
        None,
    );
    printed.map(|printed| serde_json::from_str(&printed).unwrap())
}
