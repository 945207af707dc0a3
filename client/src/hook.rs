//! One hook command, from its input to how the process must end.

use std::io;
use std::num::NonZeroU8;
use std::path::Path;

use hookd_api::v1::{ScriptSpec, StepResult};

use crate::added_path::AddedPath;
use crate::cleanup::{self, CleanupError};
use crate::connect::Connection;
use crate::externals::Externals;
use crate::input::{self, Command, InputError};
use crate::output::Output;
use crate::report::{self, Explain};
use crate::response::{self, Response, ResponseError};
use crate::settings::{Settings, SettingsError};
use crate::signals::{Signal, Signals, Watched};
use crate::step::{Call, ContainerStep, Ending, Outbox, Preparation, ScriptStep, Step, StepError};

/// How the process must end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The command succeeded, and the response is written.
    Succeeded,
    /// The step's program failed by itself.
    Exited(NonZeroU8),
    /// A signal ended the command.
    Cancelled {
        /// The first one.
        signal: Signal,
        /// A line for the user.
        last_line: String,
    },
    /// The machinery failed.
    Failed(Failure),
}

/// A streaming call that is over.
#[derive(Debug)]
struct Ran<R> {
    ended: Ended,
    /// What it returned; `None`: it was cancelled.
    result: Option<R>,
}

