//! `stepd`: the agent in the pods of jobs and of container steps.
//!
//! `stepd serve` is PID 1 of such a container. It starts its steps ([`steps`]), each under a
//! small process that adopts whatever the step's program leaves ([`supervise`]), keeps their output
//! until it is acknowledged ([`spool`]), and serves `stepd.v1` on a Unix socket ([`service`]) to
//! peers that no step can have started ([`peer`]). `stepd connect` is such a peer: it joins an exec
//! session to the socket. stepd needs nothing of the container's image.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hookd_api::transport::{STEPD_DIR, STEPD_SILENCE};

mod built_image;
mod connect;
mod descendants;
mod environment;
mod links;
mod looks;
mod memory;
mod peer;
mod process;
mod program;
mod pump;
mod serve;
mod service;
mod spool;
mod step;
mod steps;
mod supervise;

/// Agent in the job pods of hookd.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs steps; PID 1 of their container.
    Serve(serve::Config),
    /// Joins standard input and output to the socket of `stepd serve`.
    Connect {
        /// As for serve.
        #[arg(long, default_value = STEPD_DIR)]
        dir: PathBuf,
        /// Seconds without a byte from hookd after which the session ends. hookd pings every 15 s.
        #[arg(long, default_value_t = STEPD_SILENCE.as_secs())]
        silence: u64,
        /// Process that must listen on the socket; by default the container's first one.
        #[arg(long)]
        server_pid: Option<i32>,
    },
    /// Runs the step that it reads from its standard input; `serve` starts it.
    #[command(hide = true)]
    Supervise,
}

fn main() -> ExitCode {
    // Other processes of the container's user must not read our memory: it holds secrets. Before all
    // else, since a process that is attached to us by then stays attached.
    if let Err(error) = process::set_nondumpable() {
        return failed(&error);
    }
    let cli = Cli::parse();
    let result = match cli.role {
        Role::Serve(config) => match serve::run(config) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(report(&error)),
        },
        Role::Connect { dir, silence, server_pid } => {
            let silence = Duration::from_secs(silence);
            connect::run(&dir, silence, server_pid).map_err(|error| report(&error))
        }
        Role::Supervise => return supervise::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &impl std::fmt::Display) -> ExitCode {
    log(error);
    ExitCode::FAILURE
}

/// An error and its causes in one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A line of the container's log. It never holds a value of an environment.
fn log(line: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nothing is left to do about a log that cannot be written.
    let _ = writeln!(std::io::stderr(), "stepd: {line}");
}
