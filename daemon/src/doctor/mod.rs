//! `hookd doctor`: looks at all that hookd needs, and names what is wrong, why, and what to do; `hookd
//! status`: what the running daemon says of itself.
//!
//! It runs in the sidecar, with the sidecar's settings, beside the daemon, and changes nothing: pods and
//! Jobs are created as dry runs only, and an upload that was begun in the registry is cancelled. What
//! checks share is asked once (`facts.rs`); then all of `checks/` run at the same time.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;

use crate::config::Config;

mod checks;
mod facts;
mod pull_secrets;
mod report;
pub mod status;

use checks::CHECKS;
use facts::Facts;
use report::{Finding, Outcome};

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A check: what it is called, and what it finds.
#[derive(Clone, Copy)]
struct Check {
    /// Stable; docs/doctor.md has a heading for it.
    name: &'static str,
    run: for<'f> fn(&'f Facts) -> BoxFuture<'f, Outcome>,
}

/// What is printed, and the settings that are looked at.
#[derive(Args, Clone, Debug)]
pub struct DoctorCommand {
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,

    /// Those of the daemon.
    #[command(flatten)]
    config: Config,
}

/// How a command prints its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// A JSON object (docs/doctor.md).
    Json,
}

/// Makes all checks and prints what they find; `refused` has a line for each setting that cannot be used.
/// The exit code: 1 if there is a failure, otherwise 0.
pub async fn run(command: DoctorCommand, refused: Vec<String>) -> u8 {
    let DoctorCommand { output, config } = command;
    let facts = Facts::gather(config.without_empty(), refused).await;
    let findings = examine(&facts).await;
    let text = match output {
        Output::Text => report::as_text(&findings),
        Output::Json => report::as_json(&findings) + "\n",
    };
    // Nothing is left to do about a closed standard output.
    let _ = io::stdout().write_all(text.as_bytes());
    u8::from(report::worst(&findings) == report::Status::Failure)
}

/// All checks, in their order.
async fn examine(facts: &Facts) -> Vec<Finding> {
    join_all(CHECKS.iter().map(|check| examined(check, facts))).await
}

async fn examined(check: &Check, facts: &Facts) -> Finding {
    let began = Instant::now();
    let outcome = tokio::time::timeout(LIMIT, (check.run)(facts)).await;
    let outcome = outcome.unwrap_or_else(|_| {
        Outcome::failure(
            format!("the check did not end within {} s", LIMIT.as_secs()),
            "What it asks does not answer",
            "Check the network between the runner pod and what the check looks at",
        )
    });
    Finding::new(check.name, outcome, began.elapsed())
}

#[cfg(test)]
mod tests;
