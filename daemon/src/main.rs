//! `hookd`: the sidecar's PID 1; `hookd daemon`: the process that does the work; `hookd ready`:
//! the startup probe; `hookd registry-endpoint`: beside Kaniko in the pod of a build; `hookd gc`: deletes
//! old built images; `hookd build`: has the daemon build an image; `hookd doctor` and `hookd status`: say
//! what is wrong, and how the daemon is; `hookd completions`: the command line for a shell.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use hookd::app;
use hookd::build::gc::{self, GcConfig};
use hookd::build_command::{self, BuildCommand};
use hookd::config::{self, Config};
use hookd::doctor::{self, DoctorCommand, status::StatusCommand};
use hookd::endpoint;
use hookd::error::report;
use hookd::logs;
use hookd::supervisor;
use hookd_api::transport::HOOKD_SOCKET;

/// Runs the container hooks of a GitHub Actions runner on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
}

impl Cli {
    /// What is logged by default: a command that prints findings says all in them.
    fn logged(&self) -> &'static str {
        match self.role {
            Some(Role::Doctor(_) | Role::Status(_) | Role::Completions { .. }) => "off",
            _ => logs::DEFAULT,
        }
    }

    /// Whether calls are traced: by the daemon alone, if there is a collector.
    fn is_traced(&self) -> bool {
        let Some(Role::Daemon(config)) = &self.role else { return false };
        config.traces_endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_empty())
    }
}

#[derive(Subcommand)]
enum Role {
    /// The process that does the work. Without a command hookd keeps one running, with the
    /// settings in the environment, and always exits 0.
    Daemon(Box<Config>),
    /// The registry endpoint of a build, in the build's pod: it alone has the credentials. Its
    /// configuration is in HOOKD_REGISTRY_ENDPOINT.
    RegistryEndpoint {
        /// Waits until an endpoint listens, which the kubelet does after its start. Exits 1 after 30 s.
        #[arg(long)]
        wait: bool,
    },
    /// Before a build with a buildkitd elsewhere, in the build's pod: writes the credentials of this build alone
    /// to where its client reads them. Its configuration is in HOOKD_REGISTRY_ENDPOINT.
    RegistryCredentials,
    /// Has the daemon of this runner build an image: the log goes to standard error, the image by its
    /// digest to standard output.
    Build(Box<BuildCommand>),
    /// Deletes the kept images that no build uses any more from the repository of built images, and says
    /// which.
    Gc(Box<GcConfig>),
    /// Looks at all that hookd needs, with the settings in the environment, and says what is wrong, why, and
    /// what to do. Exits 1 if jobs or builds will fail.
    Doctor(Box<DoctorCommand>),
    /// Says what the daemon of this runner says of itself.
    Status(StatusCommand),
    /// Prints a script by which a shell completes hookd's commands and options.
    Completions {
        /// The shell that reads it.
        shell: Shell,
    },
    /// Exits 0 when the hook is installed and the daemon answers.
    Ready {
        /// As for the daemon.
        #[arg(long, env = "HOOKD_SOCKET_DIR", default_value = "/run/hookd")]
        socket_dir: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let (command, warnings) = config::tolerant(Cli::command());
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    logs::start(cli.logged(), cli.is_traced());
    if matches!(cli.role, Some(Role::Daemon(_))) {
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
    }
    match cli.role {
        None => supervise(),
        Some(Role::Daemon(config)) => daemon(*config),
        Some(Role::RegistryEndpoint { wait: true }) => with_code(endpoint::wait()),
        Some(Role::RegistryEndpoint { wait: false }) => registry_endpoint(),
        Some(Role::RegistryCredentials) => registry_credentials(),
        Some(Role::Gc(config)) => gc(&config),
        Some(Role::Build(command)) => build(&command),
        Some(Role::Doctor(command)) => with_code(doctor::run(*command, warnings)),
        Some(Role::Status(command)) => with_code(doctor::status::run(&command)),
        Some(Role::Completions { shell }) => completions(shell),
        Some(Role::Ready { socket_dir }) => ready(&socket_dir),
    }
}

/// Never fails: ARC takes a sidecar that failed for a failed runner.
fn supervise() -> ExitCode {
    // As the daemon reads it; the supervisor has no settings of its own.
    let directory = std::env::var_os("HOOKD_SOCKET_DIR").filter(|path| !path.is_empty());
    let directory = directory.map_or_else(|| "/run/hookd".into(), std::path::PathBuf::from);
    let health = supervisor::Watch::of(directory.join(HOOKD_SOCKET));
    if let Err(error) = supervisor::run(health) {
        tracing::error!(error = report(&error), "the supervisor failed");
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

/// One thread: it moves bytes from socket to socket.
fn registry_endpoint() -> ExitCode {
    on_one_thread(endpoint::run())
}

fn registry_credentials() -> ExitCode {
    match endpoint::write_credentials() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", report(&error));
            ExitCode::FAILURE
        }
    }
}

fn gc(config: &GcConfig) -> ExitCode {
    on_one_thread(gc::run(config, &mut std::io::stdout()))
}

fn build(command: &BuildCommand) -> ExitCode {
    with_code(build_command::run(command))
}

/// Runs a command that chooses its exit code.
fn with_code(command: impl Future<Output = u8>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // Threads that hang on a volume do not hold up the end.
            runtime.shutdown_background();
            code.into()
        }
        Err(error) => {
            tracing::error!("the runtime cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn on_one_thread<E: std::error::Error + 'static>(
    work: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work).map_err(|error| report(&error)),
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

/// Printed whole: the generator would panic where its reader is gone.
fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hookd", &mut script);
    let printed = std::io::stdout().write_all(&script);
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ready(directory: &std::path::Path) -> ExitCode {
    let installed = directory.join("hook.sh").exists();
    let answers = std::os::unix::net::UnixStream::connect(directory.join(HOOKD_SOCKET)).is_ok();
    if installed && answers { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