/// Anything that fails a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The process lacks what it needs to work at all.
    #[error("hook cannot start")]
    Start(#[source] io::Error),
    /// The input cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A container step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The clean-up failed.
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
    /// The response file cannot be written.
    #[error(transparent)]
    Response(#[from] ResponseError),
}

/// Runs the command on standard input.
pub(crate) async fn run(output: &Output) -> Ended {
    let ended = command(output).await.unwrap_or_else(Ended::Failed);
    // However the step ended: the runner reads its files in any case.
    if let Some(added) = AddedPath::of_step(|name| std::env::var_os(name)) {
        added.check(output);
    }
    ended
}

/// Runs the command on standard input and writes the response if it succeeds.
async fn command(output: &Output) -> Result<Ended, Failure> {
    let input = input::read(io::stdin().lock())?;
    let settings = Settings::read(|name| std::env::var_os(name))?;
    if let Some(warning) = &settings.warning {
        output.line(warning);
    }
    let mut signals = Signals::listen().map_err(Failure::Start)?;
    let connection = Connection::new(&settings.socket, settings.timeout, output);
    let path = input.response_file.as_deref();
    if let Some(path) = path {
        response::check(path)?;
    }
    match input.command {
        Command::PrepareJob { container, services } => {
            let container = container.map(|container| *container);
            let job = Preparation { container, services, event: event() };
            let ran = run_call(connection, output, &mut signals, job).await?;
            let response = ran.result.as_ref().map_or_else(Response::empty, Response::for_job);
            let responded = respond(path, &response, ran.ended);
            if responded.is_err() {
                // The runner takes the job for one that was never prepared: its pod must not run on.
                let connection = Connection::new(&settings.socket, settings.timeout, output);
                undo(connection, output, &mut signals).await;
            }
            responded
        }
        Command::RunScriptStep(script) => {
            provide(&script, output);
            let ran = run_call(connection, output, &mut signals, ScriptStep(*script)).await?;
            respond(path, &Response::empty(), step_ended(ran))
        }
        Command::RunContainerStep(container) => {
            let step = ContainerStep { container: *container, event: event() };
            let ran = run_call(connection, output, &mut signals, step).await?;
            respond(path, &Response::empty(), step_ended(ran))
        }
        Command::CleanupJob => {
            let ended = clean_up(connection, output, &mut signals).await?;
            respond(path, &Response::empty(), ended)
        }
    }
}

/// The workflow's event; empty: the runner does not say.
fn event() -> String {
    std::env::var("GITHUB_EVENT_NAME").unwrap_or_default()
}

/// Makes Node.js ready that the step needs. Without it the step itself says what is missing.
fn provide(script: &ScriptSpec, output: &Output) {
    let Some(externals) = Externals::find(|name| std::env::var_os(name)) else { return };
    if let Err(error) = externals.provide(&script.entry_point) {
        output.line(format!("Warning: {error}"));
    }
}

/// Writes the response if the command succeeded.
fn respond(path: Option<&Path>, response: &Response, ended: Ended) -> Result<Ended, Failure> {
    if let (Ended::Succeeded, Some(path)) = (&ended, path) {
        response::write(path, response)?;
    }
    Ok(ended)
}

/// Makes a streaming call; a signal cancels it.
async fn run_call<C: Call>(
    connection: Connection<'_>,
    output: &Output,
    signals: &mut Signals,
    call: C,
) -> Result<Ran<C::Result>, Failure> {
    let outbox = Outbox::new();
    let step = Step::new(connection, output, &outbox, call)?;
    let watched = signals
        .watch(step.run(), |signal| {
            outbox.signal(signal);
            output.line("Cancelling the step");
        })
        .await;
    Ok(call_ended(watched)?)
}

/// How a call ended, given what came first: its end, a signal, the end of the budget.
fn call_ended<R>(watched: Watched<Result<Ending<R>, StepError>>) -> Result<Ran<R>, StepError> {
    let (done, signal) = match watched {
        Watched::Done(done) => (done, None),
        Watched::Signalled { signal, done: Some(done) } => (done, Some(signal)),
        Watched::Signalled { signal, done: None } => {
            let last_line = "The step has not ended yet; hookd goes on ending it".to_owned();
            return Ok(Ran { ended: Ended::Cancelled { signal, last_line }, result: None });
        }
    };
    let last_line = "The step was cancelled".to_owned();
    let ended = match (done, signal) {
        (Ok(Ending::Ended(result)), _) => {
            return Ok(Ran { ended: Ended::Succeeded, result: Some(result) });
        }
        (Ok(Ending::Cancelled(signal)), _) => Ended::Cancelled { signal, last_line },
        (Err(error), Some(signal)) if error.is_cancelled() => {
            Ended::Cancelled { signal, last_line }
        }
        (Err(error), Some(signal)) => {
            Ended::Cancelled { signal, last_line: report::annotation(&error) }
        }
        (Err(error), None) => return Err(error),
    };
    Ok(Ran { ended, result: None })
}

/// How a program ended: its code decides, if it has one.
fn step_ended(ran: Ran<StepResult>) -> Ended {
    ran.result.map_or(ran.ended, |result| exited(result.exit_code))
}

/// The end of a program with `code`. One that no program can have must not turn into success.
fn exited(code: i32) -> Ended {
    match u8::try_from(code) {
        Ok(code) => NonZeroU8::new(code).map_or(Ended::Succeeded, Ended::Exited),
        Err(_) => Ended::Exited(NonZeroU8::MAX),
    }
}

/// Deletes what the job left; a signal leaves it the budget to finish.
async fn clean_up(
    mut connection: Connection<'_>,
    output: &Output,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let cleaned = match signals.watch(cleanup::run(&mut connection), |_| {}).await {
        Watched::Done(cleaned) | Watched::Signalled { done: Some(cleaned), .. } => cleaned?,
        Watched::Signalled { signal, done: None } => {
            let last_line = "The clean-up was cut short by a signal".to_owned();
            return Ok(Ended::Cancelled { signal, last_line });
        }
    };
    // As docker mode does: a service's log is shown when its job ends.
    for log in &cleaned.service_logs {
        output.line_settled(format!("##[group]Log of service {}", report::plain(&log.name))).await;
        for line in log.text.lines() {
            output.line_settled(report::plain(line)).await;
        }
        output.line_settled("##[endgroup]").await;
    }
    output.line(report::debug(&format!("hookd deleted {} objects", cleaned.deleted)));
    Ok(Ended::Succeeded)
}

/// Deletes a job of which the runner cannot be informed. The error that matters is already known.
async fn undo(connection: Connection<'_>, output: &Output, signals: &mut Signals) {
    if let Err(error) = clean_up(connection, output, signals).await {
        output.line(report::warning("The job was not deleted", &report::explained(&error)));
    }
}

// === impl Failure ===

impl Failure {
    /// The error that explains itself; `None`: this one.
    fn inner(&self) -> Option<&dyn Explain> {
        match self {
            Self::Start(_) => None,
            Self::Input(error) => Some(error),
            Self::Settings(error) => Some(error),
            Self::Step(error) => Some(error),
            Self::Cleanup(error) => Some(error),
            Self::Response(error) => Some(error),
        }
    }
}

impl Explain for Failure {
    fn title(&self) -> String {
        self.inner().map_or_else(|| "hook cannot start".to_owned(), Explain::title)
    }

    fn remedy(&self) -> String {
        let own = || "Check the limits on processes and open files of the runner container";
        self.inner().map_or_else(|| own().to_owned(), Explain::remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_0_is_success() {
        assert!(matches!(exited(0), Ended::Succeeded));
        for (code, expected) in [(1, 1), (137, 137), (255, 255), (256, 255), (-1, 255)] {
            let Ended::Exited(code) = exited(code) else { panic!("{code}") };
            assert_eq!(code.get(), expected);
        }
    }

    #[test]
    fn a_program_that_ended_before_the_cancellation_keeps_its_code() {
        let done = Some(Ok(Ending::Ended(StepResult { exit_code: 3 })));
        let ran = call_ended(Watched::Signalled { signal: Signal::Interrupt, done }).unwrap();
        assert!(matches!(step_ended(ran), Ended::Exited(code) if code.get() == 3));
    }

    #[test]
    fn a_step_that_outlives_the_budget_is_not_called_cancelled() {
        let watched = Watched::Signalled { signal: Signal::Terminate, done: None };
        let ran = call_ended::<StepResult>(watched).unwrap();
        let Ended::Cancelled { signal, last_line } = step_ended(ran) else { panic!("not so") };
        assert_eq!(signal, Signal::Terminate);
        assert!(last_line.contains("not ended yet"));
    }
}
