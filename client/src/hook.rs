//! One hook command, from its input to how the process must end.

use std::io;
use std::num::NonZeroU8;
use std::path::Path;

use hookd_api::v1::ContainerSpec;

use crate::cleanup::{self, CleanupError};
use crate::connect::Link;
use crate::input::{self, Command, InputError};
use crate::output::Output;
use crate::report::{self, Explain};
use crate::response::{self, ResponseError};
use crate::settings::{Settings, SettingsError};
use crate::signals::{Signal, Signals, Watched};
use crate::step::{Ending, Outbox, Step, StepError};

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
        /// What to tell the user.
        last_line: String,
    },
    /// The machinery failed.
    Failed(Failure),
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
    command(output).await.unwrap_or_else(Ended::Failed)
}

/// Runs the command on standard input and writes the response if it succeeds.
async fn command(output: &Output) -> Result<Ended, Failure> {
    let input = input::read(io::stdin().lock())?;
    let settings = Settings::read(|name| std::env::var_os(name))?;
    let mut signals = Signals::listen().map_err(Failure::Start)?;
    let link = Link::new(&settings.socket, settings.patience, output);
    let ended = match input.command {
        Command::RunContainerStep(container) => {
            container_step(link, output, &mut signals, *container).await?
        }
        Command::CleanupJob => clean_up(link, output, &mut signals).await?,
    };
    if matches!(ended, Ended::Succeeded) {
        input.response_file.as_deref().map_or(Ok(()), response)?;
    }
    Ok(ended)
}

/// Writes the response file.
fn response(path: &Path) -> Result<(), Failure> {
    Ok(response::write(path)?)
}

/// Runs a container step; a signal cancels it.
async fn container_step(
    link: Link<'_>,
    output: &Output,
    signals: &mut Signals,
    container: ContainerSpec,
) -> Result<Ended, Failure> {
    let outbox = Outbox::new();
    let step = Step::new(link, output, &outbox, container)?;
    let watched = signals
        .watch(step.run(), |signal| {
            outbox.signal(signal);
            output.line("Cancelling the step");
        })
        .await;
    Ok(step_ended(watched)?)
}

/// How a step ended, given what came first: its end, a signal, the end of the budget.
fn step_ended(watched: Watched<Result<Ending, StepError>>) -> Result<Ended, StepError> {
    let (done, signal) = match watched {
        Watched::Done(done) => (done, None),
        Watched::Signalled { signal, done: Some(done) } => (done, Some(signal)),
        Watched::Signalled { signal, done: None } => {
            let last_line = "The step has not ended yet; hookd goes on ending it".to_owned();
            return Ok(Ended::Cancelled { signal, last_line });
        }
    };
    let last_line = "The step was cancelled".to_owned();
    match (done, signal) {
        (Ok(Ending::Exited(code)), _) => Ok(exited(code)),
        (Ok(Ending::Cancelled(signal)), _) => Ok(Ended::Cancelled { signal, last_line }),
        (Err(error), Some(signal)) if error.is_cancelled() => {
            Ok(Ended::Cancelled { signal, last_line })
        }
        (Err(error), Some(signal)) => {
            Ok(Ended::Cancelled { signal, last_line: report::annotation(&error) })
        }
        (Err(error), None) => Err(error),
    }
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
    mut link: Link<'_>,
    output: &Output,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let deleted = match signals.watch(cleanup::run(&mut link), |_| {}).await {
        Watched::Done(deleted) | Watched::Signalled { done: Some(deleted), .. } => deleted?,
        Watched::Signalled { signal, done: None } => {
            let last_line = "The clean-up was cut short by a signal".to_owned();
            return Ok(Ended::Cancelled { signal, last_line });
        }
    };
    output.line(report::debug(&format!("hookd deleted {deleted} objects")));
    Ok(Ended::Succeeded)
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
        let done = Some(Ok(Ending::Exited(3)));
        let ended = step_ended(Watched::Signalled { signal: Signal::Interrupt, done });
        assert!(matches!(ended, Ok(Ended::Exited(code)) if code.get() == 3));
    }

    #[test]
    fn a_step_that_outlives_the_budget_is_not_called_cancelled() {
        let ended = step_ended(Watched::Signalled { signal: Signal::Terminate, done: None });
        let Ok(Ended::Cancelled { signal, last_line }) = ended else { panic!("{ended:?}") };
        assert_eq!(signal, Signal::Terminate);
        assert!(last_line.contains("not ended yet"));
    }
}
