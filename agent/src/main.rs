//! `stepd`: the agent in job pods. It will start, supervise and re-attach the steps of jobs that
//! have a job container; this version of hookd runs container actions only and does not start it.

use clap::Parser;

/// Agent in the job pods of hookd.
#[derive(Parser)]
#[command(version)]
struct Cli {}

fn main() {
    Cli::parse();
}
