//! `hookd`: the sidecar's PID 1; `hookd daemon`: the process that does the work; `hookd ready`:
//! the startup probe.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hookd::app::{self, SOCKET};
use hookd::config::Config;
use hookd::error::report;
use hookd::supervisor;
use tracing_subscriber::EnvFilter;

/// kube reports each failed connection as an error, also while hookd waits for the API server.
const LOGGED: &str = "info,kube_client=off";

/// Runs the container hooks of a GitHub Actions runner on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// The process that does the work. Without a command hookd keeps one running, with the
    /// settings in the environment, and always exits 0.
    Daemon(Box<Config>),
    /// Exits 0 when the hook is installed and the daemon answers.
    Ready {
        /// As for the daemon.
        #[arg(long, env = "HOOKD_SOCKET_DIR", default_value = "/run/hookd")]
        socket_dir: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("HOOKD_LOG").unwrap_or_else(|_| LOGGED.into()))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match cli.role {
        None => supervise(),
        Some(Role::Daemon(config)) => daemon(*config),
        Some(Role::Ready { socket_dir }) => ready(&socket_dir),
    }
}

/// Never fails: ARC takes a sidecar that failed for a failed runner.
fn supervise() -> ExitCode {
    // As the daemon reads it; the supervisor has no settings of its own.
    let directory = std::env::var_os("HOOKD_SOCKET_DIR").filter(|path| !path.is_empty());
    let directory = directory.map_or_else(|| "/run/hookd".into(), std::path::PathBuf::from);
    let health = supervisor::Watch::of(directory.join(SOCKET));
    if let Err(error) = supervisor::run(health) {
        tracing::error!(error = report(&error), "the supervisor cannot work");
    }
    ExitCode::SUCCESS
}

fn daemon(config: Config) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(app::run(config.without_empty()));
            // Threads that hang on a volume do not hold up the end.
            runtime.shutdown_background();
            result.map_err(|error| report(&error))
        }
        Err(error) => Err(format!("the runtime cannot start: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn ready(directory: &std::path::Path) -> ExitCode {
    let installed = directory.join("hook.sh").exists();
    let answers = std::os::unix::net::UnixStream::connect(directory.join(SOCKET)).is_ok();
    if installed && answers { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
