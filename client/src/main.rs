//! `hook`: the container hook that the GitHub Actions runner starts for every hook command.
//!
//! It lives for one command: JSON on standard input, a call of hookd over its Unix socket, the
//! output copied, the response file written, the exit code of the step. The way through the code:
//! [`input`], [`hook`], [`connect`], [`step`] or [`cleanup`], [`response`]; [`output`] prints.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::time::Duration;

mod added_path;
mod cleanup;
mod connect;
mod externals;
mod hook;
mod input;
mod job;
mod output;
mod report;
mod response;
mod settings;
mod signals;
mod status;
mod step;

use hook::{Ended, Failure};
use output::Output;

/// Exit code when the machinery, not the step's program, failed.
const FAILED: i32 = 1;
/// Exit code of a command line that hook does not understand.
const USAGE: i32 = 2;
/// The answer to `--help`.
const HELP: &str = "\
The container hook of a GitHub Actions runner: reads one command as JSON from standard input, has hookd do it,
and ends with the step's exit code. The runner starts it as ACTIONS_RUNNER_CONTAINER_HOOKS says.

usage: hook [--help | --version]

`hookd doctor` in the hookd container says what is wrong with a runner that runs no jobs.";
/// A process that was ended by signal n reports this plus n.
const SIGNALLED: i32 = 128;
/// How long a cancelled hook tries to print its last line: its reader may be gone.
const LAST_LINE_TIMEOUT: Duration = Duration::from_millis(200);

fn main() {
    let code = match std::env::args_os().nth(1) {
        None => run_hook(),
        Some(argument) => answer(&argument),
    };
    // Not a return from main: a writer that is stuck in a full pipe must not keep the process.
    std::process::exit(code)
}

/// Answers a command line with an argument; the runner gives none.
fn answer(argument: &OsString) -> i32 {
    // Nothing is left to do about a terminal that cannot be written to.
    if argument == "--version" || argument == "-V" {
        let _ = writeln!(io::stdout(), "hook {}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    if argument == "--help" || argument == "-h" {
        let _ = writeln!(io::stdout(), "{HELP}");
        return 0;
    }
    let _ =
        writeln!(io::stderr(), "usage: hook [--help | --version]; the input is read from stdin");
    USAGE
}

/// Runs the hook on standard input; returns the exit code of the process.
fn run_hook() -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, output) = match runtime.and_then(|runtime| Ok((runtime, Output::start()?))) {
        Ok(started) => started,
        Err(source) => {
            let line = report::annotation(&Failure::Start(source));
            let _ = writeln!(io::stderr(), "{line}");
            return FAILED;
        }
    };
    runtime.block_on(async {
        let (code, last_line) = match hook::run(&output).await {
            Ended::Succeeded => (0, None),
            Ended::Exited(code) => (i32::from(code.get()), None),
            Ended::Failed(failure) => (FAILED, Some(report::annotation(&failure))),
            Ended::Cancelled { signal, last_line } => {
                let code = SIGNALLED + signal.number();
                let _ =
                    tokio::time::timeout(LAST_LINE_TIMEOUT, output.finish(Some(last_line))).await;
                return code;
            }
        };
        output.finish(last_line).await;
        code
    })
}
