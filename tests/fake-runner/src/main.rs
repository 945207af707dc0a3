//! The fake runner as a program: `fake-runner run --action <folder>` inside a runner
//! container does what the runner does for one step that uses a container action.
//!
//! It exits with the hook's exit code, with 125 if it could not do its own part, and with 124 if
//! the hook left its output open.

mod cli;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use fake_runner::{Outcome, Prepared};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use cli::{Call, Cli, CommandName};

const OWN_FAILURE: u8 = 125;
const OUTPUT_LEFT_OPEN: u8 = 124;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        CommandName::Run(step) => {
            step.prepare().and_then(|prepared| run(&prepared, &step.call, true))
        }
        CommandName::Cleanup(cleanup) => {
            cleanup.prepare().and_then(|prepared| run(&prepared, &cleanup.call, false))
        }
        CommandName::Prepare(step) => step.prepare().and_then(|prepared| {
            cli::print_shell(&prepared, &mut io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }),
    };
    result.unwrap_or_else(|error| {
        say(&report(error.as_ref()));
        ExitCode::from(OWN_FAILURE)
    })
}

fn run(prepared: &Prepared, call: &Call, is_step: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let cancel = cancel_source(call.cancel_after)?;
    let exit = prepared.process.run(Box::new(io::stdout()), Box::new(io::stderr()), cancel)?;
    let elapsed = started.elapsed();
    let outcome = prepared.read_back(exit.code);
    say(&format!("the hook ended with exit code {} after {elapsed:.3?}", exit.code));
    let outcome = outcome?;
    if is_step {
        describe(&outcome);
    }
    if let Some(path) = &call.result {
        fs::write(path, serde_json::to_vec(&outcome)?)?;
    }
    if !exit.drained {
        say("5 s after the hook's end something still held its output open");
        return Ok(ExitCode::from(OUTPUT_LEFT_OPEN));
    }
    Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(u8::MAX)))
}

fn describe(outcome: &Outcome) {
    for (kind, variables) in
        [("output", &outcome.outputs), ("env", &outcome.env), ("state", &outcome.saved)]
    {
        for (name, value) in variables.iter() {
            say(&format!("{kind} {name}={value:?}"));
        }
    }
    for entry in &outcome.path {
        say(&format!("path {entry:?}"));
    }
    if !outcome.summary.is_empty() {
        say(&format!("summary {:?}", outcome.summary));
    }
}

/// Receives a message when the step is to be cancelled: on SIGINT, on SIGTERM, after a time.
fn cancel_source(after: Option<f64>) -> Result<Receiver<()>, Failure> {
    let (cancel, cancelled) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let on_signal = cancel.clone();
    thread::spawn(move || signals.forever().all(|_| on_signal.send(()).is_ok()));
    if let Some(seconds) = after {
        let time = Duration::try_from_secs_f64(seconds)?;
        thread::spawn(move || cancel_after(time, &cancel));
    }
    Ok(cancelled)
}

fn cancel_after(time: Duration, cancel: &Sender<()>) {
    let (_never, clock) = mpsc::channel::<()>();
    if clock.recv_timeout(time) == Err(RecvTimeoutError::Timeout) && cancel.send(()).is_ok() {
        say("cancelling the step");
    }
}

fn report(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn say(text: &str) {
    // With standard error gone there is nowhere left to say it.
    let _ = writeln!(io::stderr().lock(), "runner: {text}");
}
