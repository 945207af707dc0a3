//! The daemon beside us, and the programs that must fit together.

use std::io;
use std::path::Path;
use std::time::Duration;

use hookd_api::transport::HOOKD_SOCKET;
use tokio::process::Command;

use crate::blocking;
use crate::doctor::facts::Facts;
use crate::doctor::report::Outcome;
use crate::error::report;
use crate::rpc::client;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// For a program that prints its version, and for files of an empty volume.
const LOCAL: Duration = Duration::from_secs(3);
const START_AGAIN: &str = "Read `kubectl logs <runner pod> -c hookd`: the supervisor starts the daemon \
     again, and its log says why it ended; HOOKD_SOCKET_DIR must be the same for both";
/// Cause and remedy of programs that do not fit together.
const OTHER_PROGRAMS: [&str; 2] = [
    "The programs come from different images, or the daemon did not install hook",
    "Use an image that has all three programs (deploy/Containerfile), and a writable volume at \
     HOOKD_SOCKET_DIR; make the runner pod again",
];
/// The same of a daemon that is not the one of this pod.
const OTHER_DAEMON: [&str; 2] = [
    "The daemon of another image serves HOOKD_SOCKET_DIR: several pods share the volume there, or doctor runs \
     in another container than the daemon",
    "Give each runner pod an emptyDir of its own at HOOKD_SOCKET_DIR (deploy/runner-pod.yaml), make the runner \
     pod again, and run doctor in its hookd container",
];

/// It answers.
pub(super) async fn check(facts: &Facts) -> Outcome {
    match client::status(&facts.config.socket_dir.join(HOOKD_SOCKET)).await {
        Ok(status) => {
            let (steps, tasks) = (status.running_steps.len(), status.tasks);
            Outcome::ok(format!("the daemon answers: {steps} steps run, {tasks} tasks"))
        }
        Err(error) => {
            let whole = report(&error);
            let cause = whole.strip_prefix(&error.to_string()).unwrap_or_default();
            Outcome::failure(error.to_string(), cause.trim_start_matches(": "), START_AGAIN)
        }
    }
}

/// hook, hookd and stepd are of one version.
pub(super) async fn versions(facts: &Facts) -> Outcome {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => {
            return Outcome::skipped(format!("hookd's own program is not known: {error}"));
        }
    };
    let daemon = client::status(&facts.config.socket_dir.join(HOOKD_SOCKET)).await;
    let (mut differing, mut why) = (Vec::new(), OTHER_PROGRAMS);
    if let Ok(daemon) = daemon
        && daemon.version != VERSION
    {
        differing.push(format!("the daemon that runs is {}", daemon.version));
        why = OTHER_DAEMON;
    }
    for program in ["hook", "stepd"] {
        match version(&own.with_file_name(program)).await {
            Ok(version) if version == VERSION => {}
            Ok(version) => differing.push(format!("{program} is {version}")),
            Err(error) => differing.push(format!("{program} cannot be run: {error}")),
        }
    }
    match is_installed(&own.with_file_name("hook"), &facts.config.socket_dir).await {
        Ok(true) => {}
        Ok(false) => differing.push("the hook in HOOKD_SOCKET_DIR is another program".to_owned()),
        Err(error) => differing.push(format!("HOOKD_SOCKET_DIR has no hook: {error}")),
    }
    if differing.is_empty() {
        return Outcome::ok(format!("hook, hookd and stepd are {VERSION}, and hook is installed"));
    }
    let [cause, remedy] = why;
    Outcome::failure(format!("hookd is {VERSION}; {}", differing.join("; ")), cause, remedy)
}

/// The last word of what the program prints.
async fn version(program: &Path) -> io::Result<String> {
    let run = Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(LOCAL, run).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}

/// True if the runner container finds this very hook.
async fn is_installed(hook: &Path, directory: &Path) -> io::Result<bool> {
    let (hook, directory) = (hook.to_owned(), directory.to_owned());
    let read = move || -> io::Result<bool> {
        for script in ["hook.sh", "hook.js"] {
            std::fs::metadata(directory.join(script))?;
        }
        Ok(std::fs::read(hook)? == std::fs::read(directory.join("hook"))?)
    };
    blocking::run(LOCAL, "Reading the installed hook", read).await.map_err(io::Error::other)?
}
